//! `HttpClassifier` and `HttpRejection`, without a network.

mod rejections;

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::classify::{BodyClassifier, Classifier, HttpClassifier};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::outcome::{FailureKind, Weight};
use tower_circuit_breaker::rejection::{HttpRejection, Rejection};
use tower_circuit_breaker::state::{Reason, Snapshot};
use tower_circuit_breaker::{
    BoxError, By, Circuit, CircuitBreakerLayer, Config, Failure, OpenDuration, Outcome, Permit, Rejected, State,
};

#[test]
fn server_errors_weigh_one_and_timeouts_half() {
    for (status, expected) in [
        (200, Outcome::Success),
        (204, Outcome::Success),
        (304, Outcome::Success),
        (400, Outcome::Success),
        (404, Outcome::Success),
        (408, Outcome::timeout()),
        (422, Outcome::Success),
        (429, Failure::new(Weight::TIMEOUT).with_kind(FailureKind::Named("http_429")).into()),
        (499, Outcome::Success),
        (500, hard("http_500")),
        (501, hard("http_5xx")),
        (502, hard("http_502")),
        (503, hard("http_503")),
        (504, Outcome::timeout()),
        (599, hard("http_5xx")),
        (600, Outcome::Success),
    ] {
        assert_eq!(judge(&HttpClassifier::new(), &answer(status, &[])), expected, "{status}");
    }
}

#[test]
fn the_last_setting_for_a_status_counts() {
    let classifier = HttpClassifier::default()
        .status(StatusCode::TOO_MANY_REQUESTS, Outcome::Ignored)
        .status(StatusCode::NOT_FOUND, Outcome::timeout())
        .status(StatusCode::NOT_FOUND, Failure::hard())
        .status(StatusCode::NOT_IMPLEMENTED, Outcome::Success);
    for (status, expected) in [
        (429, Outcome::Ignored),
        (404, Outcome::failure()),
        (501, Outcome::Success),
        (503, hard("http_503")),
        (504, Outcome::timeout()),
    ] {
        assert_eq!(judge(&classifier.clone(), &answer(status, &[])), expected, "{status}");
    }
}

#[test]
fn only_a_failure_takes_the_retry_after() {
    let retry = [(header::RETRY_AFTER, "7")];
    let after = |status| judge(&HttpClassifier::new(), &answer(status, &retry)).as_failure().map(Failure::retry_after);
    for status in [408, 429, 500, 503, 504] {
        assert_eq!(after(status), Some(Some(SECONDS_7)), "{status}");
    }
    for status in [200, 301, 404] {
        assert_eq!(after(status), None, "{status} is a success");
    }
    let own = Failure::hard().with_retry_after(Duration::from_secs(1));
    let overridden = HttpClassifier::new()
        .status(StatusCode::NOT_FOUND, Failure::hard())
        .status(StatusCode::CONFLICT, own)
        .status(StatusCode::SERVICE_UNAVAILABLE, Outcome::Ignored);
    assert_eq!(judge(&overridden, &answer(404, &retry)), Failure::hard().with_retry_after(SECONDS_7).into());
    assert_eq!(judge(&overridden, &answer(409, &retry)), own.into(), "its own word counts");
    assert_eq!(judge(&overridden, &answer(503, &retry)), Outcome::Ignored);
}

#[test]
fn a_retry_after_extends_the_open_duration_to_at_most_five_minutes() {
    for (value, expected) in [("2", 5), ("40", 40), ("99999999999999999999", 300), ("-40", 5), ("in a while", 5)] {
        let circuit = circuit(&MockClock::new());
        for _ in 0..5 {
            let outcome = judge(&HttpClassifier::new(), &answer(503, &[(header::RETRY_AFTER, value)]));
            circuit.try_acquire().unwrap().record(outcome);
        }
        assert_eq!(circuit.status().retry_after, Some(Duration::from_secs(expected)), "Retry-After: {value}");
    }
}

