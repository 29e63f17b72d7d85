//! Calls that are dropped before they end: by a timeout outside, by a caller who went away, by a select.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreaker, CircuitBreakerLayer, Rejected, State};

use crate::parts::{
    Ask, MINUTE, Strict, ask, circuit, last_edge, obey, poll, poll_ready, settings, state, take_probe, trip,
};

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_the_breaker_does_not_hide_a_hang() {
    let circuit = circuit(&TokioClock::new());
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(2 * SECOND))
        .layer(CircuitBreakerLayer::new(&circuit))
        .service(service_fn(obey));
    for _ in 0..10 {
        assert_eq!(state(&circuit), State::Closed);
        let error = service.ready().await.unwrap().call(Ask::Hang).await.unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>());
    }
    let (reason, kind) = last_edge(&circuit);
    assert!(matches!(reason, Reason::ConsecutiveFailures { .. }), "ten times 0.5: {reason}");
    assert_eq!(kind, Some(FailureKind::Cancelled));
    let error = service.ready().await.unwrap().call(Ask::Hang).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some(), "now it fails fast: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_fails_the_probe_that_hangs() {
    let circuit = circuit(&TokioClock::new());
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(2 * SECOND))
        .layer(CircuitBreakerLayer::new(&circuit))
        .service(service_fn(obey));
    trip(&circuit);
    tokio::time::advance(MINUTE).await;
    let error = service.ready().await.unwrap().call(Ask::Hang).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert!(matches!(last_edge(&circuit), (Reason::ProbeFailed { .. }, Some(FailureKind::Cancelled))));
}

#[test]
fn a_call_dropped_early_is_neutral() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let call = hanging(&mut service(&circuit));
    clock.advance(SECOND - TICK);
    drop(call);
    let status = circuit.status();
    assert_eq!((status.totals.cancelled, status.totals.failures, status.totals.successes), (1, 0, 0));
}

#[test]
fn a_call_dropped_late_weighs_as_much_as_a_timeout() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let call = hanging(&mut service(&circuit));
    clock.advance(SECOND);
    drop(call);
    let status = circuit.status();
    assert_eq!((status.run, status.totals.failures, status.totals.cancelled), (0.5, 1, 0));
}

#[test]
fn the_wait_of_a_call_counts_from_its_first_pending_poll() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = service(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    let mut call = service.call(Ask::Hang);
    clock.advance(MINUTE);
    assert!(poll(&mut call).is_pending());
    clock.advance(SECOND - TICK);
    drop(call);
    assert_eq!(circuit.status().totals.cancelled, 1, "for a minute nobody had asked the service anything");
}

#[test]
fn a_call_dropped_before_its_first_poll_is_neutral_however_late() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = service(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    let call = service.call(Ask::Hang);
    clock.advance(MINUTE);
    drop(call);
    assert_eq!(circuit.status().totals.cancelled, 1);
}

#[test]
fn a_late_drop_is_neutral_where_cancellation_never_counts() {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).cancelled_never_counts().build().unwrap());
    let call = hanging(&mut service(&circuit));
    clock.advance(MINUTE);
    drop(call);
    assert_eq!(circuit.status().totals.cancelled, 1);
}

#[test]
fn an_ended_call_is_not_counted_again_by_its_drop() {
    let circuit = circuit(&MockClock::new());
    let mut service = service(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    let mut call = service.call(Ask::Succeed);
    assert!(poll(&mut call).is_ready());
    drop(call);
    let totals = circuit.status().totals;
    assert_eq!((totals.successes, totals.cancelled), (1, 0));
}

#[test]
fn the_inner_future_is_dropped_before_the_cancelled_call_is_recorded() {
    /// Tells, when it is dropped, how many calls are over.
    struct Watching(Circuit, mpsc::Sender<u64>);

    impl Future for Watching {
        type Output = Result<(), BoxError>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Pending
        }
    }

    impl Drop for Watching {
        fn drop(&mut self) {
            self.1.send(self.0.status().totals.cancelled).unwrap();
        }
    }

    let circuit = circuit(&MockClock::new());
    let (tell, told) = mpsc::channel();
    let watching = || Watching(circuit.clone(), tell.clone());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(|_: Ask| watching()));
    assert!(ask(&mut service, Ask::Hang).is_none());
    assert_eq!(told.try_recv(), Ok(0));
    assert_eq!(circuit.status().totals.cancelled, 1);
    assert!(circuit.call(watching()).now_or_never().is_none());
    assert_eq!(told.try_recv(), Ok(1));
}

