//! Callers who wait in vain for an inner service that is not ready, in virtual time.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
#[cfg(feature = "http")]
use http::Request;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tower::buffer::Buffer;
use tower::{BoxError, Layer, Service, ServiceExt};
#[cfg(feature = "http")]
use tower_circuit_breaker::classify::HttpClassifier;
use tower_circuit_breaker::clock::{Clock, MockClock, Tick, TokioClock};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Rejected, State, WhenOpen};

use crate::parts::{Count, MINUTE, circuit, last_edge, settings, state, trip};

const SECOND: Duration = Duration::from_secs(1);
const BOTH: [WhenOpen; 2] = [WhenOpen::Reject, WhenOpen::Pend];

/// A service that becomes ready after so long, by virtual time, or never.
struct Pool(Option<Duration>, Option<std::pin::Pin<Box<tokio::time::Sleep>>>);

impl Pool {
    fn exhausted() -> Self {
        Self(None, None)
    }

    fn ready_after(wait: Duration) -> Self {
        Self(Some(wait), None)
    }
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        Self(self.0, None)
    }
}

impl<Req> Service<Req> for Pool {
    type Response = http::Response<String>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(wait) = self.0 else { return Poll::Pending };
        self.1.get_or_insert_with(|| Box::pin(sleep(wait))).poll_unpin(context).map(Ok)
    }

    fn call(&mut self, _: Req) -> Self::Future {
        self.1 = None;
        std::future::ready(Ok(http::Response::default()))
    }
}

/// Returns the run of failures, the failures, and all other counts.
fn counted(circuit: &Circuit) -> (f64, u64, u64) {
    let status = circuit.status();
    let totals = status.totals;
    (status.run, totals.failures, totals.successes + totals.cancelled + totals.ignored + totals.rejected)
}

const NOTHING: (f64, u64, u64) = (0.0, 0, 0);

