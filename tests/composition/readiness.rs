//! `poll_ready` and `call`: what tower's contract asks of a service, and what the inner service may rely on.

use std::task::Poll;

use futures_util::FutureExt;
use tower::{Layer, Service};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Reason, RejectReason};
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreaker, CircuitBreakerLayer, State};
use tower_test::mock;

use crate::parts::{
    Ask, MINUTE, Strict, ask, circuit, last_edge, operator, poll_ready, rejection, state, take_probe, trip,
};

fn strict(circuit: &Circuit) -> (CircuitBreaker<Strict>, Strict) {
    let inner = Strict::default();
    (CircuitBreakerLayer::new(circuit).layer(inner.clone()), inner)
}

#[test]
fn the_inner_service_is_polled_ready_before_each_of_its_calls() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, inner) = strict(&circuit);
    // It would panic otherwise: through closed, open, half-open and closed again, with a clone at each step.
    for _ in 0..2 {
        for request in [Ask::Succeed, Ask::Fail, Ask::Succeed, Ask::Fail, Ask::Fail, Ask::Fail, Ask::Fail, Ask::Fail] {
            assert!(ask(&mut service, request).is_some());
            service = service.clone();
        }
        assert_eq!(state(&circuit), State::Open);
        assert_eq!(rejection(ask(&mut service, Ask::Succeed)).reason(), RejectReason::Tripped);
        clock.advance(MINUTE);
        let mut other = service.clone();
        assert!(poll_ready(&mut other).is_ready());
        assert!(poll_ready(&mut service).is_ready());
        let probe = service.call(Ask::Succeed);
        assert_eq!(rejection(other.call(Ask::Succeed).now_or_never()).reason(), RejectReason::HalfOpen);
        assert!(probe.now_or_never().unwrap().is_ok());
        assert_eq!(state(&circuit), State::Closed);
        // The rejected one was made ready and not called: that readiness is good for a later call.
        assert!(other.call(Ask::Succeed).now_or_never().unwrap().is_ok());
    }
    assert_eq!(inner.calls.get(), 2 * 10, "eight calls, the probe and the late one, twice");
}

#[test]
fn a_clone_of_a_ready_service_is_not_ready() {
    let circuit = circuit(&MockClock::new());
    let (mut service, inner) = strict(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    rejection(service.clone().call(Ask::Succeed).now_or_never());
    assert!(service.call(Ask::Succeed).now_or_never().unwrap().is_ok(), "the original still is");
    assert_eq!(inner.calls.get(), 1);
}

#[test]
fn one_readiness_is_good_for_one_call() {
    let circuit = circuit(&MockClock::new());
    let (mut service, inner) = strict(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    assert!(service.call(Ask::Succeed).now_or_never().unwrap().is_ok());
    rejection(service.call(Ask::Succeed).now_or_never());
    assert_eq!(inner.calls.get(), 1);
    assert_eq!(state(&circuit), State::Closed, "a call that was never made is no evidence");
}

#[test]
fn readiness_outlives_a_trip_and_is_spent_by_the_next_admitted_call() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, inner) = strict(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    trip(&circuit);
    assert_eq!(rejection(service.call(Ask::Succeed).now_or_never()).reason(), RejectReason::Tripped);
    assert!(poll_ready(&mut service).is_ready());
    assert_eq!(inner.polls.get(), 1, "while it rejects it does not poll the inner service");
    clock.advance(MINUTE);
    assert!(service.call(Ask::Succeed).now_or_never().unwrap().is_ok(), "the probe");
    assert_eq!((inner.polls.get(), inner.calls.get()), (1, 1));
}

#[test]
fn a_call_readied_while_open_is_rejected_past_the_deadline_too() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, inner) = strict(&circuit);
    trip(&circuit);
    assert!(matches!(poll_ready(&mut service), Poll::Ready(Ok(()))));
    clock.advance(MINUTE);
    let rejected = rejection(service.call(Ask::Succeed).now_or_never());
    assert_eq!(rejected.reason(), RejectReason::Tripped);
    assert_eq!(state(&circuit), State::Open, "it takes no probe");
    assert_eq!(inner.polls.get(), 0);
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok(), "the next one is the probe");
}

