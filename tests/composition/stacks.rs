//! Beside tower's middleware: outside it, inside it, and around services of every kind.

use std::future::{Ready, ready};

use futures_util::FutureExt;
use tower::buffer::BufferLayer;
use tower::filter::FilterLayer;
use tower::hedge::Hedge;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::load_shed::error::Overloaded;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::util::{MapErrLayer, option_layer};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::{CircuitBreakerLayer, Rejected, State, WhenOpen};

use crate::parts::{Ask, Count, MINUTE, Strict, ask, circuit, obey, poll_ready, rejection, state, trip, until_open};

/// Tries a call up to `left` times more; a rejection it takes for an answer, if it knows them.
#[derive(Debug, Clone)]
struct Attempts {
    left: usize,
    knows_rejections: bool,
}

impl<Res> Policy<Ask, Res, BoxError> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Ask, result: &mut Result<Res, BoxError>) -> Option<Ready<()>> {
        let error = result.as_ref().err()?;
        if self.knows_rejections && Rejected::find(error.as_ref()).is_some() {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, ask: &Ask) -> Option<Ask> {
        Some(*ask)
    }
}

#[test]
fn a_retry_outside_that_knows_rejections_stops_at_the_first() {
    for (knows_rejections, rejected) in [(true, 1), (false, 95)] {
        let circuit = circuit(&MockClock::new());
        let inner = Strict::default();
        let mut service = ServiceBuilder::new()
            .layer(RetryLayer::new(Attempts { left: 99, knows_rejections }))
            .layer(CircuitBreakerLayer::new(&circuit))
            .service(inner.clone());
        rejection(ask(&mut service, Ask::Fail));
        assert_eq!(inner.calls.get(), 5, "each attempt is seen: five open it");
        assert_eq!(circuit.status().totals.rejected, rejected, "knows rejections: {knows_rejections}");
    }
}

#[test]
fn a_retry_inside_hides_all_but_the_last_attempt() {
    let circuit = circuit(&MockClock::new());
    let inner = Strict::default();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit))
        .layer(RetryLayer::new(Attempts { left: 9, knows_rejections: true }))
        .layer(MapErrLayer::new(BoxError::from))
        .service(inner.clone());
    for _ in until_open(&circuit) {
        assert!(ask(&mut service, Ask::Fail).unwrap().is_err());
    }
    assert_eq!(inner.calls.get(), 5 * 10, "five failures of ten attempts each");
}

#[tokio::test(start_paused = true)]
async fn a_buffer_outside_lives_on_through_an_outage() {
    let clock = TokioClock::new();
    let circuit = circuit(&clock);
    let mut service = ServiceBuilder::new()
        .layer(BufferLayer::new(8))
        .layer(CircuitBreakerLayer::new(&circuit))
        .service(Strict::default());
    for _ in 0..5 {
        assert!(service.ready().await.unwrap().call(Ask::Fail).await.is_err());
    }
    for _ in 0..3 {
        let error = service.ready().await.unwrap().call(Ask::Succeed).await.unwrap_err();
        assert!(Rejected::find(error.as_ref()).is_some());
    }
    tokio::time::advance(MINUTE).await;
    assert_eq!(service.ready().await.unwrap().call(Ask::Succeed).await.unwrap(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_buffer_inside_is_judged_by_the_error_inside_its_box() {
    let circuit = circuit(&TokioClock::new());
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit))
        .layer(BufferLayer::new(8))
        .service(service_fn(obey));
    assert!(service.ready().await.unwrap().call(Ask::TimeOut).await.is_err());
    let status = circuit.status();
    assert_eq!((status.totals.failures, status.run), (1, 0.5), "the timeout in the box");
}

#[test]
fn a_load_shed_outside_passes_rejections_on() {
    let circuit = circuit(&MockClock::new());
    let mut service = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(CircuitBreakerLayer::new(&circuit))
        .service(Strict::default());
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok());
    trip(&circuit);
    rejection(ask(&mut service, Ask::Succeed));
}

