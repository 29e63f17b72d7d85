//! Calls without tower whose error is a type of the application, and calls under a permit that a closure or a classifier judges.

use std::fmt;
use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::time::{error::Elapsed, sleep, timeout};
use tower::{Layer, service_fn};
use tower_circuit_breaker::classify::{Classifier, StdErrorClassifier};
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Error, Outcome, State};

use super::{SECOND, calls_until_open};
use crate::parts::{circuit, settings, state};

#[derive(Debug)]
enum QuoteError {
    Slow(Elapsed),
    Database(io::Error),
}

impl fmt::Display for QuoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no quote")
    }
}

impl std::error::Error for QuoteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Slow(error) => error,
            Self::Database(error) => error,
        })
    }
}

/// An error of the application around the error of a client.
#[cfg(any(feature = "tonic", feature = "reqwest"))]
#[derive(Debug)]
struct Own<E>(E);

#[cfg(any(feature = "tonic", feature = "reqwest"))]
impl<E> fmt::Display for Own<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shop is closed")
    }
}

#[cfg(any(feature = "tonic", feature = "reqwest"))]
impl<E: std::error::Error + 'static> std::error::Error for Own<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Returns the text of the failure that has opened the circuit.
fn text(circuit: &Circuit) -> String {
    let edge = circuit.status().transitions.pop().expect("the circuit has opened");
    edge.failure_text.expect("the failure has a text").to_string()
}

async fn slow() -> Result<u32, QuoteError> {
    timeout(Duration::from_millis(1), pending()).await.map_err(QuoteError::Slow)?
}

async fn locked() -> Result<u32, QuoteError> {
    Err(QuoteError::Database(io::Error::other("the database is locked")))
}

#[tokio::test(start_paused = true)]
async fn a_timeout_among_the_sources_of_an_own_error_weighs_half() {
    let call = async |circuit: &Circuit| drop(circuit.call_classified(StdErrorClassifier::new(), slow()).await);
    assert_eq!(calls_until_open(&circuit(&TokioClock::new()), call).await, 10);
    let of_permit = async |circuit: &Circuit| {
        let permit = circuit.acquire().await;
        drop(permit.call_classified(StdErrorClassifier::new(), slow()).await);
    };
    assert_eq!(calls_until_open(&circuit(&TokioClock::new()), of_permit).await, 10);
}

#[tokio::test]
async fn the_reason_has_the_text_of_the_last_source_of_an_own_error() {
    let circuit = circuit(&MockClock::new());
    let call = async |circuit: &Circuit| {
        let error = circuit.call_classified(StdErrorClassifier::new(), locked()).await.unwrap_err();
        assert!(matches!(error, Error::Inner(QuoteError::Database(_))));
    };
    assert_eq!(calls_until_open(&circuit, call).await, 5);
    assert_eq!(text(&circuit), "the database is locked");
}

#[tokio::test]
async fn a_layer_finds_the_sources_and_the_text_of_an_own_error() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit).classifier(StdErrorClassifier::new());
    let call = async |_: &Circuit| {
        let service = layer.layer(service_fn(|()| locked()));
        drop(tower::ServiceExt::oneshot(service, ()).await);
    };
    assert_eq!(calls_until_open(&circuit, call).await, 5);
    assert_eq!(text(&circuit), "the database is locked");
}

