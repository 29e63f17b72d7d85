//! What counts as what by default: timeouts weigh half wherever they sit, refusals on this side weigh nothing.

use std::future::pending;
use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::load_shed::error::Overloaded;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::classify::outcome_of;
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Error, Failure, Outcome, Rejected};

use crate::parts::{Ask, Wrapped, ask, circuit, last_edge, obey, poll_ready, rejection, trip};

const IGNORED: Outcome = Outcome::Ignored;
const TIMEOUT: Outcome = Outcome::timeout();
const HARD: Outcome = Outcome::failure();

#[tokio::test(start_paused = true)]
async fn towers_timeout_inside_the_breaker_weighs_half() {
    let circuit = circuit(&TokioClock::new());
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit))
        .layer(TimeoutLayer::new(Duration::from_secs(2)))
        .service(service_fn(obey));
    for failures in 1..=10 {
        let error = service.ready().await.unwrap().call(Ask::Hang).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "the service's own error comes through unchanged");
        assert_eq!(circuit.status().totals.failures, failures);
    }
    let (reason, kind) = last_edge(&circuit);
    assert_eq!(reason.to_string(), "failures in a row weighed 5.0, the limit is 5.0");
    assert_eq!(kind, Some(FailureKind::Timeout));
    let error = service.ready().await.unwrap().call(Ask::Hang).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_boxed_error_is_judged_by_any_wrapped_error() {
    let rejected = || some_rejection();
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let cases: Vec<(BoxError, Outcome)> = vec![
        (timed_out().into(), TIMEOUT),
        (Elapsed::new().into(), TIMEOUT),
        (tokio_elapsed().await.into(), TIMEOUT),
        (io::Error::other(Elapsed::new()).into(), TIMEOUT),
        (io::Error::other(tokio_elapsed().await).into(), TIMEOUT),
        (io::Error::from(tokio_elapsed().await).into(), TIMEOUT),
        (Wrapped(timed_out().into()).into(), TIMEOUT),
        (Wrapped(Wrapped(io::Error::other(Wrapped(Elapsed::new().into())).into()).into()).into(), TIMEOUT),
        (Error::Inner(timed_out()).into(), TIMEOUT),
        (rejected().into(), IGNORED),
        (Wrapped(rejected().into()).into(), IGNORED),
        (io::Error::other(rejected()).into(), IGNORED),
        (Error::<io::Error>::Rejected(rejected()).into(), IGNORED),
        (Error::<Wrapped>::Rejected(rejected()).into(), IGNORED),
        (Overloaded::new().into(), IGNORED),
        (Wrapped(Overloaded::new().into()).into(), IGNORED),
        (io::Error::other("no timeout").into(), HARD),
        (io::Error::from(io::ErrorKind::ConnectionRefused).into(), HARD),
        (Wrapped(io::Error::other("no timeout").into()).into(), HARD),
        ("timed out, says a text".into(), HARD),
    ];
    for (error, expected) in cases {
        let shown = format!("{error:?}");
        assert_eq!(judged(error), expected, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn typed_errors_of_std_tower_and_tokio_are_judged_without_a_box() {
    assert_eq!(judged(io::Error::from(io::ErrorKind::TimedOut)), TIMEOUT);
    assert_eq!(judged(io::Error::other(Elapsed::new())), TIMEOUT);
    assert_eq!(judged(io::Error::from(io::ErrorKind::ConnectionReset)), HARD);
    assert_eq!(judged(Elapsed::new()), TIMEOUT);
    assert_eq!(judged(tokio_elapsed().await), TIMEOUT);
    assert_eq!(judged(Overloaded::new()), IGNORED);
    assert_eq!(judged(some_rejection()), IGNORED);
    assert_eq!(judged(Error::Inner(io::Error::from(io::ErrorKind::TimedOut))), TIMEOUT);
    assert_eq!(judged(Error::<io::Error>::Rejected(some_rejection())), IGNORED);
    assert_eq!(judged(Error::<BoxError>::Inner(Elapsed::new().into())), TIMEOUT);
    assert_eq!(judged(Error::<BoxError>::Rejected(some_rejection())), IGNORED);
    assert_eq!(judged(Error::<std::convert::Infallible>::Rejected(some_rejection())), IGNORED);
}

#[test]
fn an_unknown_error_type_is_a_hard_failure_without_a_classifier() {
    let timed_out = || Wrapped(io::Error::from(io::ErrorKind::TimedOut).into());
    assert_eq!(judged(timed_out()), HARD);
    assert_eq!(judged(()), HARD);
    assert_eq!(judged("a text"), HARD);

    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit).classify_error(|error: &Wrapped| outcome_of(error));
    let mut service = layer.layer(service_fn(move |_: Ask| async move { Err::<(), _>(timed_out()) }));
    assert!(ask(&mut service, Ask::TimeOut).unwrap().is_err());
    assert_eq!(ended(&circuit), TIMEOUT);
}

#[test]
fn rejections_of_the_inner_breaker_are_ignored_by_the_outer_breaker() {
    let clock = MockClock::new();
    let (outside, inside) = (circuit(&clock), circuit(&clock));
    trip(&inside);
    let boxed = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&outside))
        .layer(CircuitBreakerLayer::new(&inside))
        .service(service_fn(obey));
    let typed = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&outside))
        .layer(CircuitBreakerLayer::new(&inside).typed_errors())
        .service(service_fn(obey));
    for mut service in [boxed.boxed(), typed.boxed()] {
        assert_eq!(rejection(ask(&mut service, Ask::Succeed)).circuit(), "payments");
    }
    let totals = outside.status().totals;
    assert_eq!((totals.ignored, totals.failures, totals.successes), (2, 0, 0));
}