#[test]
fn only_429_and_503_with_a_time_to_come_open_at_once() {
    let classifier = HttpClassifier::new().trips_on_retry_after().status(StatusCode::NOT_FOUND, Failure::hard());
    let trips = |classifier: &HttpClassifier, status, waits: &[&'static str]| {
        let headers: Vec<_> = waits.iter().map(|wait| (header::RETRY_AFTER, *wait)).collect();
        let outcome = judge(classifier, &answer(status, &headers));
        outcome.as_failure().is_some_and(Failure::trips)
    };
    for status in [200, 404, 408, 429, 500, 502, 503, 504] {
        assert_eq!(trips(&classifier, status, &["7"]), [429, 503].contains(&status), "{status}");
        assert!(!trips(&HttpClassifier::new(), status, &["7"]), "{status}, not chosen");
    }
    for (waits, expected) in [
        (&["1"][..], true),
        (&["99999999999999999999"], true),
        (&["Fri, 31 Dec 9999 23:59:59 GMT"], true),
        (&["0", "7"], true),
        (&["later", "7"], true),
        (&[], false),
        (&["0"], false),
        (&["0", "0"], false),
        (&["-7"], false),
        (&["later"], false),
        (&["Sun, 06 Nov 1994 08:49:37 GMT"], false),
    ] {
        assert_eq!(trips(&classifier, 429, waits), expected, "{waits:?}");
    }
    let waits = classifier.clone().until_end_of_body();
    let ban = answer(429, &[(header::RETRY_AFTER, "7")]).map(|()| Body::empty());
    let head = BodyClassifier::<Request<()>, Body, Infallible>::head(&waits, &mut (), &ban, Duration::ZERO);
    assert!(head.unwrap().as_failure().unwrap().trips(), "also where good heads wait for the end of the body");
    let quota = classifier.clone().status(StatusCode::TOO_MANY_REQUESTS, Outcome::Success);
    assert!(!trips(&quota, 429, &["7"]), "a status that is no failure");
    let own = Failure::hard().with_retry_after(SECONDS_7);
    let own =
        judge(&classifier.status(StatusCode::TOO_MANY_REQUESTS, own), &answer(429, &[(header::RETRY_AFTER, "60")]));
    assert_eq!(own, own.as_failure().unwrap().with_retry_after(SECONDS_7).trips_at_once().into(), "for its own time");
}

#[test]
fn a_hostile_retry_after_opens_for_five_minutes_at_most() {
    for value in ["99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "3153600000"] {
        let circuit = circuit(&MockClock::new());
        let classifier = HttpClassifier::new().trips_on_retry_after();
        let outcome = judge(&classifier, &answer(429, &[(header::RETRY_AFTER, value)]));
        circuit.try_acquire().unwrap().record(outcome);
        assert_eq!(circuit.status().retry_after, Some(Duration::from_secs(300)), "Retry-After: {value}");
    }
}

#[test]
fn errors_are_judged_as_by_default() {
    fn judged<E: 'static>(error: &E) -> [Outcome; 2] {
        let classifier = HttpClassifier::new();
        let end = Classifier::<Request<()>, Response<()>, E>::finish(&classifier, (), Err(error), Duration::ZERO);
        [end, Classifier::<Request<()>, Response<()>, E>::ready_error(&classifier, error)]
    }
    let not_ready = Outcome::Failure(Failure::hard().with_kind(FailureKind::NotReady));
    assert_eq!(judged(&io::Error::from(io::ErrorKind::TimedOut)), [Outcome::timeout(); 2]);
    assert_eq!(judged::<BoxError>(&io::Error::other("down").into()), [Outcome::failure(), not_ready]);
    assert_eq!(judged(&"an error that is none"), [Outcome::failure(), not_ready]);
    let rejected = opened(&MockClock::new()).try_acquire().unwrap_err();
    assert_eq!(judged::<BoxError>(&rejected.into()), [Outcome::Ignored; 2], "a breaker inside");
}

#[test]
fn the_answer_of_a_breaker_inside_is_ignored() {
    let rejection: Response<Body> = reject(&opened(&MockClock::new()), &HttpRejection::new(), &[]);
    assert_eq!(judge(&HttpClassifier::new(), &rejection), Outcome::Ignored);
    let overridden = HttpClassifier::new().status(StatusCode::SERVICE_UNAVAILABLE, Failure::hard());
    assert_eq!(judge(&overridden, &rejection), Outcome::Ignored);
    let fine = HttpClassifier::new().status(StatusCode::SERVICE_UNAVAILABLE, Outcome::Success);
    assert_eq!(
        judge(&fine, &rejection),
        Outcome::Ignored,
        "a success would close a circuit whose service was not asked"
    );
    let mut stale = answer(200, &[]);
    stale.extensions_mut().insert(opened(&MockClock::new()).try_acquire().unwrap_err());
    assert_eq!(judge(&HttpClassifier::new(), &stale), Outcome::Ignored, "from a cache, as `respond_with` may answer");
}

#[test]
fn at_the_headers_every_response_is_decided() {
    for status in [200, 404, 500, 504] {
        let response = answer(status, &[]).map(|()| Body::empty());
        let head = BodyClassifier::<Request<()>, Body, Infallible>::head(
            &HttpClassifier::new(),
            &mut (),
            &response,
            Duration::ZERO,
        );
        assert_eq!(head, Some(judge(&HttpClassifier::new(), &response)), "{status}");
    }
}

