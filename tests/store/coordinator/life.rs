//! When the background task begins and ends, and what becomes of what it had to do.

#![expect(clippy::disallowed_types, reason = "loom does not come here")]

mod counted;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::state::Act;
use tower_circuit_breaker::store::{Operation, Store};
use tower_circuit_breaker::{Outcome, Registry, State};

use crate::lines::Lines;
use crate::rig::{
    DOWN, Instance, alice, audited, builder, call, fail, faulty, memory, millis, pass, record, secs, settings, state,
};

use counted::Counted;

fn registry(store: &(impl Store + Clone)) -> (Registry, tower_circuit_breaker::Circuit) {
    let registry = builder(store, "a").build().unwrap();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    (registry, circuit)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn building_a_registry_begins_nothing() {
    let store = faulty();
    let (registry, circuit) = registry(&store);
    fail(&circuit, 5);
    pass(secs(60)).await;
    assert_eq!(store.faults().total(), 0);
    assert!(!registry.store_status().unwrap().running);
}

#[test]
fn without_a_runtime_a_start_is_an_error_and_not_a_panic() {
    let (registry, circuit) = registry(&memory());
    let error = registry.start().unwrap_err();
    assert!(error.to_string().contains("tokio runtime"), "{error}");
    fail(&circuit, 5);
    assert_eq!(state(&circuit), State::Open);
}

#[test]
fn a_start_on_an_ended_runtime_is_an_error_without_hanging() {
    let gone = runtime();
    let handle = gone.handle().clone();
    drop(gone);
    let (registry, _circuit) = registry(&memory());
    let (told, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _entered = handle.enter();
        told.send(registry.start().is_err()).unwrap();
    });
    assert_eq!(answer.recv_timeout(secs(10)), Ok(true));
}

#[tokio::test(start_paused = true)]
async fn starting_twice_runs_one_task() {
    let store = faulty();
    let (registry, _circuit) = registry(&store);
    for _ in 0..3 {
        registry.start().unwrap();
    }
    pass(secs(1)).await;
    assert_eq!(store.faults().operations(Operation::Watch), 1);
}

