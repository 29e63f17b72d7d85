//! The members of a fleet, as instances on one store in virtual time count them.
//!
//! The file is longer than others, because all tests share the instances and the clock that it defines.

use std::time::Duration;

use serde_json::json;
use tower_circuit_breaker::clock::{Clock, MockClock, Tick, TokioClock};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::{Operator, Order, Refused};
use tower_circuit_breaker::record::{CircuitRecord, Member};
use tower_circuit_breaker::store::{AnyStore, Fault, MemoryStore, Operation, Store, TieredStore};
use tower_circuit_breaker::{Config, Registry, State};

use crate::rig::{
    DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, put, record, secs, settings, state,
};

const NAME: &str = "@fleet:orders";

/// An instance of the fleet `orders`, which decides by a quorum.
async fn member(store: &(impl Store + Clone), id: &str) -> Instance {
    member_of(store, id, "orders", Sharing::Quorum).await
}

async fn member_of(store: &(impl Store + Clone), id: &str, fleet: &str, sharing: Sharing) -> Instance {
    let registry = builder(store, id).sharing(sharing).fleet(fleet).build().unwrap();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    registry.start().unwrap();
    pass(millis(10)).await;
    Instance { registry, circuit }
}

fn live(registry: &Registry) -> Vec<String> {
    registry.members().into_iter().filter(|member| member.live).map(|member| member.id).collect()
}

fn find(registry: &Registry, id: &str) -> Option<Member> {
    registry.members().into_iter().find(|member| member.id == id)
}

