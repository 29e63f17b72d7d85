//! The sentences of the reports, which their readers log and show.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::{RestoreReport, Sharing, ShutdownReport, StoreStatus};
use tower_circuit_breaker::store::{Fault, Operation};
use tower_circuit_breaker::{Circuit, Registry, State};

use crate::lines::Lines;
use crate::rig::{DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs, settings, succeed};

fn circuit(registry: &Registry, name: &str) -> Circuit {
    registry.circuit(settings(name).build().unwrap()).unwrap()
}

async fn restored(registry: &Registry) -> String {
    registry.restore(secs(1)).await.unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_restore_of_circuits_without_a_record_reads_as_a_first_start() {
    let registry = builder(&memory(), "a").build().unwrap();
    assert_eq!(restored(&registry).await, "no circuits to restore from the store");
    let _first = circuit(&registry, "first");
    assert_eq!(restored(&registry).await, "1 circuit: the store has no record of it yet");
    let _second = circuit(&registry, "second");
    assert_eq!(restored(&registry).await, "2 circuits: the store has no record of them yet");
}

#[tokio::test(start_paused = true)]
async fn reports_without_a_store_say_that_there_is_no_store() {
    let registry = Registry::new();
    let _circuit = circuit(&registry, "payments");
    assert_eq!(restored(&registry).await, "there is no store, so nothing is restored");
    assert_eq!(registry.shutdown(secs(1)).await.to_string(), "there is no store, so nothing is saved");
}

#[tokio::test(start_paused = true)]
async fn a_store_answers_only_after_its_first_answer() {
    let store = faulty();
    store.faults().set(Operation::ALL, Fault::Hang);
    let registry = builder(&store, "a").build().unwrap();
    let _circuit = circuit(&registry, "payments");
    registry.start().unwrap();
    pass(millis(10)).await;
    let status = registry.store_status().unwrap();
    assert!(!status.up && status.to_string().contains("has not answered yet"), "{status}");
    store.faults().heal();
    // The operation that hangs ends at the store timeout, and the next one is answered.
    pass(secs(10)).await;
    let status = registry.store_status().unwrap();
    assert!(status.up && status.to_string().contains("answers"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_restored_hold_is_reported_with_its_operator() {
    let store = memory();
    let before = Instance::start(&store, "a", Sharing::Advise).await;
    before.registry.trip("payments", &alice(), None).await.unwrap();
    before.end().await;
    let registry = builder(&store, "a").build().unwrap();
    let _circuit = circuit(&registry, "payments");
    let report = registry.restore(secs(1)).await.unwrap();
    assert_eq!(report.to_string(), "1 restored: 1 held open by alice");
    assert_eq!(report.circuits["payments"].to_string(), "restored from memory: held open by alice");
}

#[tokio::test(start_paused = true)]
async fn restored_circuits_are_counted_by_the_answer_that_their_callers_get() {
    let store = memory();
    let first = builder(&store, "a").build().unwrap();
    let [due, half, disabled, shadow, closed] =
        ["due", "half-open", "disabled", "shadow", "closed"].map(|name| circuit(&first, name));
    first.start().unwrap();
    fail(&due, 5);
    pass(secs(6)).await;
    fail(&half, 5);
    half.reset(&alice(), To::HalfOpen);
    disabled.disable(&alice(), None);
    shadow.shadow(&alice());
    fail(&closed, 2);
    let open = circuit(&first, "open");
    fail(&open, 5);
    assert_eq!(first.shutdown(secs(5)).await.to_string(), "everything is saved");

    let second = builder(&store, "a").build().unwrap();
    let names = ["due", "half-open", "disabled", "shadow", "closed", "open", "new"];
    let _circuits = names.map(|name| circuit(&second, name));
    assert_eq!(
        restored(&second).await,
        "6 restored: 1 open, 1 open with a probe due, 1 half-open, 1 disabled by alice, 1 in shadow by alice, 1 closed; \
         1 more: the store has no record of it yet"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restore_without_an_answer_names_the_error() {
    let store = faulty();
    store.faults().set(Operation::ALL, DOWN);
    let registry = builder(&store, "a").build().unwrap();
    let _circuit = circuit(&registry, "payments");
    let report = restored(&registry).await;
    assert!(report.starts_with("1 still waiting for the store: "), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_loses_changes_names_them() {
    let store = faulty();
    let registry = builder(&store, "a").build().unwrap();
    let circuits: Vec<_> = (1..=7).map(|number| circuit(&registry, &format!("circuit-{number}"))).collect();
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    store.faults().set(Operation::ALL, DOWN);
    circuits.iter().for_each(|circuit| fail(circuit, 5));
    let report = registry.shutdown(secs(1)).await;
    assert_eq!(
        report.to_string(),
        "not saved: the last changes of 7 circuits (`circuit-1`, `circuit-2`, `circuit-3`, `circuit-4`, `circuit-5` and \
         2 more) and 7 rows of the audit"
    );
    assert_eq!(ShutdownReport::default().to_string(), "everything is saved");
    assert_eq!(RestoreReport::default().to_string(), "no circuits to restore from the store");
}

#[tokio::test(start_paused = true)]
async fn a_store_status_says_the_state_of_the_store_and_the_unsaved_changes() {
    let status = |registry: &Registry| registry.store_status().map(|status: StoreStatus| status.to_string()).unwrap();
    let store = faulty();
    let registry = builder(&store, "a").build().unwrap();
    let payments = circuit(&registry, "payments");
    assert_eq!(status(&registry), "the store memory is not used, because the task of the registry does not run");
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    pass(millis(10)).await;
    assert_eq!(status(&registry), "the store memory answers, and has every change");
    store.faults().set(Operation::ALL, DOWN);
    fail(&payments, 5);
    pass(secs(1)).await;
    let down = status(&registry);
    assert!(down.starts_with("the store memory does not answer: "), "{down}");
    assert!(down.ends_with("; not saved yet: the last changes of 1 circuit and 1 row of the audit"), "{down}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_a_registry_that_was_never_started_saves_nothing() {
    let lines = Lines::collect();
    let store = faulty();
    let registry = builder(&store, "a").build().unwrap();
    let unused = registry.shutdown(secs(1)).await;
    assert!(unused.never_started && !unused.is_complete(), "{unused:?}");
    let payments = circuit(&registry, "payments");
    succeed(&payments, 1);
    fail(&payments, 5);
    let report = registry.shutdown(secs(1)).await;
    assert!(report.never_started && !report.is_complete(), "{report:?}");
    assert_eq!(
        report.to_string(),
        "nothing is saved, because the registry was never started: call `restore` or `start`; not saved: the last changes \
         of 1 circuit (`payments`) and 1 row of the audit"
    );
    assert_eq!(store.faults().total(), 0, "the store was not asked");
    assert_eq!(lines.with("the registry was never started").len(), 1, "one warning");
    // Started now, it writes what it had not.
    registry.start().unwrap();
    assert_eq!(registry.shutdown(secs(5)).await.to_string(), "everything is saved");
    assert_eq!(record(&store, "payments").await.unwrap().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_was_never_started_warns_at_a_transition_or_its_drop() {
    let lines = Lines::collect();
    let registry = builder(&memory(), "a").build().unwrap();
    let payments = circuit(&registry, "payments");
    assert!(lines.with("never started").is_empty(), "circuits are created before the start");
    fail(&payments, 5);
    payments.trip(&alice(), None);
    assert_eq!(lines.with("never started").len(), 1);
    drop(registry);
    assert!(lines.with("never started").is_empty(), "once");

    let registry = builder(&memory(), "a").build().unwrap();
    let _payments = circuit(&registry, "payments");
    drop(registry);
    assert_eq!(lines.with("never started").len(), 1, "at the drop");

    drop(builder(&memory(), "a").build().unwrap());
    let registry = builder(&memory(), "a").build().unwrap();
    let payments = circuit(&registry, "payments");
    let report = registry.restore(secs(1)).await.unwrap();
    assert!(report.is_complete());
    fail(&payments, 5);
    assert!(registry.shutdown(secs(1)).await.is_complete());
    payments.trip(&alice(), None);
    drop(registry);
    pass(secs(1)).await;
    assert!(lines.with("not saved").is_empty() && lines.with("never started").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_reports_the_changes_since_the_first() {
    let store = memory();
    let registry = builder(&store, "a").build().unwrap();
    let payments = circuit(&registry, "payments");
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    fail(&payments, 5);
    assert_eq!(registry.shutdown(secs(1)).await.to_string(), "everything is saved");
    assert_eq!(registry.shutdown(secs(1)).await.to_string(), "everything is saved", "still");
    payments.trip(&alice(), None);
    let late = circuit(&registry, "late");
    fail(&late, 5);
    let report = registry.shutdown(secs(1)).await;
    assert_eq!(
        report.to_string(),
        "not saved: the last changes of 2 circuits (`late`, `payments`) and 2 rows of the audit"
    );
    registry.start().unwrap();
    assert_eq!(registry.shutdown(secs(5)).await.to_string(), "everything is saved");
}

#[test]
fn a_registry_whose_runtime_ended_warns_at_the_next_transition() {
    let lines = Lines::collect();
    let registry = builder(&memory(), "a").build().unwrap();
    let payments = circuit(&registry, "payments");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime().block_on(async { assert!(registry.restore(secs(1)).await.unwrap().is_complete()) });
    fail(&payments, 5);
    payments.trip(&alice(), None);
    assert_eq!(lines.with("the task of the registry has ended").len(), 1);
    let report = runtime().block_on(registry.shutdown(secs(1)));
    assert!(!report.never_started && report.unsaved == ["payments"], "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_restored_circuit_says_since_when_it_is_open() {
    let store = memory();
    let before = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&before.circuit, 5);
    before.end().await;
    let now = Instance::start(&store, "a", Sharing::Advise).await;
    let open = now.circuit.status().to_string();
    assert!(open.starts_with("circuit `payments` is open since "), "{open}");
    assert!(open.contains(", before this restart: failures in a row weighed 5.0"), "{open}");
    pass(secs(6)).await;
    let probe = now.circuit.try_acquire().unwrap();
    let half_open = now.circuit.status().to_string();
    assert!(half_open.starts_with("circuit `payments` is half-open; it was open since "), "{half_open}");
    probe.success();
    now.circuit.trip(&alice(), None);
    let held = now.circuit.status().to_string();
    assert!(held.starts_with("circuit `payments` is forced open: tripped by alice: "), "{held}");
}
