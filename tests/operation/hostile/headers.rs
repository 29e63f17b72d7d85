//! Response headers of an upstream service that answers with anything.

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, ServiceExt};
use tower_circuit_breaker::classify::{Classifier, GrpcClassifier, HttpClassifier};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::rejection::{GrpcRejection, HttpRejection};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, OpenDuration, Outcome, Rejected};

use super::{Dice, SECRET, attack, holds, is_fit_to_show, reached};

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

/// Rules: no header makes a success of a failure, or the other way round; no delay exceeds the limit of the parser and no
/// opening the limit of the circuit; the texts of a rejection are bounded and forge nothing.
#[test]
fn hostile_headers_of_a_response_break_no_rule() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut openings, mut lengthened) = (0, 0);
    attack("headers", 1, |dice| {
        let headers = headers(dice);
        let status = 100 + u16::try_from(dice.below(900)).unwrap();
        let answer = response(&headers, status);
        let request = Request::new(());
        let http = HttpClassifier::new();
        let [judged, bare] = [&answer, &response(&HeaderMap::new(), status)].map(|answer| {
            Classifier::<Request<()>, Response<String>, Infallible>::finish(&http, (), Ok(answer), Duration::ZERO)
        });
        let is_same = std::mem::discriminant(&judged) == std::mem::discriminant(&bare);
        holds(is_same, || format!("{status} is {judged:?} with {headers:?}, and {bare:?} without"))?;
        let delay = if let Outcome::Failure(failure) = &judged { failure.retry_after() } else { None };
        holds(delay.is_none_or(|delay| delay <= LONGEST), || format!("{judged:?}"))?;

        let clock = MockClock::new();
        let config = Config::builder("upstream").consecutive_failures(1).clock(clock.clone());
        let config = config.open_for(OpenDuration::fixed(OPEN_FOR)).build().unwrap();
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
        openings += 1;
        lengthened += u32::from(wait.is_some_and(|wait| wait > OPEN_FOR));
        shown(&rejected)
    });
    reached(
        openings > 0 && lengthened > 0,
        &format!("{openings} openings, {lengthened} of them lengthened by a header"),
    );
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

/// The open duration of the circuit.
const OPEN_FOR: Duration = Duration::from_secs(60);
/// The longest delay that a header can ask for.
const LONGEST: Duration = Duration::from_secs(300);