#[test]
fn a_probe_dropped_early_frees_its_slot_for_the_next() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = service(&circuit);
    trip(&circuit);
    clock.advance(MINUTE);
    for _ in 0..10 {
        drop(hanging(&mut service));
        assert_eq!(state(&circuit), State::HalfOpen);
        assert_eq!(circuit.status().probes.in_flight, 0);
    }
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok());
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_probe_dropped_late_reopens() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    trip(&circuit);
    clock.advance(MINUTE);
    let probe = hanging(&mut service(&circuit));
    clock.advance(SECOND);
    drop(probe);
    assert!(matches!(last_edge(&circuit), (Reason::ProbeFailed { .. }, Some(FailureKind::Cancelled))));
}

#[test]
fn repeatedly_dropped_probes_do_not_keep_the_circuit_half_open() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = service(&circuit);
    trip(&circuit);
    clock.advance(MINUTE);
    for _ in 0..60 {
        let probe = hanging(&mut service);
        clock.advance(SECOND / 2);
        drop(probe);
    }
    assert_eq!(state(&circuit), State::Closed);
    let (reason, _) = last_edge(&circuit);
    assert!(matches!(reason, Reason::NoVerdict { .. }), "after the probe deadline of 30 s: {reason}");
}

#[test]
fn a_probe_that_never_ends_loses_its_slot_to_the_probe_deadline() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = service(&circuit);
    trip(&circuit);
    clock.advance(MINUTE);
    let mut probe = hanging(&mut service);
    clock.advance(30 * SECOND - TICK);
    assert!(poll_ready(&mut service).is_ready());
    assert!(poll(&mut service.call(Ask::Succeed)).is_ready(), "rejected");
    assert_eq!(state(&circuit), State::HalfOpen);
    clock.advance(TICK);
    assert!(matches!(ask(&mut service, Ask::Succeed), Some(Ok(_))), "the slot is free");
    // The circuit is still half-open, or closed by the success of the other call.
    assert!(poll(&mut probe).is_pending());
    drop(probe);
    assert_eq!(circuit.status().attempt, 1, "it did not reopen");
}

#[test]
fn a_probe_that_was_forgotten_loses_its_slot_to_the_probe_deadline() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    trip(&circuit);
    clock.advance(MINUTE);
    std::mem::forget(take_probe(&circuit));
    assert!(circuit.try_acquire().is_err());
    clock.advance(30 * SECOND);
    take_probe(&circuit).success();
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_late_success_of_an_overdue_probe_counts() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    trip(&circuit);
    clock.advance(MINUTE);
    let probe = take_probe(&circuit);
    clock.advance(30 * SECOND);
    let next = take_probe(&circuit);
    probe.success();
    assert_eq!(state(&circuit), State::Closed);
    next.success();
    assert_eq!(circuit.totals().stale, 1, "the other probe outlived the era");
}

fn service(circuit: &Circuit) -> CircuitBreaker<Strict> {
    CircuitBreakerLayer::new(circuit).layer(Strict::default())
}

/// Makes a call that is under way: polled, and waiting.
fn hanging(
    service: &mut CircuitBreaker<Strict>,
) -> impl Future<Output = Result<&'static str, BoxError>> + Unpin + use<> {
    assert!(poll_ready(service).is_ready());
    let mut call = service.call(Ask::Hang);
    assert!(poll(&mut call).is_pending());
    call
}

const SECOND: Duration = Duration::from_secs(1);
/// The least that a probe's age is kept in.
const TICK: Duration = Duration::from_millis(1);