#[test]
fn only_a_successful_head_waits_for_the_end_of_the_body() {
    let classifier = HttpClassifier::new().status(StatusCode::IM_A_TEAPOT, Outcome::Ignored).until_end_of_body();
    for (status, expected) in [
        (200, None),
        (404, None),
        (418, Some(Outcome::Ignored)),
        (500, Some(hard("http_500"))),
        (504, Some(Outcome::timeout())),
    ] {
        let response = answer(status, &[]).map(|()| Body::empty());
        assert_eq!(WithBody::<Body>::head(&classifier, &response), expected, "{status}");
    }
    assert_eq!(WithBody::<Body>::end(&classifier), Outcome::Success);
}

#[test]
fn a_body_error_is_hard_and_a_timeout_inside_weighs_half() {
    let errors = || [io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut].map(io::Error::from);
    let expected = [Failure::hard().with_kind(FailureKind::Reset).into(), Outcome::timeout()];

    let axums = HttpClassifier::new().until_end_of_body();
    let judged = errors().map(|error| WithBody::<Body>::error(&axums, &axum::Error::new(error)));
    assert_eq!(judged, expected, "an error with sources");

    let boxed = HttpClassifier::new().until_end_of_body();
    let judged =
        errors().map(|error| WithBody::<UnsyncBoxBody<Bytes, BoxError>>::error(&boxed, &BoxError::from(error)));
    assert_eq!(judged, expected, "a boxed error, which is no error itself");
}

/// `BodyClassifier` of a service that gives bodies of type `B`.
struct WithBody<B>(std::marker::PhantomData<B>);

impl<B: http_body::Body> WithBody<B> {
    fn head(
        classifier: &impl BodyClassifier<Request<()>, B, Infallible, Call = ()>,
        head: &Response<B>,
    ) -> Option<Outcome> {
        classifier.head(&mut (), head, Duration::ZERO)
    }

    fn end(classifier: &impl BodyClassifier<Request<()>, B, Infallible, Call = ()>) -> Outcome {
        classifier.end((), None, Duration::ZERO)
    }

    fn error(classifier: &impl BodyClassifier<Request<()>, B, Infallible, Call = ()>, error: &B::Error) -> Outcome {
        classifier.body_error((), error, Duration::ZERO)
    }
}

fn judge<B>(classifier: &HttpClassifier, response: &Response<B>) -> Outcome {
    Classifier::<Request<()>, _, Infallible>::finish(classifier, (), Ok(response), Duration::ZERO)
}

fn hard(kind: &'static str) -> Outcome {
    Failure::hard().with_kind(FailureKind::Named(kind)).into()
}

fn answer(status: u16, headers: &[(HeaderName, &'static str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = map(headers);
    response
}

fn map(headers: &[(HeaderName, &'static str)]) -> HeaderMap {
    headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

/// Rejects a GET with these headers.
fn reject<R, B>(circuit: &Circuit, rejection: &R, headers: &[(HeaderName, &'static str)]) -> Response<B>
where
    R: Rejection<Request<()>, Response<B>, Infallible, Error = Infallible>,
{
    let mut request = Request::new(());
    *request.headers_mut() = map(headers);
    let rejected = circuit.try_acquire().unwrap_err();
    rejection.reject(rejected, request).unwrap_or_else(|never| match never {})
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn problem(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

fn by(reason: &str) -> By {
    By::new("alice", reason).unwrap()
}

/// Opens for 5 s.
fn circuit(clock: &MockClock) -> Circuit {
    let open_for = OpenDuration::fixed(Duration::from_secs(5));
    Circuit::new(Config::builder("orders").clock(clock.clone()).open_for(open_for).build().unwrap())
}

/// Returns the rejection of a closed circuit that admits a share of its calls.
pub(crate) fn limited(change: fn(ConfigBuilder) -> ConfigBuilder) -> Rejected {
    let settings = Config::builder("orders").clock(MockClock::new()).seed(1);
    let settings = settings.without_failure_rate().without_consecutive_failures();
    let circuit = Circuit::new(change(settings).build().unwrap());
    let mut closed = Snapshot::closed();
    closed.closed_for = Some(Duration::ZERO);
    circuit.adopt(&closed, Reason::Restored);
    let permits: Vec<_> = (0..40).filter_map(|_| circuit.try_acquire().ok()).collect();
    permits.into_iter().for_each(|permit| permit.failure(Failure::hard()));
    (0..1_000).find_map(|_| circuit.try_acquire().map(Permit::ignore).err()).expect("a share is rejected")
}

fn opened(clock: &MockClock) -> Circuit {
    let circuit = circuit(clock);
    for _ in 0..5 {
        circuit.try_acquire().unwrap().failure(Failure::hard());
    }
    circuit
}

const SECONDS_7: Duration = Duration::from_secs(7);
