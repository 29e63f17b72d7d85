//! The fleet as people see it: in the status, in the answer about a fleet, in events, metrics and rejections.
//!
//! The file is longer than others, because all tests share the fleet that its top defines.

use std::collections::BTreeMap;
use std::sync::mpsc;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use serde_json::{Value, json};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::operation::What;
use tower_circuit_breaker::state::FleetProbe;
use tower_circuit_breaker::store::{Hint, MemoryStore, Operation, Store, StoreErrorKind, Write};
use tower_circuit_breaker::{Registry, State};

use super::quorum::three;
use crate::rig::{DOWN, Instance, builder, fail, faulty, memory, millis, pass, secs, settings, state, succeed};

#[tokio::test(start_paused = true)]
async fn a_circuit_that_only_advises_has_no_fleet_in_its_status() {
    let alone = Instance::start(&memory(), "alone", Sharing::Advise).await;
    fail(&alone.circuit, 5);
    pass(secs(2)).await;
    assert_eq!(alone.circuit.status().fleet, None);
    for (sharing, needed) in [(Sharing::Quorum, 2), (Sharing::Follow, 1)] {
        let one = Instance::start(&memory(), "a", sharing).await;
        pass(secs(1)).await;
        let fleet = one.circuit.status().fleet.unwrap();
        assert_eq!((fleet.state, fleet.votes, fleet.needed), (State::Closed, 0, needed), "{sharing:?}");
        assert_eq!((fleet.leases, fleet.passed), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_counts_the_votes_and_then_shows_the_opening() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    let fleet = a.circuit.status().fleet.unwrap();
    assert_eq!((fleet.state, fleet.votes, fleet.needed), (State::Closed, 1, 2));
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    for one in [&a, &b, &c] {
        let fleet = one.circuit.status().fleet.unwrap();
        assert_eq!((fleet.state, fleet.votes, fleet.needed), (State::Open, 2, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_ends_leaves_the_status_without_a_write() {
    let store = memory();
    let [a, _b, _c] = three(&store).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(a.circuit.status().fleet.unwrap().votes, 1);
    pass(secs(30)).await;
    assert_eq!(a.circuit.status().fleet.unwrap().votes, 0);
}

#[tokio::test(start_paused = true)]
async fn the_answer_about_a_fleet_has_votes_and_instances_from_the_store() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    let fleet = c.registry.fleet("payments").await.unwrap();
    assert_eq!((fleet.state, fleet.generation.get(), fleet.decided_for), (State::Closed, 0, None));
    assert_eq!((fleet.needed, fleet.opened_by), (Some(2), None));
    assert_eq!((fleet.votes.len(), fleet.votes[0].instance.as_str()), (1, "a"));
    assert!((secs(8)..=secs(10)).contains(&fleet.votes[0].left), "{fleet:?}");
    let [entry] = &fleet.instances[..] else { panic!("{fleet:?}") };
    assert_eq!((entry.instance.as_str(), entry.state, entry.votes), ("a", State::Open, true));
    assert!(entry.seen <= secs(2) && entry.run >= 5.0 && !entry.gone, "{entry:?}");
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    let fleet = c.registry.fleet("payments").await.unwrap();
    assert_eq!((fleet.state, fleet.attempt, fleet.instance.as_str()), (State::Open, 1, "b"));
    assert_eq!((fleet.needed, fleet.opened_by, fleet.votes.len()), (Some(2), Some(2), 0));
    assert!(fleet.reason.contains("instances opened, first a: failures in a row"), "{fleet:?}");
    assert!((secs(3)..=secs(5)).contains(&fleet.open_for.unwrap()), "{fleet:?}");
    assert!(fleet.decided_for.unwrap() <= secs(2) && fleet.leases.is_empty(), "{fleet:?}");
    pass(secs(60)).await;
    let open_for = c.registry.fleet("payments").await.unwrap().open_for;
    assert!(open_for.is_none_or(|left| left.is_zero()), "without calls, no instance has begun a round: {open_for:?}");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_without_a_record_has_a_fleet_that_never_decided() {
    let with_store = builder(&memory(), "a").build().unwrap();
    for registry in [with_store, Registry::new()] {
        let fleet = registry.fleet("elsewhere").await.unwrap();
        assert_eq!((fleet.circuit.as_str(), fleet.state, fleet.generation.get()), ("elsewhere", State::Closed, 0));
        assert_eq!((fleet.decided_for, fleet.open_for, fleet.needed), (None, None, None));
        assert!(fleet.votes.is_empty() && fleet.leases.is_empty() && fleet.instances.is_empty(), "{fleet:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_cannot_be_read_is_an_error_and_not_closed() {
    let store = faulty();
    let one = Instance::start(&store, "a", Sharing::Quorum).await;
    plant(store.inner(), "damaged", b"{\"version\": 1").await;
    assert_eq!(one.registry.fleet("damaged").await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    store.faults().set(Operation::ALL, DOWN);
    assert_eq!(one.registry.fleet("payments").await.unwrap_err().kind(), StoreErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn votes_and_leases_that_no_command_could_make_are_not_shown() {
    let store = memory();
    let now = store.load_many(&[]).await.unwrap().now.as_millis();
    let (far, soon) = (now + 9_000_000_000, now + 5_000);
    let entry = |part: Value| {
        let mut entry = json!({ "sequence": 1, "state": "closed", "updated_at": now });
        entry.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        entry
    };
    let plant_fleet = async |name: &str, fleet: Value, parts: [Value; 3]| {
        let [a, b, c] = parts.map(entry);
        let record = json!({ "version": 1, "service": name, "state": "closed", "generation": 7, "until": null,
            "fleet": fleet, "instances": { "a": a, "b": b, "c": c } });
        plant(&store, name, record.to_string().as_bytes()).await;
    };
    let vote = |on: u64, until: u64| json!({ "vote": { "on": on, "until": until } });
    let closed = json!({ "state": "closed", "generation": 7, "since": now });
    plant_fleet("votes", closed, [vote(7, far), vote(6, soon), vote(7, soon)]).await;
    let lease =
        |round: u64, until: u64| json!({ "lease": { "round": round, "until": until, "passed": 4_294_967_295_u64 } });
    let probing = json!({ "state": "half_open", "generation": 7, "since": now });
    plant_fleet("leases", probing, [lease(7, far), lease(6, soon), lease(7, soon)]).await;
    let open = json!({ "state": "open", "generation": 7, "since": now, "until": far, "open_ms": 5000 });
    plant_fleet("open", open, [json!({}), json!({}), json!({})]).await;

    let one = Instance::with(&store, "me", Sharing::Quorum, settings("leases").build().unwrap()).await;
    let read = async |name: &str| one.registry.fleet(name).await.unwrap();
    let votes = read("votes").await.votes;
    assert_eq!(votes.iter().map(|vote| vote.instance.as_str()).collect::<Vec<_>>(), ["c"]);
    let leases = read("leases").await.leases;
    assert_eq!(leases.iter().map(|lease| lease.instance.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!((leases[0].left, leases[1].left.is_some()), (None, true));
    assert!(read("open").await.open_for.unwrap() <= secs(5), "the whole open duration is 5 s");
    pass(secs(1)).await;
    let brief = one.circuit.status().fleet.unwrap();
    assert_eq!((brief.state, brief.leases, brief.passed), (State::HalfOpen, 1, u32::MAX));
}

#[tokio::test(start_paused = true)]
async fn subscribers_get_each_change_of_the_fleet() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    let mut news = c.registry.subscribe();
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    let mut states = Vec::new();
    while let Ok(Some(news)) = tokio::time::timeout(millis(10), news.next()).await {
        if let What::Fleet(brief) = news.what {
            assert!(news.to_string().starts_with("circuit `payments`: the fleet is "), "{news}");
            states.push((brief.state, brief.votes));
        }
    }
    assert_eq!(states.last(), Some(&(State::Open, 2)), "{states:?}");
    assert!(states.len() <= 2, "the decision, and perhaps the vote before: {states:?}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_declines_each_opening_of_the_fleet_once() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    let (_guard, snapshotter) = recorder();
    succeed(&c.circuit, 3);
    pass(secs(1)).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(4)).await;
    assert_eq!(state(&c.circuit), State::Closed);
    [&a, &b, &c].iter().for_each(|one| one.registry.refresh_metrics());
    assert_eq!(read(&snapshotter)["fleet_declined_total{}"], "1");
}

#[tokio::test(start_paused = true)]
async fn the_metrics_of_a_fleet_begin_with_its_first_decision_known() {
    let (_guard, snapshotter) = recorder();
    let store = memory();
    let advised = Instance::start(&memory(), "alone", Sharing::Advise).await;
    pass(secs(1)).await;
    advised.registry.refresh_metrics();
    assert_eq!(read(&snapshotter).keys().find(|name| name.starts_with("fleet")), None);
    let one = Instance::start(&store, "a", Sharing::Quorum).await;
    pass(secs(1)).await;
    let expected = BTreeMap::from(
        [
            ("fleet_state{state=closed}", "1"),
            ("fleet_state{state=open}", "0"),
            ("fleet_state{state=half_open}", "0"),
            ("fleet_votes{}", "0"),
            ("fleet_votes_needed{}", "2"),
            ("fleet_probes_total{result=passed}", "0"),
            ("fleet_probes_total{result=failed}", "0"),
            ("fleet_probes_total{result=returned}", "0"),
            ("fleet_probes_total{result=late}", "0"),
            ("fleet_probes_total{result=unleased}", "0"),
            ("fleet_declined_total{}", "0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let mut shown = read(&snapshotter);
    shown.retain(|name, _| name.starts_with("fleet"));
    assert_eq!(shown, expected);
    // A recorder that is installed late gets them with a refresh.
    let (_guard, late) = recorder();
    one.registry.refresh_metrics();
    let mut shown = read(&late);
    shown.retain(|name, _| name.starts_with("fleet"));
    assert_eq!(shown, expected);
    let help = late.snapshot().into_vec();
    assert!(help.iter().all(|(_, _, help, _)| help.is_some()), "every metric has a help text");
    fail(&one.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(read(&late)["fleet_votes{}"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_a_lease_is_counted_as_unleased() {
    let store = faulty();
    let (sender, probes) = mpsc::channel();
    let observer = observer_fn(move |_, event| {
        if let Event::FleetProbes { result, number, .. } = event {
            sender.send((*result, *number)).unwrap();
        }
    });
    let config = settings("payments").observer(observer).build().unwrap();
    let a = Instance::with(&store, "a", Sharing::Quorum, config).await;
    let b = Instance::start(&store, "b", Sharing::Quorum).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(a.circuit.status().fleet.unwrap().state, State::Open);
    // Without the store, the circuit probes alone after some seconds.
    store.faults().set(Operation::ALL, DOWN);
    pass(secs(20)).await;
    assert_eq!(probes.try_iter().count(), 0);
    succeed(&a.circuit, 3);
    assert_eq!(state(&a.circuit), State::Closed);
    pass(secs(2)).await;
    let probes: Vec<_> = probes.try_iter().collect();
    assert!(probes.iter().all(|(result, _)| *result == FleetProbe::Unleased), "{probes:?}");
    assert_eq!(probes.iter().map(|(_, number)| number).sum::<u32>(), 3, "{probes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leased_probe_is_counted_once_by_its_result() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    let (_guard, snapshotter) = recorder();
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(6)).await;
    let (mut passed, mut brief) = (0, None);
    for _ in 0..200 {
        for one in [&a, &b, &c] {
            if state(&c.circuit) != State::Closed
                && let Ok(permit) = one.circuit.try_acquire()
            {
                // The first probe is cancelled.
                if brief.is_none() {
                    permit.cancel();
                    brief = one.circuit.status().fleet;
                } else {
                    permit.success();
                    passed += 1;
                }
            }
            pass(millis(50)).await;
        }
    }
    let brief = brief.unwrap();
    assert_eq!((brief.state, brief.leases, brief.passed), (State::HalfOpen, 1, 0));
    assert_eq!((state(&c.circuit), passed), (State::Closed, 3));
    [&a, &b, &c].iter().for_each(|one| one.registry.refresh_metrics());
    let shown = read(&snapshotter);
    let results = ["passed", "failed", "returned", "late", "unleased"];
    let counts = results.map(|result| shown[&format!("fleet_probes_total{{result={result}}}")].as_str());
    assert_eq!(counts, ["3", "0", "1", "0", "0"]);
    let last = c.registry.fleet("payments").await.unwrap();
    assert_eq!((last.state, last.reason.as_str()), (State::Closed, "3 probes of the fleet succeeded"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_on_a_lapsed_lease_is_late_and_not_unleased() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    let (_guard, snapshotter) = recorder();
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(6)).await;
    assert!(c.circuit.try_acquire().is_err(), "the first call after the open duration asks for a lease");
    pass(secs(1)).await;
    let leases = b.registry.fleet("payments").await.unwrap().leases;
    assert_eq!((leases.len(), leases[0].instance.as_str(), leases[0].passed, leases[0].failed), (1, "c", 0, false));
    assert!((secs(8)..=secs(10)).contains(&leases[0].left.unwrap()), "{leases:?}");
    pass(secs(12)).await;
    assert_eq!(c.circuit.status().fleet.unwrap().leases, 0);
    succeed(&c.circuit, 1);
    pass(secs(1)).await;
    assert_eq!(b.circuit.status().fleet.unwrap().passed, 1);
    [&a, &b, &c].iter().for_each(|one| one.registry.refresh_metrics());
    let shown = read(&snapshotter);
    let counts =
        ["passed", "late", "unleased"].map(|result| shown[&format!("fleet_probes_total{{result={result}}}")].as_str());
    assert_eq!(counts, ["0", "1", "0"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_by_the_fleet_names_the_instances_that_opened() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    let rejected = c.circuit.try_acquire().unwrap_err().to_string();
    // The number of live instances is in the sentence if the members are known.
    let is_open = |text: &str| {
        text.starts_with("circuit `payments` is open: 2 ")
            && text.contains(" instances opened, first a: failures in a row")
    };
    assert!(is_open(&rejected), "{rejected}");
    let cause =
        ": failures in a row weighed 5.0, the limit is 5.0, last a failure of kind error; it lets a probe through";
    assert!(rejected.contains(cause), "{rejected}");
    let status = c.circuit.status().to_string();
    assert!(is_open(&status), "{status}");
    pass(secs(10)).await;
    // The first calls after the open duration make the circuit half-open, and take its probes.
    let _probes: Vec<_> = std::iter::from_fn(|| c.circuit.try_acquire().ok()).take(100).collect();
    let rejected = c.circuit.try_acquire().unwrap_err().to_string();
    let taken = "circuit `payments` is half-open and admits no further probe now; it opened because 2 ";
    assert!(rejected.starts_with(taken), "{rejected}");
    let transition = c.circuit.status().transitions[0].to_string();
    assert!(transition.starts_with("closed to open: 2 "), "{transition}");
}

async fn plant(store: &MemoryStore, name: &str, bytes: &[u8]) {
    let write = Write { name: name.to_owned(), expected: None, bytes: bytes.to_vec(), ttl: None, hint: Hint::Any };
    store.compare_and_set(&write).await.unwrap();
}

/// Installs a recorder for this thread, on which all tasks of the test run.
fn recorder() -> (metrics::LocalRecorderGuard<'static>, Snapshotter) {
    // Leaked, so that its address is not used again: by that a circuit knows it.
    let recorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let snapshotter = recorder.snapshotter();
    (metrics::set_default_local_recorder(recorder), snapshotter)
}

/// Reads the recorded numbers, as `name{label=value}` without the label `service`.
fn read(snapshotter: &Snapshotter) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels = key.key().labels().filter(|label| label.key() != "service");
        let labels: Vec<_> = labels.map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = key.key().name().trim_start_matches("circuit_breaker_");
        let value = match value {
            DebugValue::Counter(count) => count.to_string(),
            DebugValue::Gauge(value) => value.into_inner().to_string(),
            DebugValue::Histogram(_) => continue,
        };
        read.insert(format!("{name}{{{}}}", labels.join(",")), value);
    }
    read
}
