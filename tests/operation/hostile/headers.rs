//! Response headers of an upstream service that answers with anything.

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, ServiceExt};
use tower_circuit_breaker::classify::{Classifier, GrpcClassifier, HttpClassifier};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::rejection::{GrpcRejection, HttpRejection};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Failure, OpenDuration, Outcome, Rejected};

use super::{Dice, SECRET, attack, holds, is_fit_to_show};

const NAMES: [&str; 14] = [
    "retry-after",
    "date",
    "grpc-status",
    "grpc-message",
    "grpc-retry-pushback-ms",
    "grpc-status-details-bin",
    "grpc-timeout",
    "content-type",
    "content-length",
    "x-ratelimit-reset",
    "x-should-retry",
    "retry-after-ms",
    "age",
    "x-envoy-overloaded",
];
const VALUES: [&str; 12] = [
    "0",
    "1",
    "86400",
    "Sun, 29 Nov 2026 12:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "14",
    "8",
    "16",
    "-1",
    "application/grpc",
    "4294967296",
    "  7 ",
];

fn headers(dice: &mut Dice) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for _ in 0..dice.below(8) {
        let name = HeaderName::from_static(dice.pick(&NAMES));
        let value = if dice.once_in(2) { dice.pick(&VALUES).to_owned() } else { dice.text() };
        let value = HeaderValue::from_bytes(value.as_bytes());
        headers.append(name, value.unwrap_or(HeaderValue::from_static(SECRET)));
    }
    headers
}

fn response(headers: &HeaderMap, status: u16) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers.clone();
    response
}

/// Rules: a judgement is the same for the same answer; no delay exceeds the limit of the parser and no opening the limit of the
/// circuit; the texts of a rejection are bounded and forge nothing.
#[test]
fn hostile_headers_of_a_response_break_no_rule() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    attack("headers", 1, |dice| {
        let headers = headers(dice);
        let answer = response(&headers, 100 + u16::try_from(dice.below(900)).unwrap());
        let request = Request::new(());
        let http = HttpClassifier::new();
        let judged = [
            Classifier::<Request<()>, Response<String>, Infallible>::finish(&http, (), Ok(&answer), Duration::ZERO),
            Classifier::<Request<()>, Response<String>, Infallible>::finish(&http, (), Ok(&answer), Duration::ZERO),
        ];
        let kind = |outcome: &Outcome| matches!(outcome, Outcome::Failure(failure) if failure.retry_after().is_none_or(within));
        let [first, second] = &judged;
        holds(std::mem::discriminant(first) == std::mem::discriminant(second), || format!("{first:?} and {second:?}"))?;
        holds(!matches!(first, Outcome::Failure(_)) || kind(first), || format!("{first:?}"))?;

        let clock = MockClock::new();
        let config = Config::builder("upstream").consecutive_failures(1).clock(clock.clone());
        let config = config.open_for(OpenDuration::fixed(Duration::from_secs(60))).build().unwrap();
        let circuit = Circuit::new(config);
        let inner = tower::service_fn(move |_: Request<()>| {
            let answer = answer.clone();
            async move { Ok::<_, Infallible>(answer) }
        });
        if dice.once_in(2) {
            let layer = CircuitBreakerLayer::new(&circuit).classifier(http).rejection(HttpRejection::new().explained());
            drop(runtime.block_on(layer.layer(inner).oneshot(request)));
        } else {
            let layer = CircuitBreakerLayer::new(&circuit).classifier(GrpcClassifier::new());
            let layer = layer.rejection(GrpcRejection::new().explained());
            let inner = inner.map_response(|answer: Response<String>| answer.map(axum::body::Body::from));
            drop(runtime.block_on(layer.layer(inner).oneshot(request)));
        }
        let wait = circuit.status().retry_after;
        holds(wait.is_none_or(|wait| wait <= LONGEST), || format!("it is open for {wait:?}"))?;
        let Err(rejected) = circuit.try_acquire() else { return Ok(()) };
        shown(&rejected)
    });
}

fn within(wait: Duration) -> bool {
    wait <= LONGEST
}

fn shown(rejected: &Rejected) -> Result<(), String> {
    // The text of the upstream service may be any text, and it has the secret only if the service sent it.
    is_fit_to_show(&rejected.to_string().replace(SECRET, ""), 2_000)?;
    let response: Response<String> = HttpRejection::new().explained().response(rejected);
    let bytes: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    holds(bytes < 4_096, || format!("{bytes} bytes of headers"))?;
    let public: Response<String> = HttpRejection::new().response(rejected);
    is_fit_to_show(public.body(), 2_000)
}

/// The longest delay that a header can ask for.
const LONGEST: Duration = Duration::from_secs(300);

/// A failure without headers opens the circuit, so that the inputs above test more than closed circuits.
#[test]
fn the_circuit_of_the_hostile_headers_opens_at_one_failure() {
    let circuit = Circuit::new(Config::builder("upstream").consecutive_failures(1).build().unwrap());
    circuit.try_acquire().unwrap().failure(Failure::hard());
    assert!(circuit.is_open());
}