#[test]
fn refusals_of_a_load_shed_inside_are_ignored_by_the_breaker() {
    let circuit = circuit(&MockClock::new());
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit))
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(obey));
    let mut other = service.clone();
    assert!(poll_ready(&mut other).is_ready());
    let error = ask(&mut service, Ask::Succeed).unwrap().unwrap_err();
    assert!(error.is::<Overloaded>());
    assert_eq!(ended(&circuit), IGNORED);
}

#[test]
fn a_closure_over_responses_leaves_errors_to_the_default_judgement() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit).classify_response(|_: &&str| Outcome::Ignored);
    let mut service = layer.layer(service_fn(obey));
    assert!(ask(&mut service, Ask::TimeOut).unwrap().is_err());
    assert_eq!(ended(&circuit), TIMEOUT);
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok());
    assert_eq!(circuit.status().totals.ignored, 1);
}

/// Returns what a service's error is for a breaker that was told nothing.
fn judged<E: 'static>(error: E) -> Outcome {
    let circuit = circuit(&MockClock::new());
    let mut error = Some(error);
    let layer = CircuitBreakerLayer::new(&circuit).typed_errors();
    let mut service = layer.layer(service_fn(move |_: Ask| std::future::ready(Err::<(), _>(error.take().unwrap()))));
    assert!(poll_ready(&mut service).is_ready());
    assert!(service.call(Ask::Fail).now_or_never().unwrap().is_err());
    ended(&circuit)
}

/// Returns what the one call of a circuit has been, as far as its counts tell.
fn ended(circuit: &Circuit) -> Outcome {
    let status = circuit.status();
    let totals = status.totals;
    assert_eq!(totals.ignored + totals.failures + totals.successes, 1, "one call was made");
    match (totals.ignored, totals.failures) {
        (1, _) => Outcome::Ignored,
        (_, 1) if status.run < 0.75 => Outcome::Failure(Failure::timeout()),
        (_, 1) => Outcome::failure(),
        _ => Outcome::Success,
    }
}

fn some_rejection() -> Rejected {
    let circuit = circuit(&MockClock::new());
    trip(&circuit);
    circuit.try_acquire().unwrap_err()
}

async fn tokio_elapsed() -> tokio::time::error::Elapsed {
    tokio::time::timeout(Duration::ZERO, pending::<()>()).await.unwrap_err()
}
