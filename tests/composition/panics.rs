//! Panics: of the call itself, however they are caught, and of others around it.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, State};

use crate::parts::{Ask, MINUTE, Strict, ask, circuit, last_edge, obey, poll, poll_ready, state, trip};

/// How calls have ended so far: failures, of them in a row, and cancelled.
fn ended(circuit: &Circuit) -> (u64, f64, u64) {
    let status = circuit.status();
    (status.totals.failures, status.run, status.totals.cancelled)
}

#[test]
fn a_call_that_panics_is_a_hard_failure() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Strict::default());
    for _ in 0..5 {
        assert_eq!(state(&circuit), State::Closed);
        catch_unwind(AssertUnwindSafe(|| ask(&mut service, Ask::Panic))).unwrap_err();
    }
    assert!(matches!(last_edge(&circuit), (Reason::ConsecutiveFailures { .. }, Some(FailureKind::Panicked))));
}

#[test]
fn a_panic_before_the_call_gives_a_future_is_a_hard_failure() {
    let circuit = circuit(&MockClock::new());
    // Not an async block: it panics in `call`.
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(|ask: Ask| {
        assert_ne!(ask, Ask::Panic);
        obey(ask)
    }));
    catch_unwind(AssertUnwindSafe(|| ask(&mut service, Ask::Panic))).unwrap_err();
    assert_eq!(ended(&circuit), (1, 1.0, 0));
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok(), "the service is as good as before");
}

#[test]
fn a_call_that_panics_after_a_pending_poll_is_a_hard_failure() {
    let circuit = circuit(&MockClock::new());
    let mut polls = 0;
    let call = circuit.call(poll_fn(|_| {
        polls += 1;
        assert_eq!(polls, 1, "it panics when it is polled again");
        Poll::<Result<(), io::Error>>::Pending
    }));
    let mut call = Box::pin(call);
    assert!(poll(&mut call).is_pending());
    catch_unwind(AssertUnwindSafe(|| poll(&mut call))).unwrap_err();
    drop(call);
    assert_eq!(ended(&circuit), (1, 1.0, 0));
}

#[test]
fn a_caught_panic_is_recorded_when_the_future_is_dropped() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Strict::default());
    assert!(poll_ready(&mut service).is_ready());
    // A wrapper that catches in `poll` and keeps the future: it is dropped on a thread that does not unwind.
    let caught = AssertUnwindSafe(service.call(Ask::Panic)).catch_unwind().now_or_never().unwrap();
    assert!(caught.is_err());
    assert_eq!(ended(&circuit), (1, 1.0, 0));
}

#[tokio::test]
async fn a_panic_caught_by_a_task_is_a_hard_failure() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit);
    #[expect(clippy::disallowed_methods, reason = "what users do")]
    let spawned = tokio::spawn(layer.layer(Strict::default()).oneshot(Ask::Panic));
    assert!(spawned.await.unwrap_err().is_panic());
    let mut tasks = JoinSet::new();
    tasks.spawn(layer.layer(Strict::default()).oneshot(Ask::Panic));
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());
    assert_eq!(ended(&circuit), (2, 2.0, 0));
}

#[tokio::test]
async fn a_task_that_is_aborted_is_cancelled_and_not_panicked() {
    let circuit = circuit(&MockClock::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(CircuitBreakerLayer::new(&circuit).layer(Strict::default()).oneshot(Ask::Hang));
    tokio::task::yield_now().await;
    tasks.abort_all();
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(ended(&circuit), (0, 0.0, 1));
}

#[test]
fn a_probe_that_panics_reopens() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Strict::default());
    trip(&circuit);
    clock.advance(MINUTE);
    catch_unwind(AssertUnwindSafe(|| ask(&mut service, Ask::Panic))).unwrap_err();
    assert!(matches!(last_edge(&circuit), (Reason::ProbeFailed { .. }, Some(FailureKind::Panicked))));
}

#[test]
fn a_panic_of_the_caller_does_not_blame_its_pending_calls() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Strict::default());
    catch_unwind(AssertUnwindSafe(|| {
        let mut calls = Vec::new();
        for _ in 0..3 {
            assert!(poll_ready(&mut service).is_ready());
            let mut call = service.call(Ask::Hang);
            assert!(poll(&mut call).is_pending());
            calls.push(call);
        }
        panic!("of the caller's own");
    }))
    .unwrap_err();
    assert_eq!(ended(&circuit), (0, 0.0, 3), "dropped while the thread unwinds, but not while they were polled");
}

#[test]
fn of_calls_polled_together_only_the_panicking_call_is_blamed() {
    let circuit = circuit(&MockClock::new());
    let service = CircuitBreakerLayer::new(&circuit).layer(Strict::default());
    let together = join_all([Ask::Hang, Ask::Panic, Ask::Hang].map(|ask| service.clone().oneshot(ask)));
    catch_unwind(AssertUnwindSafe(|| together.now_or_never())).unwrap_err();
    assert_eq!(ended(&circuit), (1, 1.0, 1), "the third was not even called yet");
}

#[test]
fn a_call_waiting_inside_a_panicking_call_is_not_blamed() {
    let clock = MockClock::new();
    let (outside, inside) = (circuit(&clock), circuit(&clock));
    let inner = CircuitBreakerLayer::new(&inside).layer(Strict::default());
    let fan_out = service_fn(|ask: Ask| {
        let waiting = inner.clone().oneshot(Ask::Hang);
        let own = async move { obey(ask).await.map_err(BoxError::from) };
        async move { join(waiting, own).await.0 }
    });
    let mut service = CircuitBreakerLayer::new(&outside).layer(fan_out);
    catch_unwind(AssertUnwindSafe(|| ask(&mut service, Ask::Panic))).unwrap_err();
    assert_eq!(ended(&outside), (1, 1.0, 0), "its call did panic");
    assert_eq!(ended(&inside), (0, 0.0, 1), "this one was waiting beside it");
}

#[test]
fn a_service_that_catches_its_panics_is_judged_by_its_errors() {
    let circuit = circuit(&MockClock::new());
    let catching = service_fn(|ask: Ask| async move {
        let caught = AssertUnwindSafe(obey(ask)).catch_unwind().await;
        caught.unwrap_or_else(|_| Err(io::Error::other("the handler panicked")))
    });
    let mut service = CircuitBreakerLayer::new(&circuit).layer(catching);
    assert!(ask(&mut service, Ask::Panic).unwrap().is_err());
    assert_eq!(ended(&circuit), (1, 1.0, 0), "the error that stands for the panic");
}
