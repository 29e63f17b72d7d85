//! Shutdowns: the marks of instances that stop, a start during a shutdown, and the report of a task that stands still.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, TokioClock};
use tower_circuit_breaker::coordinator::{Sharing, ShutdownReport};
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::store::{Fault, Operation, Store, StoreErrorKind};
use tower_circuit_breaker::{Registry, State};

use crate::rig::{
    DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, put, record, secs, settings, state, succeed,
};

/// Starts a registry when the sums of a circuit are reported.
#[derive(Debug)]
struct Starter(Arc<OnceLock<Registry>>);

impl Observer for Starter {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let (Event::Sums { .. }, Some(registry)) = (event, self.0.get()) {
            registry.start().unwrap();
        }
    }
    fn wants_calls(&self) -> bool {
        true
    }
    fn accepts_sums(&self) -> bool {
        true
    }
}

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
    put(&store, "payments", later.as_bytes()).await;
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
    put(&store, "payments", &full.encode().unwrap()).await;
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

#[tokio::test(start_paused = true)]
async fn marks_of_open_circuits_leave_the_room_for_marks_of_closed_circuits() {
    let store = memory();
    let registry = builder(&store, "one").build().unwrap();
    let circuit = |n: u32| registry.circuit(settings(&format!("c-{n:02}")).build().unwrap()).unwrap();
    let circuits: Vec<_> = (0..80).map(circuit).collect();
    registry.start().unwrap();
    circuits.iter().take(70).for_each(|circuit| fail(circuit, 5));
    circuits.iter().skip(70).for_each(|circuit| fail(circuit, 1));
    pass(secs(20)).await;
    assert!(registry.shutdown(secs(5)).await.is_complete());
    for circuit in &circuits {
        assert!(is_stopped(&store, circuit.name(), "one").await, "{}", circuit.name());
    }
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

#[tokio::test(start_paused = true)]
async fn a_start_during_the_end_of_a_task_that_never_ran_starts_a_task() {
    let store = memory();
    let registry = builder(&store, "a").build().unwrap();
    let starts = Arc::new(OnceLock::new());
    let config = settings("payments").without_shipped_observers().observer(Starter(Arc::clone(&starts)));
    let config = config.build().unwrap();
    let circuit = registry.circuit(config).unwrap();
    // The first call is reported at once, and the second call by the shutdown.
    succeed(&circuit, 2);
    starts.set(registry.clone()).expect("the registry is set once");
    let report = registry.shutdown(secs(1)).await;
    assert!(report.never_started, "{report}");
    pass(secs(1)).await;
    assert!(registry.store_status().unwrap().running);
    fail(&circuit, 5);
    pass(secs(1)).await;
    assert_eq!(record(&store, "payments").await.unwrap().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_start_before_the_deadline_of_a_shutdown_keeps_the_task() {
    let store = faulty();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().set(Operation::ALL, DOWN);
    one.circuit.trip(&alice(), None);
    let start = async {
        pass(millis(500)).await;
        one.registry.start().unwrap();
    };
    let (report, ()) = tokio::join!(one.registry.shutdown(secs(1)), start);
    assert_eq!(report.unsaved, ["payments"]);
    store.faults().heal();
    pass(secs(60)).await;
    assert!(one.registry.store_status().unwrap().running);
    assert_eq!(record(&store, "payments").await.unwrap().operator.unwrap().user, "alice");
}

#[tokio::test(start_paused = true)]
async fn a_start_after_the_deadline_of_a_shutdown_runs_a_task() {
    let store = faulty();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().set(Operation::ALL, DOWN);
    one.circuit.trip(&alice(), None);
    // The shutdown has aborted the task, which has not ended yet.
    let start = async {
        pass(secs(1)).await;
        one.registry.start().unwrap();
    };
    let (_report, ()) = tokio::join!(one.registry.shutdown(secs(1)), start);
    store.faults().heal();
    pass(secs(60)).await;
    assert!(one.registry.store_status().unwrap().running);
}

#[tokio::test(start_paused = true)]
async fn instances_that_stop_together_do_not_give_way_to_each_other() {
    let store = faulty();
    let mut instances = Vec::new();
    for number in 0..20 {
        instances.push(Instance::start(&store, &format!("orders-{number}"), Sharing::Advise).await);
    }
    // The 20 writes take 4 s, one after another.
    store.faults().delay(Operation::ALL, millis(200));
    instances.iter().for_each(|instance| fail(&instance.circuit, 5));
    let mut ends = tokio::task::JoinSet::new();
    for instance in instances {
        ends.spawn(async move { instance.registry.shutdown(secs(5)).await.is_complete() });
    }
    assert_eq!(ends.join_all().await, [true; 20]);
}