#[test]
fn a_rejecting_service_is_ready_without_polling_the_inner_service() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, inner) = strict(&circuit);
    let mut rejects = |reason: RejectReason| {
        assert!(matches!(poll_ready(&mut service), Poll::Ready(Ok(()))), "{reason}");
        assert_eq!(rejection(service.call(Ask::Succeed).now_or_never()).reason(), reason);
        assert_eq!((inner.polls.get(), inner.calls.get()), (0, 0), "{reason}");
    };
    trip(&circuit);
    rejects(RejectReason::Tripped);
    clock.advance(MINUTE);
    let probe = take_probe(&circuit);
    rejects(RejectReason::HalfOpen);
    probe.success();
    circuit.trip(&operator(), None);
    rejects(RejectReason::Tripped);
}

#[test]
fn a_service_made_ready_and_never_called_takes_no_probe() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut first, _) = strict(&circuit);
    let mut second = first.clone();
    trip(&circuit);
    clock.advance(MINUTE);
    assert!(poll_ready(&mut first).is_ready());
    assert_eq!(state(&circuit), State::Open, "a look changes nothing");
    assert!(ask(&mut second, Ask::Succeed).unwrap().is_ok());
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn readiness_waits_for_the_inner_service_and_records_nothing() {
    let circuit = circuit(&MockClock::new());
    let (mut service, mut handle) = mock::spawn_layer::<(), (), _>(CircuitBreakerLayer::new(&circuit));
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.is_woken(), "the inner service wakes the task, the breaker is not in between");
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    assert_eq!(circuit.status().totals.failures, 0);
}

#[test]
fn a_readiness_error_is_recorded_once_while_the_circuit_is_closed() {
    let circuit = circuit(&MockClock::new());
    let (mut service, mut handle) = mock::spawn_layer::<(), (), _>(CircuitBreakerLayer::new(&circuit));
    handle.send_error("no connection");
    let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("it is the inner service's error") };
    assert_eq!(error.to_string(), "no connection");
    let status = circuit.status();
    assert_eq!((status.totals.failures, status.run), (1, 1.0));
    // Called all the same, it rejects: the inner service was not made ready.
    rejection(service.call(()).now_or_never());
    assert_eq!(circuit.status().totals.failures, 1);
}

#[test]
fn readiness_errors_trip() {
    let circuit = circuit(&MockClock::new());
    let (mut service, mut handle) = mock::spawn_layer::<(), (), _>(CircuitBreakerLayer::new(&circuit));
    for _ in 0..5 {
        handle.send_error("no connection");
        assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))));
    }
    assert_eq!(state(&circuit), State::Open);
    assert_eq!(last_edge(&circuit).1, Some(FailureKind::NotReady));
    handle.send_error("no connection");
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))), "open, it asks the inner service no more");
}

#[test]
fn a_readiness_error_past_the_deadline_is_a_failed_probe() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, mut handle) = mock::spawn_layer::<(), (), _>(CircuitBreakerLayer::new(&circuit));
    trip(&circuit);
    clock.advance(MINUTE);
    handle.send_error("no connection");
    assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))));
    assert_eq!(state(&circuit), State::Open, "reopened");
    assert!(matches!(last_edge(&circuit).0, Reason::ProbeFailed { failures: 1, .. }));
    assert_eq!(circuit.status().attempt, 2);
}

#[test]
fn a_readiness_error_while_half_open_is_a_failed_probe() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, mut handle) = mock::spawn_layer::<(), (), _>(CircuitBreakerLayer::new(&circuit));
    trip(&circuit);
    clock.advance(MINUTE);
    take_probe(&circuit).ignore();
    assert_eq!(state(&circuit), State::HalfOpen);
    handle.send_error("no connection");
    assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))));
    assert_eq!(state(&circuit), State::Open);
}

#[test]
fn a_readiness_error_is_judged_like_any_error() {
    let circuit = circuit(&MockClock::new());
    let (mut service, mut handle) = mock::spawn_layer::<(), (), _>(CircuitBreakerLayer::new(&circuit));
    let mut fails_with = |error: BoxError| {
        handle.send_error(error);
        assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))));
        let status = circuit.status();
        (status.totals.failures, status.run)
    };
    assert_eq!(fails_with(tower::timeout::error::Elapsed::new().into()), (1, 0.5), "half");
    assert_eq!(fails_with(tower::load_shed::error::Overloaded::new().into()), (1, 0.5), "nothing");
    assert_eq!(fails_with("no connection".into()), (2, 1.5), "whole");
}
