//! Keyed circuits over a restart: the circuits that are not closed in the store come back before the first call.

#![expect(clippy::disallowed_types, reason = "a count of a test's own calls")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::coordinator::RegistryBuilder;
use tower_circuit_breaker::store::{
    AuditFilter, Fault, FaultyStore, MemoryStore, Operation, Store, StoreErrorKind, Write,
};

use super::*;

type Faulty = FaultyStore<MemoryStore>;

const WAIT: Duration = Duration::from_millis(500);

fn store() -> Faulty {
    FaultyStore::new(MemoryStore::with_clock(TokioClock::new()))
}

fn started(store: &Faulty) -> RegistryBuilder {
    Registry::builder().store(store.clone()).instance("gateway-1").first_call_waits(WAIT)
}

fn by_host(registry: &Registry, change: impl FnOnce(KeyedBuilder) -> KeyedBuilder) -> Keyed<ByText> {
    let open_for = OpenDuration::fixed(Duration::from_secs(60));
    let settings = Config::builder("replaced").clock(TokioClock::new()).open_for(open_for).without_shipped_observers();
    change(Keyed::builder(registry, move |_| settings.clone()).prefix("host:")).by(BY_TEXT).unwrap()
}

/// An earlier start of the instance, which opens the circuits of these keys and ends.
async fn opened(store: &Faulty, keys: &[&str]) {
    let registry = started(store).build().unwrap();
    registry.start().unwrap();
    let by = by_host(&registry, |builder| builder);
    keys.iter().for_each(|key| fail(&by, key, 5));
    assert!(registry.shutdown(Duration::from_secs(5)).await.is_complete());
}

/// Makes 200 calls of a key at the same time. Returns the number of calls that reach the host.
async fn burst(by: &Keyed<ByText>, key: &str) -> u64 {
    let reached = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&reached);
    let service = CircuitBreakerLayer::keyed(by.clone()).layer(service_fn(move |_: String| {
        count.fetch_add(1, Relaxed);
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err::<(), BoxError>("the host is down".into())
        }
    }));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        calls.spawn(service.clone().oneshot(key.to_owned()));
    }
    assert_eq!(calls.join_all().await.len(), 200);
    reached.load(Relaxed)
}

/// Makes a call of a key to a host that answers.
async fn call(by: &Keyed<ByText>, key: &str) -> Result<(), BoxError> {
    let service = service_fn(|_: String| async { Ok::<_, BoxError>(()) });
    CircuitBreakerLayer::keyed(by.clone()).layer(service).oneshot(key.to_owned()).await
}

#[expect(clippy::disallowed_methods, reason = "tokio's clock stands still, and must")]
fn began() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[tokio::test(start_paused = true)]
async fn an_open_keyed_circuit_is_open_after_a_restart() {
    let store = store();
    opened(&store, &["dead"]).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    let report = registry.restore(Duration::from_secs(1)).await.unwrap();
    assert_eq!(report.circuits.keys().collect::<Vec<_>>(), ["host:dead"]);
    assert!(registry.get("host:dead").unwrap().is_open());
    assert_eq!(burst(&by, "dead").await, 0, "no call reaches the host");
}