#[test]
fn another_runtime_takes_up_the_work_of_an_ended_runtime() {
    let store = faulty();
    let (registry, circuit) = registry(&store);
    let first = runtime();
    first.block_on(async {
        registry.start().unwrap();
        pass(secs(1)).await;
    });
    store.faults().set(Operation::ALL, DOWN);
    first.block_on(async {
        circuit.trip(&alice(), None);
        pass(secs(1)).await;
    });
    drop(first);
    assert!(!registry.store_status().unwrap().running);
    store.faults().heal();
    runtime().block_on(async {
        registry.start().unwrap();
        pass(secs(40)).await;
        assert!(record(&store, "payments").await.unwrap().operator.is_some(), "the act was not forgotten");
        assert_eq!(audited(&store).await, ["trip a"]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_dropped_registry_ends_the_task_and_frees_the_store() {
    let store = Counted::new(false);
    let (registry, circuit) = registry(&store);
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    pass(secs(30)).await;
    drop(registry);
    pass(secs(1)).await;
    assert_eq!(Arc::strong_count(&store.0), 1, "nothing holds the store any more");
    fail(&circuit, 5);
    assert_eq!(state(&circuit), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_writes_counts_that_are_not_due_yet() {
    let store = memory();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&one.circuit, 1);
    pass(secs(2)).await;
    fail(&one.circuit, 2);
    one.end().await;
    let entry = &record(&store, "payments").await.unwrap().instances["a"];
    assert_eq!((entry.total_failures, entry.run), (3, 3.0));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_reports_unwritten_state_and_a_start_can_follow_at_once() {
    let store = faulty();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().set(Operation::ALL, DOWN);
    one.circuit.trip(&alice(), None);
    let report = one.registry.shutdown(secs(1)).await;
    assert_eq!((report.unsaved.as_slice(), report.audit_rows), (["payments".to_owned()].as_slice(), 1));
    store.faults().heal();
    one.registry.start().unwrap();
    pass(secs(40)).await;
    assert!(one.registry.store_status().unwrap().running, "it was started again");
    assert_eq!(record(&store, "payments").await.unwrap().operator.unwrap().user, "alice");
    one.end().await;
}

#[test]
fn a_shutdown_after_the_death_of_the_task_reports_unsaved_work() {
    let store = faulty();
    let (registry, circuit) = registry(&store);
    let first = runtime();
    first.block_on(async {
        assert!(registry.restore(secs(1)).await.unwrap().is_complete());
        store.faults().set(Operation::ALL, DOWN);
        circuit.trip(&alice(), None);
        pass(secs(1)).await;
    });
    drop(first);
    let report = runtime().block_on(registry.shutdown(secs(1)));
    assert_eq!((report.unsaved.len(), report.audit_rows), (1, 1), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_shutdown_goes_on() {
    let store = faulty();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().delay(Operation::ALL, millis(500));
    fail(&one.circuit, 5);
    assert!(tokio::time::timeout(millis(100), one.registry.shutdown(secs(9))).await.is_err());
    pass(secs(3)).await;
    assert!(!one.registry.store_status().unwrap().running);
    assert_eq!(record(&store, "payments").await.unwrap().state, State::Open);
    one.registry.start().unwrap();
    assert!(one.registry.store_status().unwrap().running);
    // Started before it is over, it goes on.
    pass(secs(1)).await;
    one.circuit.reset(&alice(), To::Closed);
    assert!(tokio::time::timeout(millis(100), one.registry.shutdown(secs(9))).await.is_err());
    one.registry.start().unwrap();
    pass(secs(10)).await;
    assert!(one.registry.store_status().unwrap().running);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_is_a_store_that_fails() {
    let store = Counted::new(false);
    let (registry, circuit) = registry(&store);
    store.0.panics.store(true, Relaxed);
    let report = registry.restore(secs(1)).await.unwrap();
    assert!(report.error.unwrap().contains("panicked"));
    fail(&circuit, 5);
    store.0.panics.store(false, Relaxed);
    pass(secs(40)).await;
    assert_eq!(record(&store.0.inner, "payments").await.unwrap().state, State::Open);
    assert_eq!(registry.store_status().unwrap().deaths, 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_panics_is_repeated_and_its_audit_too() {
    let store = Counted::new(false);
    let (registry, circuit) = registry(&store);
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    store.0.panics.store(true, Relaxed);
    fail(&circuit, 5);
    pass(secs(40)).await;
    let status = registry.store_status().unwrap();
    assert!(status.last_error.as_ref().unwrap().contains("the store panicked"), "{status:?}");
    assert_eq!((status.unsaved, status.audit_rows), (1, 1));
    store.0.panics.store(false, Relaxed);
    pass(secs(40)).await;
    let status = registry.store_status().unwrap();
    assert_eq!((status.deaths, status.unsaved, status.audit_rows), (0, 0, 0));
    assert_eq!(record(&store.0.inner, "payments").await.unwrap().state, State::Open);
}

/// The record has room for one act, so the transition alone carries the state to which the reset led.
#[tokio::test(start_paused = true)]
async fn a_reset_whose_write_failed_is_published_with_the_next_act() {
    let store = Counted::new(false);
    let (registry, circuit) = registry(&store);
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    fail(&circuit, 5);
    pass(secs(2)).await;
    assert_eq!(record(&store.0.inner, "payments").await.unwrap().state, State::Open);
    store.0.panics.store(true, Relaxed);
    circuit.reset(&alice(), To::Closed);
    pass(secs(2)).await;
    assert!(registry.store_status().unwrap().last_error.unwrap().contains("panicked"), "the reset was sent");
    circuit.shadow(&alice());
    store.0.panics.store(false, Relaxed);
    pass(secs(40)).await;
    let record = record(&store.0.inner, "payments").await.unwrap();
    assert_eq!(record.operator.map(|operated| operated.act), Some(Act::Shadow));
    assert_eq!(record.state, State::Closed);
}

/// A store keeps one row of each id.
#[tokio::test(start_paused = true)]
async fn each_start_of_each_instance_has_audit_rows_of_its_own() {
    let store = memory();
    for (id, rows) in [("a", 1), ("a", 2), ("b", 3)] {
        let one = Instance::start(&store, id, Sharing::Advise).await;
        fail(&one.circuit, 5);
        pass(secs(1)).await;
        one.circuit.reset(&alice(), To::Closed);
        one.end().await;
        assert_eq!(audited(&store).await.iter().filter(|row| row.starts_with("opened")).count(), rows, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_task_is_logged_once_and_restarted_by_the_next_restore() {
    let lines = Lines::collect();
    let store = Counted::new(true);
    let (registry, circuit) = registry(&store);
    let other = Instance::start(&store.0.inner, "b", Sharing::Advise).await;
    fail(&other.circuit, 5);
    pass(millis(100)).await;
    let report = registry.restore(secs(1)).await.unwrap();
    assert!(!report.is_complete(), "{report:?}");
    let status = registry.store_status().unwrap();
    assert_eq!((status.deaths, status.running), (1, false));
    assert_eq!(lines.with("has died").len(), 1);
    store.0.dies.store(false, Relaxed);
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    assert!(registry.store_status().unwrap().running);
    assert_eq!(state(&circuit), State::Open);
}

#[tokio::test(start_paused = true)]
async fn two_circuits_have_a_record_each() {
    let store = memory();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    let orders = one.registry.circuit(settings("orders").build().unwrap()).unwrap();
    fail(&orders, 5);
    call(&one.circuit, 2, Outcome::failure());
    pass(secs(4)).await;
    let (orders, payments) = (record(&store, "orders").await.unwrap(), record(&store, "payments").await.unwrap());
    assert_eq!((orders.state, payments.state), (State::Open, State::Closed));
    assert_eq!((orders.total_failures, payments.total_failures), (5, 2));
}
