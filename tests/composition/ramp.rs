//! A ramp behind services, waiting callers and nested layers: a draw decides once for each call, and never for a caller that
//! waits.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, RejectReason, Rejected, State, WhenOpen};

use crate::parts::{Ask, MINUTE, Strict, settings, state, take_probe, trip};

const RAMP: Duration = Duration::from_secs(1_000);
const CALLS: usize = 1_000;

/// A circuit that has just closed, and admits a tenth of the calls for the next hundred seconds.
fn ramping() -> Circuit {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).ramp(RAMP).seed(1).build().unwrap());
    trip(&circuit);
    clock.advance(MINUTE);
    take_probe(&circuit).success();
    assert_eq!((state(&circuit), circuit.status().ramp_left), (State::Closed, Some(RAMP)));
    circuit
}

#[tokio::test]
async fn a_ramp_rejects_calls_of_a_service_that_is_ready() {
    let circuit = ramping();
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Strict::default());
    let mut admitted = 0;
    for _ in 0..CALLS {
        match service.ready().await.expect("it is ready").call(Ask::Succeed).await {
            Ok(_) => admitted += 1,
            Err(error) => {
                let rejected = Rejected::find(error.as_ref()).expect("it is rejected");
                let facts = (rejected.reason(), rejected.retry_after());
                assert_eq!(facts, (RejectReason::Ramp, Some(Duration::from_secs(1))));
            }
        }
    }
    assert!((70..130).contains(&admitted), "a tenth: {admitted}");
    assert_eq!(service.get_ref().calls.get(), admitted);
}

#[tokio::test]
async fn a_ramp_rejects_no_call_of_a_service_that_pends() {
    let circuit = ramping();
    let layer = CircuitBreakerLayer::new(&circuit).when_open(WhenOpen::Pend);
    let mut service = layer.layer(Strict::default());
    for _ in 0..CALLS {
        service.ready().await.expect("it is ready").call(Ask::Succeed).await.expect("it is admitted");
    }
    for _ in 0..2 {
        assert_eq!(state(&circuit), State::Closed);
        service.ready().await.expect("it is ready").call(Ask::Fail).await.expect_err("it fails");
    }
    assert_eq!(state(&circuit), State::Open, "the lowered thresholds apply");
}

#[tokio::test(start_paused = true)]
async fn a_ramp_rejects_no_caller_that_waits() {
    let circuit = ramping();
    let rejected = circuit.totals().rejected;
    for _ in 0..CALLS {
        circuit.acquire().await.success();
        circuit.acquire_within(RAMP).await.expect("it is admitted").success();
        circuit.acquire_blocking(RAMP).expect("it is admitted").success();
    }
    assert_eq!(circuit.totals().rejected, rejected);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waited_for_the_closing_is_admitted_in_the_ramp() {
    let clock = TokioClock::new();
    let circuit = Circuit::new(settings(&clock).ramp(RAMP).seed(1).build().unwrap());
    trip(&circuit);
    tokio::time::advance(MINUTE).await;
    let probe = take_probe(&circuit);
    let mut waiting = pin!(circuit.acquire());
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    probe.success();
    assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Ready(_)));
}

#[tokio::test]
async fn a_call_inside_an_admitted_call_is_not_drawn_again() {
    let circuit = ramping();
    let layer = CircuitBreakerLayer::new(&circuit);
    let mut service = layer.clone().layer(layer.layer(Strict::default()));
    let mut admitted = 0;
    for _ in 0..CALLS {
        admitted += usize::from(service.ready().await.expect("it is ready").call(Ask::Succeed).await.is_ok());
    }
    assert!((70..130).contains(&admitted), "a tenth, and not a hundredth: {admitted}");
    assert_eq!(circuit.totals().rejected, (CALLS - admitted) as u64, "the outer layer rejects");
}