#[tokio::test(start_paused = true)]
async fn a_load_shed_outside_makes_a_pending_breaker_fail_fast() {
    let circuit = circuit(&TokioClock::new());
    let mut service = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(CircuitBreakerLayer::new(&circuit).when_open(WhenOpen::Pend))
        .service(Strict::default());
    trip(&circuit);
    assert!(ask(&mut service, Ask::Succeed).unwrap().unwrap_err().is::<Overloaded>());
    tokio::time::advance(MINUTE).await;
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok());
}

#[test]
fn a_concurrency_limit_outside_frees_its_room_after_a_rejection() {
    let circuit = circuit(&MockClock::new());
    let mut service = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(CircuitBreakerLayer::new(&circuit))
        .service(Strict::default());
    trip(&circuit);
    for _ in 0..3 {
        rejection(ask(&mut service, Ask::Succeed));
    }
}

#[test]
fn a_concurrency_limit_inside_is_held_by_a_rejected_ready_service() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut kept = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Strict::default());
    let mut other = kept.clone();
    assert!(poll_ready(&mut kept).is_ready());
    trip(&circuit);
    rejection(kept.call(Ask::Succeed).now_or_never());
    clock.advance(MINUTE);
    // The hazard that the troubleshooting page tells of: the limit belongs outside.
    assert!(poll_ready(&mut other).is_pending());
    drop(kept);
    assert!(ask(&mut other, Ask::Succeed).unwrap().is_ok());
}

#[test]
fn requests_refused_by_a_filter_outside_never_reach_the_breaker() {
    let circuit = circuit(&MockClock::new());
    let refuse = |request: Ask| if request == Ask::Fail { Err("refused") } else { Ok(request) };
    let mut service = ServiceBuilder::new()
        .layer(FilterLayer::new(refuse))
        .layer(CircuitBreakerLayer::new(&circuit))
        .service(service_fn(obey));
    for _ in 0..10 {
        assert_eq!(ask(&mut service, Ask::Fail).unwrap().unwrap_err().to_string(), "refused");
    }
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok());
    let totals = circuit.status().totals;
    assert_eq!((totals.failures, totals.successes), (0, 1));
    assert_eq!(totals.cancelled, 0);
}

/// Hedges every request.
#[derive(Clone)]
struct Always;

impl tower::hedge::Policy<Ask> for Always {
    fn clone_request(&self, ask: &Ask) -> Option<Ask> {
        Some(*ask)
    }