#[tokio::test(start_paused = true)]
async fn callers_of_a_service_that_is_never_ready_open_the_circuit() {
    for when_open in BOTH {
        let circuit = circuit(&TokioClock::new());
        let service = CircuitBreakerLayer::new(&circuit).when_open(when_open).layer(Pool::exhausted());
        for waits in 0..10 {
            assert_eq!(state(&circuit), State::Closed, "{when_open:?}, after {waits} waits in vain");
            timeout(2 * SECOND, service.clone().oneshot(())).await.unwrap_err();
        }
        let (reason, kind) = last_edge(&circuit);
        assert!(matches!(reason, Reason::ConsecutiveFailures { .. }), "ten times 0.5: {reason}");
        assert_eq!(kind, Some(FailureKind::NotReady));
        if when_open == WhenOpen::Reject {
            let error = timeout(2 * SECOND, service.clone().oneshot(())).await.unwrap().unwrap_err();
            assert!(Rejected::find(error.as_ref()).is_some(), "now it fails fast: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_early_counts_nothing() {
    let circuit = circuit(&TokioClock::new());
    let service = CircuitBreakerLayer::new(&circuit).layer(Pool::exhausted());
    for _ in 0..20 {
        timeout(SECOND - Duration::from_millis(1), service.clone().oneshot(())).await.unwrap_err();
    }
    assert_eq!(counted(&circuit), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_is_dropped_without_a_last_poll_counts_once() {
    let circuit = circuit(&TokioClock::new());
    let service = CircuitBreakerLayer::new(&circuit).layer(Pool::exhausted());
    let mut tasks = JoinSet::new();
    tasks.spawn(service.oneshot(()));
    sleep(2 * SECOND).await;
    tasks.shutdown().await;
    assert_eq!(counted(&circuit), (0.5, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn each_caller_of_a_service_that_lives_on_counts_once() {
    let circuit = circuit(&TokioClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Pool::exhausted());
    for waits in 1..=9 {
        assert!(timeout(2 * SECOND, ServiceExt::<()>::ready(&mut service)).await.is_err());
        assert_eq!(circuit.totals().failures, waits);
    }
    drop(service);
    assert_eq!(circuit.totals().failures, 9, "the drop is no further wait");
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_full_buffer_count_as_well() {
    let circuit = circuit(&TokioClock::new());
    let service = CircuitBreakerLayer::new(&circuit).layer(Buffer::new(Pool::exhausted(), 1));
    let mut calls = 0;
    while state(&circuit) == State::Closed && calls < 100 {
        timeout(2 * SECOND, service.clone().oneshot(())).await.unwrap_err();
        calls += 1;
    }
    assert_eq!(calls, 10, "the first ones wait in their calls, the others for room");
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn callers_of_a_service_with_tracked_bodies_count_as_well() {
    let circuit = circuit(&TokioClock::new());
    let service = CircuitBreakerLayer::new(&circuit).tracked_bodies().layer(Pool::exhausted());
    timeout(2 * SECOND, service.oneshot(Request::new(()))).await.unwrap_err();
    assert_eq!(counted(&circuit), (0.5, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_patient_caller_counts_by_the_result_of_the_call() {
    let circuit = circuit(&TokioClock::new());
    let service = CircuitBreakerLayer::new(&circuit).layer(Pool::ready_after(5 * SECOND));
    for _ in 0..10 {
        service.clone().oneshot(()).await.unwrap();
    }
    let mut lives_on = service;
    for _ in 0..10 {
        ServiceExt::<()>::ready(&mut lives_on).await.unwrap().call(()).await.unwrap();
    }
    assert_eq!(counted(&circuit), (0.0, 0, 20));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_polls_often_while_it_waits_counts_only_when_it_gives_up() {
    let circuit = circuit(&TokioClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Pool::exhausted());
    let mut ticks = interval(SECOND / 10);
    let mut ready = std::pin::pin!(ServiceExt::<()>::ready(&mut service));
    for _ in 0..50 {
        tokio::select! { biased; _ = &mut ready => panic!("it is never ready"), _ = ticks.tick() => {} }
    }
    assert_eq!(counted(&circuit), NOTHING, "it still waits");
    drop(service);
    assert_eq!(counted(&circuit), (0.5, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_fails_the_probe_that_is_due() {
    let circuit = circuit(&TokioClock::new());
    let service = CircuitBreakerLayer::new(&circuit).layer(Pool::exhausted());
    trip(&circuit);
    tokio::time::advance(MINUTE).await;
    timeout(2 * SECOND, service.clone().oneshot(())).await.unwrap_err();
    let (reason, kind) = last_edge(&circuit);
    assert!(matches!(reason, Reason::ProbeFailed { .. }), "{reason}");
    assert_eq!((state(&circuit), kind), (State::Open, Some(FailureKind::NotReady)));
    assert_eq!(circuit.status().probes.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_says_nothing_where_cancellation_never_counts() {
    let by_config = Circuit::new(settings(&TokioClock::new()).cancelled_never_counts().build().unwrap());
    let service = CircuitBreakerLayer::new(&by_config).layer(Pool::exhausted());
    timeout(MINUTE, service.oneshot(())).await.unwrap_err();
    assert_eq!(counted(&by_config), NOTHING);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_for_handlers_says_nothing() {
    let of_handlers = circuit(&TokioClock::new());
    let layer = CircuitBreakerLayer::new(&of_handlers).classifier(HttpClassifier::for_handlers());
    timeout(MINUTE, layer.layer(Pool::exhausted()).oneshot(())).await.unwrap_err();
    assert_eq!(counted(&of_handlers), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_circuit_is_no_wait_for_the_service() {
    for when_open in BOTH {
        let circuit = circuit(&TokioClock::new());
        let mut service = CircuitBreakerLayer::new(&circuit).when_open(when_open).layer(Pool::exhausted());
        let not_ready = timeout(SECOND / 10, ServiceExt::<()>::ready(&mut service)).await;
        assert!(not_ready.is_err(), "the service is not ready");
        trip(&circuit);
        let failures = circuit.totals().failures;
        // A minute later the circuit lets a probe through, whose service is still not ready.
        drop(timeout(SECOND / 10, ServiceExt::<()>::ready(&mut service)).await);
        tokio::time::advance(MINUTE).await;
        drop(timeout(SECOND / 10, ServiceExt::<()>::ready(&mut service)).await);
        assert_eq!((state(&circuit), circuit.totals().failures), (State::Open, failures), "{when_open:?}");
        drop(service);
        assert_eq!(circuit.totals().failures, failures, "{when_open:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_taken_out_while_it_is_not_ready_counts_the_wait() {
    let circuit = circuit(&TokioClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Pool::exhausted());
    assert!(ServiceExt::<()>::ready(&mut service).now_or_never().is_none());
    sleep(2 * SECOND).await;
    drop(service.into_inner());
    assert_eq!(counted(&circuit), (0.5, 1, 0));
}

/// A mock clock that counts its readings.
#[derive(Debug, Clone)]
struct Counting(MockClock, Count);

impl Clock for Counting {
    fn now(&self) -> Tick {
        self.1.add();
        self.0.now()
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_ready_at_once_reads_no_clock() {
    let clock = Counting(MockClock::new(), Count::default());
    let config = Config::builder("pool").clock(clock.clone()).without_failure_rate().without_shipped_observers();
    let circuit = Circuit::new(config.build().unwrap());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Pool::ready_after(Duration::ZERO));
    ServiceExt::<()>::ready(&mut service).await.unwrap();
    let before = clock.1.get();
    for _ in 0..10 {
        let ready: Result<_, BoxError> = ServiceExt::<()>::ready(&mut service).await;
        assert!(ready.is_ok());
    }
    drop(service);
    assert_eq!(clock.1.get(), before);
}
