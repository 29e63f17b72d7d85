//! Shutdowns: the marks of instances that stop, a start during a shutdown, and the report of a task that stands still.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, TokioClock};
use tower_circuit_breaker::coordinator::{Sharing, ShutdownReport};
use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::store::{Fault, Hint, Operation, Store, StoreErrorKind, Write};
use tower_circuit_breaker::{Registry, State};

use crate::rig::{
    DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs, settings, state, succeed,
};

/// Ends the task, and returns the report and the time that the shutdown took.
async fn shutdown(registry: &Registry) -> (ShutdownReport, Duration) {
    let clock = TokioClock::new();
    let began = clock.now();
    let report = registry.shutdown(secs(30)).await;
    (report, clock.now().saturating_since(began))
}

async fn is_stopped(store: &impl Store, circuit: &str, id: &str) -> bool {
    record(store, circuit).await.unwrap().instances[id].is_stopped()
}

async fn put(store: &impl Store, bytes: &[u8]) {
    let names = ["payments".to_owned()];
    let expected = store.load_many(&names).await.unwrap().entries.remove(0).map(|entry| entry.etag);
    let write = Write { name: names[0].clone(), expected, bytes: bytes.to_vec(), ttl: None, hint: Hint::Any };
    store.compare_and_set(&write).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_during_a_shutdown_takes_the_mark_back() {
    for delayed in [Operation::CompareAndSet, Operation::AppendAudit] {
        let store = faulty();
        let one = Instance::start(&store, "one", Sharing::Advise).await;
        fail(&one.circuit, 5);
        pass(secs(20)).await;
        store.faults().delay(&[delayed], millis(500));
        drop(one.circuit.try_acquire());
        fail(&one.circuit, 1);
        assert!(tokio::time::timeout(millis(100), one.registry.shutdown(secs(9))).await.is_err());
        one.registry.start().unwrap();
        pass(secs(60)).await;
        assert_eq!(state(&one.circuit), State::Open);
        assert!(!is_stopped(&store, "payments", "one").await, "{delayed:?}");
        pass(secs(30 * 60)).await;
        let (record, now) = (record(&store, "payments").await.unwrap(), store.load_many(&[]).await.unwrap().now);
        assert!(record.instances["one"].is_tripped(now), "{delayed:?}: the entry is renewed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_mark_in_a_record_of_a_later_version() {
    let store = memory();
    let far = 9_999_999_999_999_u64;
    let entry = format!(r#"{{"sequence":1,"state":"open","until":{far}}}"#);
    let later = format!(r#"{{"version":2,"state":"open","until":{far},"instances":{{"one":{entry}}}}}"#);
    put(&store, later.as_bytes()).await;
    let one = Instance::start(&store, "one", Sharing::Advise).await;
    assert_eq!(state(&one.circuit), State::Open);
    let (report, took) = shutdown(&one.registry).await;
    assert!(report.is_complete() && took < secs(3), "{report}, {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_mark_that_the_record_does_not_take() {
    let store = memory();
    let one = Instance::start(&store, "one", Sharing::Advise).await;
    fail(&one.circuit, 5);
    pass(secs(1)).await;
    // The clock of the store was ahead when 64 other instances wrote their entries.
    let mut full = record(&store, "payments").await.unwrap();
    let mut entry = full.instances["one"].clone();
    entry.sequence += 3_600_000;
    full.instances = (0..64).map(|n| (format!("other-{n}"), entry.clone())).collect();
    put(&store, &full.encode().unwrap()).await;
    pass(secs(5)).await;
    let (report, took) = shutdown(&one.registry).await;
    assert!(report.is_complete() && took < secs(3), "{report}, {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_mark_in_a_record_that_is_not_loaded() {
    let store = faulty();
    let one = Instance::start(&store, "one", Sharing::Advise).await;
    let _other = one.registry.circuit(settings("orders").build().unwrap()).unwrap();
    fail(&one.circuit, 5);
    pass(secs(20)).await;
    assert!(one.registry.shutdown(secs(5)).await.is_complete());
    store.faults().set_for("payments", &[Operation::Load], Fault::Fail(StoreErrorKind::Refused));
    one.registry.start().unwrap();
    pass(secs(2)).await;
    let (report, took) = shutdown(&one.registry).await;
    assert!(report.is_complete() && took < secs(3), "{report}, {took:?}");
}

#[test]
fn a_shutdown_of_a_task_that_stands_still_names_every_unsaved_circuit() {
    let store = faulty();
    let registry = builder(&store, "a").build().unwrap();
    let circuit = |name: &str| registry.circuit(settings(name).build().unwrap()).unwrap();
    let [known, rung] = ["known", "rung"].map(circuit);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let first = runtime();
    first.block_on(async {
        assert!(registry.restore(secs(1)).await.unwrap().is_complete());
        store.faults().set(Operation::ALL, DOWN);
        fail(&known, 5);
        pass(secs(1)).await;
    });
    // From now on the first runtime stands still.
    fail(&rung, 5);
    fail(&circuit("new"), 5);
    succeed(&circuit("healthy"), 1);
    let report = runtime().block_on(registry.shutdown(secs(1)));
    assert_eq!(report.unsaved, ["known", "new", "rung"], "{report}");
    drop(first);
}