#[tokio::test(start_paused = true)]
async fn instances_count_each_other_from_their_first_heartbeats() {
    for sharing in [Sharing::Quorum, Sharing::Follow] {
        let store = memory();
        let a = member_of(&store, "a", "orders", sharing).await;
        assert_eq!(live(&a.registry), ["a"]);
        let b = member_of(&store, "b", "orders", sharing).await;
        assert_eq!(live(&b.registry), ["a", "b"], "the later instance knows both at once");
        pass(secs(13)).await;
        assert_eq!(live(&a.registry), ["a", "b"], "the earlier instance sees the later one at its next heartbeat");
        let found = find(&a.registry, "b").unwrap();
        assert_eq!(found.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert!(found.since.is_some_and(|since| since <= found.last_seen) && !found.stopped, "{found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_record_of_members_has_the_promised_form() {
    let store = memory();
    let _a = member(&store, "a").await;
    let loaded = store.load_many(&[NAME.to_owned()]).await.unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&loaded.entries[0].as_ref().unwrap().bytes).unwrap();
    assert_eq!((&stored["service"], &stored["state"], &stored["version"]), (&json!(NAME), &json!("closed"), &json!(1)));
    let entry = &stored["instances"]["a"];
    assert_eq!(entry["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(entry["since"].as_u64().unwrap() / 1_000, entry["updated_at"].as_u64().unwrap() / 1_000);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_come_after_two_seconds_and_then_every_ten() {
    let store = memory();
    let a = member(&store, "a").await;
    let mut seen = vec![find(&a.registry, "a").unwrap().last_seen];
    for _ in 0..6_000 {
        pass(millis(100)).await;
        let last = find(&a.registry, "a").unwrap().last_seen;
        if seen.last() != Some(&last) {
            seen.push(last);
        }
    }
    let mut waits: Vec<_> = seen.windows(2).map(|two| two[1].since(two[0])).collect();
    let first = waits.remove(0);
    assert!((millis(1_500)..=millis(2_500)).contains(&first), "{first:?}");
    assert!((55..=65).contains(&waits.len()), "{waits:?}");
    assert!(waits.iter().all(|wait| (millis(7_900)..=millis(12_200)).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait < secs(9)) && waits.iter().any(|wait| *wait > secs(11)), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_stops_no_longer_counts() {
    let store = memory();
    let (a, b) = (member(&store, "a").await, member(&store, "b").await);
    pass(secs(13)).await;
    b.end().await;
    let entry = record(&store, NAME).await.unwrap().instances["b"].clone();
    assert!(entry.is_stopped(), "{entry:?}");
    pass(secs(13)).await;
    assert_eq!(live(&a.registry), ["a"]);
    assert!(find(&a.registry, "b").unwrap().stopped, "the list still has the instance");
    pass(secs(3_700)).await;
    assert_eq!(find(&a.registry, "b"), None, "the entry leaves the record after an hour");
    assert!(!record(&store, NAME).await.unwrap().instances.contains_key("b"));
}

#[tokio::test(start_paused = true)]
async fn a_dead_instance_counts_for_thirty_seconds() {
    let store = memory();
    let (a, b) = (member(&store, "a").await, member(&store, "b").await);
    pass(secs(13)).await;
    drop(b);
    let last = record(&store, NAME).await.unwrap().instances["b"].updated_at;
    let age = async || store.load_many(&[]).await.unwrap().now.since(last);
    while age().await < millis(29_000) {
        assert_eq!(live(&a.registry), ["a", "b"]);
        pass(secs(1)).await;
    }
    pass(secs(3)).await;
    assert_eq!(live(&a.registry), ["a"]);
    assert!(!find(&a.registry, "b").unwrap().stopped);
}

#[tokio::test(start_paused = true)]
async fn an_instance_comes_back_under_its_id_and_counts_once() {
    let store = memory();
    let a = member(&store, "a").await;
    member(&store, "b").await.end().await;
    let b = member(&store, "b").await;
    assert_eq!(live(&b.registry), ["a", "b"]);
    let report = b.registry.shutdown(secs(5)).await;
    assert!(report.is_complete() && b.registry.members().is_empty(), "no task runs");
    b.registry.start().unwrap();
    pass(secs(13)).await;
    assert_eq!(
        (live(&a.registry), live(&b.registry)),
        (vec!["a".to_owned(), "b".to_owned()], vec!["a".to_owned(), "b".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn two_fleets_on_one_store_do_not_count_each_other() {
    let store = memory();
    let a = member(&store, "a").await;
    let b = member_of(&store, "b", "billing", Sharing::Quorum).await;
    pass(secs(30)).await;
    assert_eq!((live(&a.registry), live(&b.registry)), (vec!["a".to_owned()], vec!["b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_idle_instance_with_advice_writes_nothing_and_knows_no_members() {
    let store = faulty();
    let a = member_of(&store, "a", "orders", Sharing::Advise).await;
    pass(secs(120)).await;
    assert_eq!(store.faults().operations(Operation::CompareAndSet), 0);
    assert_eq!((a.registry.members(), record(&store, NAME).await), (Vec::new(), None));
    assert_eq!(Registry::new().members(), [], "without a store");
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_circuits_is_a_member_too() {
    let store = memory();
    let registry = builder(&store, "a").sharing(Sharing::Quorum).fleet("orders").build().unwrap();
    assert_eq!(registry.members(), [], "the task does not run yet");
    registry.start().unwrap();
    pass(secs(1)).await;
    assert_eq!(live(&registry), ["a"]);
    assert!(registry.shutdown(secs(1)).await.is_complete());
    assert!(record(&store, NAME).await.unwrap().instances["a"].is_stopped());
}

#[tokio::test(start_paused = true)]
async fn members_are_unknown_while_the_store_is_away() {
    let store = faulty();
    let (a, _b) = (member(&store, "a").await, member(&store, "b").await);
    pass(secs(13)).await;
    store.faults().set(Operation::ALL, DOWN);
    pass(secs(31)).await;
    assert_eq!(live(&a.registry), Vec::<String>::new());
    assert_eq!(a.registry.members().len(), 2, "the list keeps the last seen members");
    let status = a.registry.store_status().unwrap();
    assert_eq!(status.unsaved, 0, "a heartbeat is no unsaved change");
    store.faults().heal();
    pass(secs(45)).await;
    assert_eq!(live(&a.registry), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_heartbeat_follows_the_first_answer_of_the_store() {
    let store = faulty();
    store.faults().set(Operation::ALL, DOWN);
    let a = member(&store, "a").await;
    pass(millis(500)).await;
    store.faults().heal();
    pass(secs(2)).await;
    assert_eq!(live(&a.registry), ["a"], "before the usual time of the next heartbeat");
}

#[tokio::test(start_paused = true)]
async fn a_failed_heartbeat_waits_for_the_next_one() {
    let store = faulty();
    let a = member(&store, "a").await;
    store.faults().set_for(NAME, Operation::ALL, DOWN);
    let before = store.faults().operations(Operation::Load) + store.faults().operations(Operation::CompareAndSet);
    pass(secs(100)).await;
    let tries =
        store.faults().operations(Operation::Load) + store.faults().operations(Operation::CompareAndSet) - before;
    assert!((8..=16).contains(&tries), "{tries} operations, with two polls of the circuit");
    let status = a.registry.store_status().unwrap();
    assert!(status.up && status.unsaved == 0, "{status:?}");
    assert!(a.registry.shutdown(secs(5)).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_hangs_delays_no_circuit() {
    let store = faulty();
    let a = member(&store, "a").await;
    store.faults().set_for(NAME, Operation::ALL, Fault::Hang);
    // The next heartbeat is under way from its begin until the limit of the store.
    for _ in 0..4 {
        pass(secs(6)).await;
        fail(&a.circuit, 5);
        pass(millis(50)).await;
        assert_eq!(record(&store, "payments").await.unwrap().instances["a"].state, State::Open);
        assert_eq!(a.registry.store_status().unwrap().unsaved, 0);
        a.registry.reset("payments", &alice(), tower_circuit_breaker::circuit::To::Closed, true).await.unwrap();
    }
    let report = a.registry.shutdown(secs(5)).await;
    assert!(report.is_complete(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_no_heartbeat_while_the_store_is_down() {
    let store = faulty();
    let a = member(&store, "a").await;
    store.faults().set(Operation::ALL, DOWN);
    pass(secs(40)).await;
    #[expect(clippy::disallowed_methods, reason = "tokio's clock")]
    let began = tokio::time::Instant::now();
    assert!(a.registry.shutdown(secs(60)).await.is_complete());
    assert!(began.elapsed() < millis(200), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_flushed_membership_is_written_back() {
    let store = memory();
    let (a, _b) = (member(&store, "a").await, member(&store, "b").await);
    pass(secs(13)).await;
    store.flush();
    // Each instance writes its own entry and the live entries that it knows.
    pass(secs(25)).await;
    assert_eq!(live(&a.registry), ["a", "b"]);
    let kept = record(&store, NAME).await.unwrap();
    assert_eq!(kept.instances.keys().collect::<Vec<_>>(), ["a", "b"]);
}

/// The clock of tokio, which a test can set back.
#[derive(Debug, Clone)]
struct Back(TokioClock, MockClock);

impl Clock for Back {
    fn now(&self) -> Tick {
        let back = self.1.now().saturating_since(Tick::ZERO);
        Tick::from_nanos(self.0.now().as_nanos() + 7_200_000_000_000 - u64::try_from(back.as_nanos()).unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_clock_is_set_back_loses_no_live_member_and_keeps_no_dead_one() {
    let clock = Back(TokioClock::new(), MockClock::new());
    let store = MemoryStore::with_clock(clock.clone());
    pass(secs(7_000)).await;
    let (a, _b, c) = (member(&store, "a").await, member(&store, "b").await, member(&store, "c").await);
    pass(secs(13)).await;
    assert_eq!(live(&a.registry), ["a", "b", "c"]);
    drop(c);
    clock.1.advance(secs(3_600));
    // The others have read the last heartbeat up to 12 s later, and drop the entry with a heartbeat of their own.
    for _ in 0..80 {
        pass(secs(1)).await;
        let live = live(&a.registry);
        assert!(live.contains(&"a".to_owned()) && live.contains(&"b".to_owned()), "{live:?}");
    }
    assert_eq!(live(&a.registry), ["a", "b"]);
    assert!(!record(&store, NAME).await.unwrap().instances.contains_key("c"), "its date is in the future");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_membership_do_no_harm() {
    for bytes in [
        b"no record".to_vec(),
        vec![b'x'; CircuitRecord::MAX_BYTES],
        br#"{"service":"payments","state":"open","generation":7}"#.to_vec(),
        json!({"service": NAME, "state": "open", "instances": {"b": {"sequence": u64::MAX, "state": "closed"}}})
            .to_string()
            .into(),
    ] {
        let store = memory();
        let a = member(&store, "a").await;
        put(&store, NAME, &bytes).await;
        pass(secs(26)).await;
        assert_eq!(live(&a.registry), ["a"]);
        assert_eq!(state(&a.circuit), State::Closed);
        let kept = record(&store, NAME).await.unwrap();
        assert!(kept.instances.contains_key("a"), "{kept:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_membership_of_a_later_version_is_left_alone_and_unknown() {
    let store = memory();
    let later = json!({"version": 2, "service": NAME, "state": "molten"}).to_string();
    put(&store, NAME, later.as_bytes()).await;
    let a = member(&store, "a").await;
    pass(secs(60)).await;
    assert_eq!(live(&a.registry), Vec::<String>::new());
    let loaded = store.load_many(&[NAME.to_owned()]).await.unwrap();
    assert_eq!(loaded.entries[0].as_ref().unwrap().bytes, later.as_bytes());
    assert!(a.registry.shutdown(secs(1)).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_hundred_and_twenty_members_are_as_many_as_the_record_can_name() {
    let store = memory();
    let mut members = Vec::new();
    for number in 0..120 {
        members.push(member(&store, &format!("orders-{number}")).await);
    }
    pass(secs(40)).await;
    for member in &members {
        let count = live(&member.registry).len();
        assert!((90..=CircuitRecord::MAX_INSTANCES).contains(&count), "{count}");
        assert!(live(&member.registry).contains(&member.registry.store_status().unwrap().instance));
    }
    assert!(record(&store, NAME).await.unwrap().instances.len() <= CircuitRecord::MAX_INSTANCES);
}

#[tokio::test(start_paused = true)]
async fn a_full_membership_of_the_past_gives_room_to_the_living() {
    let store = memory();
    let now = store.load_many(&[]).await.unwrap().now;
    let entry = |number: u64| {
        let sequence = now.as_millis() + 3_600_000 + number;
        (format!("old-{number}"), json!({"sequence": sequence, "state": "closed", "updated_at": now}))
    };
    let old: serde_json::Map<_, _> = (0..100).map(entry).collect();
    put(&store, NAME, json!({"service": NAME, "state": "closed", "instances": old}).to_string().as_bytes()).await;
    pass(secs(40)).await;
    let (a, b) = (member(&store, "a").await, member(&store, "b").await);
    pass(secs(13)).await;
    for registry in [&a.registry, &b.registry] {
        assert_eq!(live(registry), ["a", "b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn two_instances_with_one_id_become_two_members() {
    let store = memory();
    let (first, second) = (member(&store, "a").await, member(&store, "a").await);
    pass(secs(40)).await;
    assert_eq!(
        (live(&first.registry), live(&second.registry)),
        (vec!["a".to_owned(), "a#2".to_owned()], vec!["a".to_owned(), "a#2".to_owned()])
    );
    assert_eq!(first.registry.store_status().unwrap().instance, "a#2");
}

#[tokio::test(start_paused = true)]
async fn no_circuit_has_a_reserved_name() {
    let store = memory();
    let a = member(&store, "a").await;
    let error = Config::new(NAME).unwrap_err();
    assert_eq!(
        (error.field(), error.to_string().as_str()),
        (
            "name",
            "name is \"@fleet:orders\", allowed is a name that does not begin with `@fleet:`, which names the members of a fleet",
        )
    );
    assert!(Config::new("@fleets").is_ok() && Config::new("fleet:orders").is_ok());
    let operator = Operator::new(AnyStore::new(store.clone()));
    assert!(operator.list().await.unwrap().is_empty(), "the list has circuits only");
    let trip = Order::trip(&alice()).create();
    for refused in [
        operator.operate(NAME, &trip).await.map(drop).unwrap_err(),
        operator.forget(NAME, &alice()).await.map(drop).unwrap_err(),
        operator.show(NAME).await.map(drop).unwrap_err(),
    ] {
        assert!(
            matches!(refused, Refused::Invalid { .. }) && refused.to_string().contains("members of a fleet"),
            "{refused}"
        );
    }
    let Err(Refused::NoRecord { nearest, .. }) = operator.show("fleet:orders").await else { panic!("a record") };
    assert_eq!(nearest, None, "the name of a membership is no suggestion");
    let change = tokio::time::timeout(secs(30), operator.watch().next()).await;
    assert!(change.is_err(), "a heartbeat is no change of a circuit: {change:?}");
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn the_members_of_a_fleet_are_in_the_fast_tier_only() {
    let (fast, durable) = (faulty(), memory());
    let tiers = TieredStore::new(fast.clone(), durable.clone());
    let (a, _b) = (member(&tiers, "a").await, member(&tiers, "b").await);
    pass(secs(70)).await;
    assert_eq!(live(&a.registry), ["a", "b"]);
    assert!(record(&fast, NAME).await.is_some() && record(&durable, NAME).await.is_none());
    fast.faults().set(Operation::ALL, DOWN);
    pass(secs(45)).await;
    assert_eq!(live(&a.registry), Vec::<String>::new(), "the durable tier does not stand in");
    assert!(record(&durable, NAME).await.is_none());
    assert!(a.registry.store_status().unwrap().up, "circuits go on with the durable tier");
    fast.faults().heal();
    pass(secs(60)).await;
    assert_eq!(live(&a.registry), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_short_time_to_live_of_circuits_does_not_apply_to_members() {
    let store = memory();
    let registry = builder(&store, "a").sharing(Sharing::Quorum).fleet("orders").ttl(secs(1), secs(1)).build().unwrap();
    registry.start().unwrap();
    pass(secs(60)).await;
    drop(registry);
    pass(secs(100)).await;
    assert!(record(&store, NAME).await.is_some());
    pass(Duration::from_secs(3_600)).await;
    assert!(record(&store, NAME).await.is_none(), "an hour after the last heartbeat of the fleet");
}

#[test]
fn the_name_of_a_fleet_and_the_quorum_have_ranges() {
    let refused =
        |builder: tower_circuit_breaker::coordinator::RegistryBuilder| builder.build().unwrap_err().to_string();
    let names = "allowed is 1 to 100 bytes of printable text without spaces and `//`";
    for name in ["", "two words", "a\u{202e}b", "redis://:s3cret@db", &"x".repeat(101)] {
        let error = refused(Registry::builder().fleet(name));
        assert!(error.starts_with("fleet is `") && error.ends_with(names) && !error.contains("s3cret"), "{error}");
    }
    for (at_least, share, says) in [
        (0, 0.1, "quorum.at_least is 0, allowed is 1 to 10"),
        (11, 0.1, "quorum.at_least is 11, allowed is 1 to 10"),
        (2, -0.1, "quorum.share is -0.1, allowed is 0 to 1"),
        (2, 1.1, "quorum.share is 1.1, allowed is 0 to 1"),
        (2, f64::NAN, "quorum.share is NaN, allowed is 0 to 1"),
    ] {
        assert_eq!(refused(Registry::builder().quorum(at_least, share)), says);
    }
    for (at_least, share) in [(1, 0.0), (10, 1.0)] {
        assert!(Registry::builder().fleet(&"x".repeat(100)).quorum(at_least, share).build().is_ok());
    }
}
