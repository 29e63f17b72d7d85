//! The life of a runner: deadline, panics, the end of its circuit, and its bounds.

#![expect(clippy::disallowed_types, reason = "loom does not run this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::health::HealthLimit;
use tower_circuit_breaker::state::HealthResult;
use tower_circuit_breaker::{Circuit, State, To};

use super::EVERY;
use super::service::{Service, circuit, pass};
use crate::rig::{alice, fail, millis, secs, state, succeed};

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_dropped_at_its_deadline() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    service.takes(secs(3600));
    tokio::spawn(service.probe(&circuit, EVERY).deadline(millis(100)).run().unwrap());
    fail(&circuit, 5);
    pass(secs(4)).await;
    let health = circuit.status().health.unwrap();
    assert_eq!((health.last, health.passed, service.ended()), (Some(HealthResult::TimedOut), 0, 0));
    assert!(health.failed >= 8 && service.most_at_once() == 1, "{health:?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_is_a_failure_and_the_runner_goes_on() {
    let (circuit, polls) = (circuit(|settings| settings), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&polls);
    let probe = circuit.probe_with(EVERY, move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        assert_ne!(number % 2, 0, "a panic of the closure");
        async move {
            assert!(number > 20, "a panic of the future");
            Ok::<(), String>(())
        }
    });
    tokio::spawn(probe.run().unwrap());
    fail(&circuit, 5);
    pass(secs(4)).await;
    let health = circuit.status().health.unwrap();
    assert_eq!((health.last, health.passed), (Some(HealthResult::Panicked), 0));
    assert!(health.failed >= 10, "{health:?}");
    pass(secs(10)).await;
    assert!(circuit.status().health.unwrap().passed > 0, "a later check succeeds");
}

#[tokio::test(start_paused = true)]
async fn the_future_ends_with_its_circuit_and_keeps_no_handle() {
    for open in [false, true] {
        let (circuit, service) = (circuit(|settings| settings), Service::down());
        service.takes(secs(3600));
        let run = tokio::spawn(service.probe(&circuit, EVERY).deadline(secs(60)).run().unwrap());
        if open {
            fail(&circuit, 5);
        }
        pass(secs(1)).await;
        assert!(!run.is_finished());
        let checks = service.checks();
        drop(circuit);
        pass(millis(1)).await;
        assert!(run.is_finished(), "open: {open}");
        assert_eq!(checks, u64::from(open), "a check was under way");
    }
}

#[tokio::test(start_paused = true)]
async fn the_drop_of_the_future_ends_its_check_and_its_requirement() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    service.takes(secs(10));
    let run = tokio::spawn(service.probe(&circuit, EVERY).deadline(secs(60)).required().run().unwrap());
    fail(&circuit, 5);
    pass(secs(5)).await;
    assert!(!circuit.would_admit(), "the wait is over, and no health probe has succeeded");
    run.abort();
    pass(millis(1)).await;
    let health = circuit.status().health.unwrap();
    assert_eq!((health.running, service.ended(), circuit.would_admit()), (false, 0, true));
}

#[tokio::test(start_paused = true)]
async fn a_later_runner_replaces_the_earlier_one() {
    let (circuit, first, second) = (circuit(|settings| settings), Service::down(), Service::down());
    let run = tokio::spawn(first.probe(&circuit, EVERY).required().run().unwrap());
    fail(&circuit, 5);
    pass(secs(1)).await;
    tokio::spawn(second.probe(&circuit, EVERY).run().unwrap());
    pass(millis(1)).await;
    assert!(run.is_finished());
    let checks = first.checks();
    pass(secs(1)).await;
    assert!(first.checks() == checks && second.checks() >= 2);
    let health = circuit.status().health.unwrap();
    assert_eq!((health.running, health.required), (true, false), "the settings are those of the later one");
}

#[tokio::test(start_paused = true)]
async fn no_check_is_made_while_an_operator_decides() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    circuit.trip(&alice(), None);
    pass(secs(60)).await;
    assert_eq!(service.checks(), 0, "forced open");
    circuit.disable(&alice(), None);
    pass(secs(60)).await;
    assert_eq!(service.checks(), 0, "disabled");
    circuit.trip(&alice(), Some(secs(10)));
    pass(millis(9_999)).await;
    assert_eq!(service.checks(), 0, "held for 10 s");
    pass(secs(1)).await;
    assert_eq!((service.checks() > 0, state(&circuit)), (true, State::HalfOpen), "the hold is over");
    circuit.reset(&alice(), To::Closed);
    let checks = service.checks();
    pass(secs(60)).await;
    assert_eq!(service.checks(), checks, "closed");
}

#[tokio::test(start_paused = true)]
async fn a_check_under_way_is_dropped_when_the_circuit_closes() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    service.takes(secs(10));
    tokio::spawn(service.probe(&circuit, EVERY).deadline(secs(60)).run().unwrap());
    fail(&circuit, 5);
    pass(secs(5)).await;
    assert_eq!(service.checks(), 1, "under way");
    succeed(&circuit, 3);
    pass(secs(60)).await;
    assert_eq!((service.checks(), service.ended()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_circuits_keep_one_bound_and_all_recover() {
    let (service, limit) = (Service::down(), HealthLimit::new(16));
    service.takes(millis(20));
    let circuits: Vec<Circuit> = (0..1_000).map(|_| circuit(|settings| settings)).collect();
    for circuit in &circuits {
        tokio::spawn(service.probe(circuit, EVERY).limit(&limit).run().unwrap());
    }
    circuits.iter().for_each(|circuit| fail(circuit, 5));
    pass(secs(2)).await;
    assert_eq!(service.most_at_once(), 16);
    service.recover();
    pass(secs(3)).await;
    assert!(circuits.iter().all(|circuit| state(circuit) == State::HalfOpen));
    assert_eq!(service.most_at_once(), 16);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_does_not_end_the_runner() {
    let observer = observer_fn(|_, event: &Event<'_>| {
        assert!(!matches!(event, Event::HealthProbe { .. }), "a panic of an observer");
    });
    let (circuit, service) = (circuit(|settings| settings.observer(observer)), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    fail(&circuit, 5);
    pass(secs(3)).await;
    assert!(service.checks() >= 8);
}