#[tokio::test(start_paused = true)]
async fn keyed_circuits_come_back_in_whichever_order_layer_start_and_restore_are_written() {
    for order in ["layer, restore", "restore, layer", "layer, start", "start, layer"] {
        let store = store();
        opened(&store, &["dead"]).await;
        let registry = started(&store).build().unwrap();
        let layer = || by_host(&registry, |builder| builder);
        let restore = async || drop(registry.restore(Duration::from_secs(1)).await.unwrap());
        let by = match order {
            "layer, restore" => (layer(), restore().await).0,
            "restore, layer" => (restore().await, layer()).1,
            "layer, start" => (layer(), registry.start().unwrap()).0,
            _ => (registry.start().unwrap(), layer()).1,
        };
        assert_eq!(burst(&by, "dead").await, 0, "{order}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_load_of_its_prefix_and_no_later_call_waits() {
    let store = store();
    opened(&store, &["dead"]).await;
    store.faults().delay(Operation::READS, Duration::from_millis(100));
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    registry.start().unwrap();
    assert_eq!(burst(&by, "dead").await, 0);
    // A list, a load of the survey, and the load of the circuit.
    let began = began();
    store.faults().set(Operation::ALL, Fault::Hang);
    assert!(call(&by, "healthy").await.is_ok() && call(&by, "other").await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_an_answer_delays_keyed_calls_for_the_allowed_time_only() {
    for fault in [Fault::Hang, Fault::Fail(StoreErrorKind::Unavailable), Fault::Fail(StoreErrorKind::Refused)] {
        let store = store();
        opened(&store, &["dead"]).await;
        for operations in [Operation::ALL, &[Operation::List], &[Operation::Load]] {
            store.faults().set(operations, fault);
            let registry = started(&store).build().unwrap();
            let by = by_host(&registry, |builder| builder);
            registry.start().unwrap();
            let began = began();
            assert!(call(&by, "dead").await.is_ok(), "{fault:?} of {operations:?} rejects no call");
            let waited = began.elapsed();
            let allowed = WAIT..=WAIT + Duration::from_millis(5);
            assert!(allowed.contains(&waited), "{waited:?}, {fault:?} of {operations:?}");
            assert!(call(&by, "other").await.is_ok());
            assert_eq!(began.elapsed(), waited, "only the first calls wait");
            let _second = by_host(&registry, |builder| builder.prefix("second:"));
            assert!(call(&by, "third").await.is_ok());
            assert_eq!(began.elapsed(), waited, "another layer begins no second wait of this one");
            store.faults().heal();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keyed_circuits_come_back_when_the_store_answers_at_last() {
    let store = store();
    opened(&store, &["dead"]).await;
    store.faults().set(Operation::ALL, Fault::Fail(StoreErrorKind::Unavailable));
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    let report = registry.restore(Duration::from_secs(1)).await.unwrap();
    assert_eq!((report.is_complete(), report.keyed_waiting.as_slice()), (false, ["host:".to_owned()].as_slice()));
    let text = report.to_string();
    assert!(text.starts_with("keyed circuits `host:…` still waiting for the store: "), "{text}");
    store.faults().heal();
    let report = registry.restore(Duration::from_secs(1)).await.unwrap();
    assert_eq!(report.to_string(), "1 restored: 1 open");
    assert_eq!(burst(&by, "dead").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_the_wait_delays_no_keyed_call() {
    let store = store();
    opened(&store, &["dead"]).await;
    store.faults().set(Operation::ALL, Fault::Hang);
    let registry = started(&store).first_call_waits(Duration::ZERO).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    registry.start().unwrap();
    let began = began();
    assert!(call(&by, "dead").await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn without_a_store_no_keyed_call_waits() {
    let registry = Registry::builder().first_call_waits(WAIT).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "no circuits");
    let began = began();
    assert!(call(&by, "a").await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_and_the_end_of_the_registry_end_the_wait_of_keyed_calls() {
    for drops in [false, true] {
        let store = store();
        store.faults().set(Operation::ALL, Fault::Hang);
        let registry = started(&store).first_call_waits(Duration::from_secs(60)).build().unwrap();
        let by = by_host(&registry, |builder| builder);
        registry.start().unwrap();
        let service = service_fn(|_: String| async { Ok::<_, BoxError>(()) });
        let mut waiting = tokio::task::JoinSet::new();
        waiting.spawn(CircuitBreakerLayer::keyed(by).layer(service).oneshot("a".to_owned()));
        tokio::time::sleep(WAIT).await;
        assert!(waiting.try_join_next().is_none());
        let began = began();
        if drops {
            // The layer is a handle to the registry as well, so that the task ends with the last call.
            waiting.shutdown().await;
            drop(registry);
        } else {
            assert!(registry.shutdown(Duration::from_secs(1)).await.is_complete());
            assert!(waiting.join_next().await.unwrap().unwrap().is_ok());
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "dropped: {drops}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyed_circuit_that_an_operator_holds_is_held_after_a_restart() {
    let store = store();
    let before = started(&store).build().unwrap();
    before.start().unwrap();
    let layer = by_host(&before, |builder| builder);
    drop(layer.circuit("held").unwrap());
    before.trip("host:held", &alice(), None).await.unwrap();
    assert!(before.shutdown(WAIT).await.is_complete());
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "1 restored: 1 held open by alice");
    assert_eq!(burst(&by, "held").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_keyed_circuit_whose_wait_is_over_comes_back_with_a_probe_due() {
    let store = store();
    opened(&store, &["dead"]).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "1 restored: 1 open with a probe due");
    assert_eq!(burst(&by, "dead").await, 1, "one probe, and no flood");
}

#[tokio::test(start_paused = true)]
async fn closed_keyed_circuits_stay_in_the_store_until_their_first_call() {
    let store = store();
    let before = started(&store).build().unwrap();
    before.start().unwrap();
    let layer = by_host(&before, |builder| builder);
    (0..600).for_each(|n| fail(&layer, &format!("{n:03}"), 3));
    fail(&layer, "dead", 5);
    assert!(before.shutdown(Duration::from_secs(5)).await.is_complete());
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(10));
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "1 restored: 1 open");
    assert_eq!(by.status().keys, 1);
    drop(by.circuit("007").unwrap());
    tokio::time::sleep(WAIT).await;
    fail(&by, "007", 2);
    assert!(by.circuit("007").unwrap().is_open(), "three failures before, and two now");
}

#[tokio::test(start_paused = true)]
async fn keyed_circuits_beyond_max_keys_are_left_out_and_reported() {
    let store = store();
    for key in ["oldest", "b", "c", "youngest"] {
        opened(&store, &[key]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(56_500)).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(3));
    let report = registry.restore(WAIT).await.unwrap();
    // The wait of the oldest one is over, so that the others are more urgent.
    assert_eq!(report.circuits.keys().collect::<Vec<_>>(), ["host:b", "host:c", "host:youngest"]);
    assert_eq!(report.left_out, 1);
    assert_eq!(report.to_string(), "3 restored: 3 open; 1 keyed circuit left out for want of room");
    assert_eq!(by.status().unguarded, 0, "a restore counts no call");
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_called_take_the_place_of_circuits_that_came_back() {
    let store = store();
    opened(&store, &["a", "b", "c"]).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(3));
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "3 restored: 3 open");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(burst(&by, "a").await, 0);
    assert!(by.circuit("healthy").is_some(), "other hosts leave it a place");
    assert_eq!((by.status().keys, by.status().evicted), (3, 1));
    assert_eq!((burst(&by, "b").await, burst(&by, "c").await), (0, 0), "the evicted circuit is still open");
}

#[tokio::test(start_paused = true)]
async fn an_evicted_key_comes_back_as_open_as_it_was() {
    for with_store in [false, true] {
        let store = store();
        let registry = if with_store { started(&store) } else { Registry::builder() }.build().unwrap();
        registry.start().unwrap();
        let by = by_host(&registry, |builder| builder.idle(Duration::from_secs(100)));
        fail(&by, "dead", 5);
        tokio::time::sleep(Duration::from_secs(120)).await;
        drop(by.circuit("other").unwrap());
        assert_eq!((by.status().evicted, registry.get("host:dead").is_none()), (1, true));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(burst(&by, "dead").await, 1, "one probe, and no flood; with a store: {with_store}");
        let circuit = registry.get("host:dead").unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(circuit.status().attempt, 2, "the opening goes on; with a store: {with_store}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_back_writes_no_second_opening() {
    let store = store();
    let registry = started(&store).build().unwrap();
    registry.start().unwrap();
    let by = by_host(&registry, |builder| builder.idle(Duration::from_secs(100)));
    fail(&by, "dead", 5);
    tokio::time::sleep(Duration::from_secs(120)).await;
    drop(by.circuit("other").unwrap());
    tokio::time::sleep(WAIT).await;
    let rows = async || store.audit(&AuditFilter::new()).await.unwrap().len();
    let before = rows().await;
    assert_eq!(by.circuit("dead").unwrap().state(), State::Open);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(rows().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_begins_another_takes_none_of_its_circuits() {
    let store = store();
    let before = started(&store).build().unwrap();
    before.start().unwrap();
    fail(&by_host(&before, |builder| builder.prefix("host")), "-a", 5);
    let second = by_host(&before, |builder| builder.prefix("host2:"));
    fail(&second, "b", 5);
    assert!(before.shutdown(WAIT).await.is_complete());
    let registry = started(&store).build().unwrap();
    let (short, long) =
        (by_host(&registry, |builder| builder.prefix("host")), by_host(&registry, |builder| builder.prefix("host2:")));
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "2 restored: 2 open");
    assert_eq!((short.status().keys, long.status().keys), (1, 1));
    assert_eq!((burst(&short, "-a").await, burst(&long, "b").await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn two_layers_with_one_prefix_share_the_circuits_that_come_back() {
    let store = store();
    opened(&store, &["dead"]).await;
    let registry = started(&store).build().unwrap();
    let layers = [by_host(&registry, |builder| builder), by_host(&registry, |builder| builder)];
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "1 restored: 1 open");
    for by in &layers {
        assert_eq!((burst(by, "dead").await, by.status().unguarded), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_of_another_user_of_the_store_makes_way_for_a_named_circuit() {
    let store = store();
    let before = started(&store).build().unwrap();
    before.start().unwrap();
    let named = Config::builder("payments").clock(TokioClock::new()).consecutive_failures(2).build().unwrap();
    let payments = before.circuit(named.clone()).unwrap();
    for _ in 0..2 {
        payments.try_acquire().unwrap().record(Outcome::failure());
    }
    assert!(before.shutdown(WAIT).await.is_complete());
    let registry = started(&store).build().unwrap();
    let _all = by_host(&registry, |builder| builder.prefix(""));
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "1 restored: 1 open");
    let payments = registry.circuit(named).expect("no key has used the name yet");
    tokio::time::sleep(WAIT).await;
    assert!(payments.is_open(), "the named circuit is restored as well");
    assert!(registry.get("payments").is_some_and(|present| present.config().explain() == payments.config().explain()));
}

#[tokio::test(start_paused = true)]
async fn hostile_names_in_the_store_make_no_circuits() {
    let store = store();
    opened(&store, &["dead"]).await;
    let entry = store.load_many(&["host:dead".to_owned()]).await.unwrap().entries.remove(0).unwrap();
    let text = String::from_utf8(entry.bytes).unwrap();
    let long = format!("host:{}", "x".repeat(300));
    for name in ["host:", "host:a b", "host:a\u{1b}[2Jb", "host:a\u{202e}b", "hos", "other:a", &long] {
        // The record names the same service, so that only the name is wrong.
        let service = serde_json::to_string(name).unwrap();
        let bytes = text.replace("\"host:dead\"", &service).into_bytes();
        let write = Write { name: name.to_owned(), expected: None, bytes, ttl: None };
        store.compare_and_set(&write).await.unwrap();
    }
    let broken = Write { name: "host:broken".to_owned(), expected: None, bytes: b"{".to_vec(), ttl: None };
    store.compare_and_set(&broken).await.unwrap();
    let registry = started(&store).build().unwrap();
    let _by = by_host(&registry, |builder| builder);
    let report = registry.restore(WAIT).await.unwrap();
    assert_eq!(report.circuits.keys().collect::<Vec<_>>(), ["host:dead"]);
    assert_eq!(report.left_out, 0);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_panics_ends_neither_the_task_nor_the_restore() {
    let store = store();
    opened(&store, &["dead"]).await;
    let registry = started(&store).build().unwrap();
    let template = |name: &str| if name == "host:dead" { panic!("a test") } else { Config::builder(name) };
    let _by = Keyed::builder(&registry, template).prefix("host:").by(BY_TEXT).unwrap();
    let report = registry.restore(WAIT).await.unwrap();
    assert_eq!(report.to_string(), "1 keyed circuit left out for want of room");
    assert_eq!(registry.store_status().unwrap().deaths, 0);
}

#[tokio::test(start_paused = true)]
async fn circuits_that_come_back_late_evict_no_key_in_use() {
    let store = store();
    opened(&store, &["a", "b"]).await;
    store.faults().set(Operation::ALL, Fault::Fail(StoreErrorKind::Unavailable));
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(2));
    drop(registry.restore(WAIT).await.unwrap());
    assert!(call(&by, "healthy").await.is_ok());
    store.faults().heal();
    let report = registry.restore(WAIT).await.unwrap();
    assert_eq!((report.left_out, by.status().keys, by.status().evicted), (1, 2, 0), "{report}");
    assert!(registry.get("host:healthy").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_built_anew_has_the_circuits_of_the_layer_before() {
    let store = store();
    let registry = started(&store).build().unwrap();
    registry.start().unwrap();
    let before = by_host(&registry, |builder| builder);
    fail(&before, "dead", 5);
    tokio::time::sleep(WAIT).await;
    drop(before);
    let by = by_host(&registry, |builder| builder);
    assert_eq!(burst(&by, "dead").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_gone_for_long_does_not_come_back_by_itself() {
    let store = store();
    opened(&store, &["gone"]).await;
    tokio::time::sleep(Duration::from_secs(3601)).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "no circuits");
    drop(by.circuit("gone").unwrap());
    tokio::time::sleep(WAIT).await;
    assert_eq!(registry.get("host:gone").unwrap().state(), State::Open, "its first call brings the record back");
}