    fn can_retry(&self, _: &Ask) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_inside_is_one_call_by_the_answer_that_came_first() {
    let circuit = circuit(&TokioClock::new());
    let asked = Count::default();
    let counted = asked.clone();
    let client = service_fn(move |request| {
        counted.add();
        // The first request of each call hangs.
        obey(if counted.get() % 2 == 1 { Ask::Hang } else { request })
    });
    let known = [10_u64; 20]; // ms, of which hedging takes the 90th percentile
    let hedge = Hedge::new_with_mock_latencies(client, Always, 10, 0.9, 60 * MINUTE, &known);
    let mut service = CircuitBreakerLayer::new(&circuit).layer(hedge);
    service.ready().await.unwrap().call(Ask::Succeed).await.unwrap();
    service.ready().await.unwrap().call(Ask::Fail).await.unwrap_err();
    let totals = circuit.status().totals;
    assert_eq!((asked.get(), totals.successes, totals.failures, totals.cancelled), (4, 1, 1, 0));
    trip(&circuit);
    tokio::time::advance(MINUTE).await;
    service.ready().await.unwrap().call(Ask::Succeed).await.unwrap();
    assert_eq!((asked.get(), circuit.status().totals.rejected), (6, 0), "a probe may have two requests");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_outside_leaves_no_mark_with_the_call_that_lost() {
    let circuit = circuit(&TokioClock::new());
    let asked = Count::default();
    let counted = asked.clone();
    let guarded = CircuitBreakerLayer::new(&circuit).layer(service_fn(move |request| {
        counted.add();
        // The first time it hangs, whatever it was asked.
        obey(if counted.get() == 1 { Ask::Hang } else { request })
    }));
    let known = [10_u64; 20]; // ms, of which hedging takes the 90th percentile
    let mut service = Hedge::new_with_mock_latencies(guarded, Always, 10, 0.9, MINUTE, &known);
    assert_eq!(service.ready().await.unwrap().call(Ask::Succeed).await.unwrap(), "done");
    let totals = circuit.status().totals;
    assert_eq!((asked.get(), totals.successes, totals.cancelled, totals.failures), (2, 1, 1, 0));

    trip(&circuit);
    let error = service.ready().await.unwrap().call(Ask::Succeed).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some(), "{error}");
    assert_eq!((asked.get(), circuit.status().totals.rejected), (2, 1), "a rejection is faster than any hedge");
}

#[tokio::test(start_paused = true)]
async fn typed_errors_fit_below_boxing_layers_if_the_error_implements_error() {
    let circuit = circuit(&TokioClock::new());
    trip(&circuit);
    let layer = || CircuitBreakerLayer::new(&circuit).typed_errors();
    let stacks = [
        (TimeoutLayer::new(MINUTE), layer()).layer(service_fn(obey)).boxed(),
        (BufferLayer::new(8), layer()).layer(service_fn(obey)).boxed(),
        (LoadShedLayer::new(), layer()).layer(service_fn(obey)).boxed(),
        (FilterLayer::new(Ok::<Ask, BoxError>), layer()).layer(service_fn(obey)).boxed(),
    ];
    for mut service in stacks {
        let error = service.ready().await.unwrap().call(Ask::Succeed).await.unwrap_err();
        assert!(Rejected::find(error.as_ref()).is_some(), "{error}");
    }
}

#[test]
fn an_optional_layer_takes_one_that_answers_with_a_response() {
    let circuit = circuit(&MockClock::new());
    trip(&circuit);
    let layer = || CircuitBreakerLayer::new(&circuit).respond_with(|_| "come back later");
    for (layer, answer) in [(Some(layer()), "come back later"), (None, "done")] {
        let mut service = ServiceBuilder::new().option_layer(layer).service(service_fn(obey));
        assert_eq!(ask(&mut service, Ask::Succeed).unwrap().unwrap(), answer);
    }
}

#[test]
fn an_optional_layer_takes_boxed_errors_where_the_errors_below_are_boxed() {
    let circuit = circuit(&MockClock::new());
    trip(&circuit);
    let stack = (option_layer(Some(CircuitBreakerLayer::new(&circuit))), MapErrLayer::new(BoxError::from));
    rejection(ask(&mut stack.layer(service_fn(obey)), Ask::Succeed));
}

#[tokio::test(start_paused = true)]
async fn the_recommended_order_compiles_and_recovers() {
    let circuit = circuit(&TokioClock::new());
    let seen = Count::default();
    let counted = seen.clone();
    let mut service = ServiceBuilder::new()
        .timeout(10 * MINUTE)
        .buffer(8)
        .load_shed()
        .concurrency_limit(4)
        .layer(RateLimitLayer::new(1_000, MINUTE))
        .retry(Attempts { left: 2, knows_rejections: true })
        .layer(CircuitBreakerLayer::new(&circuit))
        .timeout(MINUTE / 30)
        .service(service_fn(move |request| {
            counted.add();
            obey(request)
        }));
    for _ in until_open(&circuit) {
        assert!(service.ready().await.unwrap().call(Ask::Hang).await.is_err());
    }
    assert_eq!(seen.get(), 10, "ten attempts of 0.5");
    tokio::time::advance(MINUTE).await;
    assert!(service.ready().await.unwrap().call(Ask::Succeed).await.is_ok());
    assert_eq!(state(&circuit), State::Closed);
}