#[tokio::test]
async fn a_closure_judges_the_call_of_a_permit() {
    let circuit = circuit(&MockClock::new());
    let judge = |result: Result<&u32, &QuoteError>| match result {
        Ok(_) | Err(QuoteError::Database(_)) => Outcome::Success,
        Err(QuoteError::Slow(_)) => Outcome::timeout(),
    };
    for _ in 0..20 {
        let permit = circuit.try_acquire().unwrap();
        assert!(permit.call_with(judge, locked()).await.is_err());
    }
    let totals = circuit.totals();
    assert_eq!((totals.successes, totals.failures, state(&circuit)), (20, 0, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_classified_call_of_a_permit_that_is_dropped_is_cancelled() {
    let circuit = circuit(&TokioClock::new());
    for _ in 0..20 {
        let permit = circuit.try_acquire().unwrap();
        let call = permit.call_classified(StdErrorClassifier::new(), pending::<Result<u32, QuoteError>>());
        assert!(timeout(Duration::from_millis(20), call).await.is_err());
        let permit = circuit.try_acquire().unwrap();
        let call = permit.call_with(|_| Outcome::failure(), pending::<Result<u32, QuoteError>>());
        assert!(timeout(Duration::from_millis(20), call).await.is_err());
        drop(circuit.try_acquire().unwrap().call_classified(StdErrorClassifier::new(), locked()));
    }
    let totals = circuit.totals();
    assert_eq!((totals.cancelled, totals.failures, state(&circuit)), (60, 0, State::Closed));
}

/// Counts a call as a failure if the call took longer than a second.
struct WithinASecond;

impl<Res, Err> Classifier<(), Res, Err> for WithinASecond {
    const NEEDS_ELAPSED: bool = true;
    type Call = ();

    fn start(&self, (): &()) {}

    fn finish(&self, (): (), _: Result<&Res, &Err>, elapsed: Duration) -> Outcome {
        if elapsed > SECOND { Outcome::failure() } else { Outcome::Success }
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_gets_the_duration_of_the_call_of_a_permit() {
    for slow_rule in [false, true] {
        let settings = settings(&TokioClock::new());
        let settings = if slow_rule { settings.slow_call_rate(1.0).slower_than(10 * SECOND) } else { settings };
        let circuit = Circuit::new(settings.build().unwrap());
        for (takes, failures) in [(SECOND / 2, 0), (2 * SECOND, 1)] {
            let call = async {
                sleep(takes).await;
                Ok::<_, io::Error>(())
            };
            circuit.acquire().await.call_classified(WithinASecond, call).await.unwrap();
            assert_eq!(circuit.totals().failures, failures, "{takes:?}, with a slow-call rule: {slow_rule}");
        }
        assert_eq!(circuit.status().hanging, 0);
    }
}

#[cfg(feature = "tonic")]
mod of_tonic {
    use tonic::{Code, Status};

    use super::*;

    async fn stock(code: Code) -> Result<u32, Own<Status>> {
        Err(Own(Status::new(code, "as asked")))
    }

    #[tokio::test]
    async fn a_status_among_the_sources_of_an_own_error_is_judged_by_its_code() {
        for (code, opens_after) in
            [(Code::Unavailable, Some(5)), (Code::DeadlineExceeded, Some(10)), (Code::NotFound, None)]
        {
            let circuit = circuit(&MockClock::new());
            let call =
                async |circuit: &Circuit| drop(circuit.call_classified(StdErrorClassifier::new(), stock(code)).await);
            if let Some(calls) = opens_after {
                assert_eq!(calls_until_open(&circuit, call).await, calls, "{code:?}");
                assert_eq!(text(&circuit), "as asked");
            } else {
                for _ in 0..50 {
                    call(&circuit).await;
                }
                assert_eq!((circuit.totals().failures, state(&circuit)), (0, State::Closed), "{code:?}");
            }
        }
    }
}

#[cfg(feature = "reqwest")]
mod of_reqwest {
    use tokio::net::TcpListener;
    use tower_circuit_breaker::BoxError;
    use tower_circuit_breaker::classify::{ReqwestClassifier, outcome_of};

    use super::*;
    use crate::parts::SUCCESS;

    /// Returns the error of a client whose server does not answer.
    async fn timed_out() -> reqwest::Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = reqwest::Client::builder().timeout(Duration::from_millis(20)).build().unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        client.get(url).send().await.unwrap_err()
    }

    /// Returns the error of a request that was never sent.
    async fn without_host() -> reqwest::Error {
        reqwest::Client::new().get("/no/host").send().await.unwrap_err()
    }

    /// Returns the error of `error_for_status`.
    fn of_status(status: u16) -> reqwest::Error {
        let response = http::Response::builder().status(status).body("").unwrap();
        reqwest::Response::from(response).error_for_status().unwrap_err()
    }

    #[tokio::test]
    async fn an_error_of_reqwest_is_judged_alike_alone_boxed_and_as_a_source() {
        for error in [timed_out().await, without_host().await, of_status(404), of_status(500)] {
            let expected = ReqwestClassifier::new().error(&error);
            assert_eq!(outcome_of(&error), expected, "{error:?}");
            let own = Own(error);
            assert_eq!(outcome_of(&own), expected, "{own:?}");
            let boxed: BoxError = own.into();
            assert_eq!(outcome_of(boxed.as_ref()), expected, "{boxed:?}");
        }
        assert_eq!(outcome_of(&timed_out().await), Outcome::timeout());
        assert_eq!(outcome_of(&without_host().await), Outcome::Ignored);
        assert_eq!(outcome_of(&of_status(404)), SUCCESS);
    }

    #[tokio::test]
    async fn a_mistake_of_the_caller_does_not_open_the_circuit_of_an_own_error_or_a_plain_call() {
        let circuit = circuit(&MockClock::new());
        for _ in 0..20 {
            let own = async { Err::<u32, _>(Own(without_host().await)) };
            drop(circuit.call_classified(StdErrorClassifier::new(), own).await);
            drop(circuit.call(async { Err::<u32, _>(without_host().await) }).await);
            drop(circuit.call(async { Err::<u32, _>(of_status(404)) }).await);
        }
        assert_eq!((circuit.totals().failures, state(&circuit)), (0, State::Closed));
    }

    #[tokio::test]
    async fn the_timeout_of_a_request_weighs_in_proportion_outside_a_layer_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = reqwest::Client::new();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let circuit = circuit(&tower_circuit_breaker::clock::MonotonicClock::new());
        for _ in 0..12 {
            let request = client.get(&url).timeout(Duration::from_millis(10)).build().unwrap();
            let judge = ReqwestClassifier::new().for_request(&request);
            assert!(circuit.call_classified(judge, client.execute(request)).await.is_err());
        }
        assert_eq!((circuit.totals().failures, state(&circuit)), (12, State::Closed));
        assert!(circuit.status().run < 4.0, "12 timeouts in full weigh 6: {}", circuit.status().run);
    }
}
