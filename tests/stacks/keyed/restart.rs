//! Keyed circuits over a restart: the circuits that are not closed in the store come back before the first call.

#![expect(clippy::disallowed_types, reason = "a count of a test's own calls")]

mod bounds;

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
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "there is no store, so nothing is restored");
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
