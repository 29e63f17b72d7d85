//! Shutdowns: the marks of instances that stop, a start during a shutdown, and the report of a task that stands still.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, TokioClock};
use tower_circuit_breaker::coordinator::{Sharing, ShutdownReport};
use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::store::{Fault, Operation, Store, StoreErrorKind, Write};
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
    let write = Write { name: names[0].clone(), expected, bytes: bytes.to_vec(), ttl: None };
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
