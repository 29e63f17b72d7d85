//! What gRPC statuses mean, without a wire: heads, trailers and errors as the classifier gets them, rejections as it sends them.

mod cancelled;
mod deadlines;
mod errors;
mod overrides;
mod rejections;
mod waits;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use prost::bytes::Bytes;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::{ErrorDetails, StatusExt};
use tower::ServiceExt;
use tower_circuit_breaker::classify::{BodyClassifier, Classifier, GrpcCall, GrpcClassifier, GrpcCode};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::outcome::{FailureKind, Weight};
use tower_circuit_breaker::rejection::GrpcRejection;
use tower_circuit_breaker::{
    BoxError, Circuit, CircuitBreakerLayer, Config, Error, Failure, OpenDuration, Outcome, Rejected,
};

#[test]
fn each_status_means_the_same_in_headers_and_in_trailers() {
    let unknown = failed("grpc_unknown");
    for (status, expected) in [
        ("0", Outcome::Success),
        ("1", Outcome::Ignored),
        ("2", unknown),
        ("3", Outcome::Success),
        ("4", Outcome::timeout()),
        ("5", Outcome::Success),
        ("6", Outcome::Success),
        ("7", Outcome::Success),
        ("8", failed("grpc_resource_exhausted")),
        ("9", Outcome::Success),
        ("10", Outcome::Success),
        ("11", Outcome::Success),
        ("12", Outcome::Success),
        ("13", failed("grpc_internal")),
        ("14", failed("grpc_unavailable")),
        ("15", failed("grpc_data_loss")),
        ("16", Outcome::Success),
        ("17", unknown),
        ("19", unknown),
        ("014", unknown),
        ("-1", unknown),
        ("", unknown),
        ("OK", unknown),
    ] {
        let classifier = GrpcClassifier::new();
        assert_eq!(finish(&classifier, &head(200, &[("grpc-status", status)])), expected, "headers: {status}");
        assert_eq!(end(&classifier, Some(&headers(&[("grpc-status", status)]))), expected, "trailers: {status}");
    }
}

#[test]
fn the_classifier_can_change_the_meaning_of_a_status() {
    let half = Outcome::from(Failure::new(Weight::TIMEOUT).with_kind(FailureKind::Named("quota")));
    let classifier = GrpcClassifier::new()
        .status(GrpcCode::ResourceExhausted, half)
        .status(Code::NotFound, Failure::hard())
        .status(GrpcCode::Unavailable, Outcome::Ignored)
        .status(GrpcCode::Unavailable, Outcome::Success);
    let status = |status| finish(&classifier, &head(200, &[("grpc-status", status)]));
    assert_eq!(status("8"), half);
    assert_eq!(status("5"), Outcome::failure());
    assert_eq!(status("14"), Outcome::Success, "the last word counts");
    assert_eq!(status("4"), Outcome::timeout(), "the others are as they were");
    assert_eq!(finish(&classifier, &head(503, &[])), Outcome::Success, "a translated status as well");
}

#[test]
fn a_code_of_tonic_is_the_code_of_the_same_number() {
    for number in 0..=17 {
        let ours = GrpcCode::from(Code::from(number));
        let expected = if number == 17 { 2 } else { number };
        assert_eq!(ours as i32, expected, "{:?}", Code::from(number));
    }
}

#[test]
fn a_head_with_a_status_decides_at_once_else_the_trailers_decide() {
    let classifier = GrpcClassifier::new();
    let status = head(200, &[GRPC, ("grpc-status", "14")]);
    assert_eq!(at_head(&classifier, &status), Some(finish(&classifier, &status)), "trailers-only");
    for content_type in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=x"] {
        let response = head(200, &[("content-type", content_type)]);
        assert_eq!(at_head(&classifier, &response), None, "{content_type}");
        assert_eq!(finish(&classifier, &response), Outcome::Success, "a plain layer sees no more: {content_type}");
    }
    assert_eq!(at_head(&classifier, &head(200, &[])), None, "tonic does not ask for a content type either");
}

#[test]
fn a_body_that_ends_without_a_status_is_a_failure() {
    let expected = failed("grpc_no_status");
    assert_eq!(end(&GrpcClassifier::new(), None), expected, "no trailers at all");
    assert_eq!(end(&GrpcClassifier::new(), Some(&headers(&[("x-other", "0")]))), expected, "other trailers");
}

#[test]
fn without_a_status_the_http_status_is_translated_as_the_specification_says() {
    let unavailable = Some("grpc_unavailable");
    for (status, kind) in [
        (400, Some("grpc_internal")),
        (401, None),
        (403, None),
        (404, None),
        (429, unavailable),
        (502, unavailable),
        (503, unavailable),
        (504, unavailable),
        (302, Some("grpc_unknown")),
        (500, Some("grpc_unknown")),
    ] {
        let outcome = finish(&GrpcClassifier::new(), &head(status, &[GRPC]));
        let found = outcome.as_failure().map(|failure| failure.kind().as_str());
        assert_eq!(found, kind, "{status}");
        assert_eq!(
            at_head(&GrpcClassifier::new(), &head(status, &[GRPC])),
            Some(outcome),
            "{status}: it does not wait"
        );
    }
    let with_status = head(503, &[("grpc-status", "0")]);
    assert_eq!(finish(&GrpcClassifier::new(), &with_status), Outcome::Success, "a status goes before");
}

#[test]
fn unavailable_and_resource_exhausted_with_a_delay_open_at_once() {
    let classifier = GrpcClassifier::tonic().trips_on_retry_after();
    let trips = |outcome: Outcome| outcome.as_failure().is_some_and(Failure::trips);
    for code in Code::Ok as i32..=Code::Unauthenticated as i32 {
        let status = Status::with_error_details(code.into(), "wait", ErrorDetails::with_retry_info(Some(SECOND)));
        let expected = [8, 14].contains(&code);
        let mut carried = head(200, &[GRPC]);
        carried.headers_mut().insert("grpc-status", code.to_string().parse().unwrap());
        status.add_header(carried.headers_mut()).unwrap();
        assert_eq!(trips(finish(&classifier, &carried)), expected, "headers: {code}");
        assert_eq!(trips(end(&classifier, Some(carried.headers()))), expected, "trailers: {code}");
        assert_eq!(trips(judge(&classifier, &status)), expected, "error: {code}");
        assert!(!trips(finish(&GrpcClassifier::tonic(), &carried)), "not chosen: {code}");
    }
    for (delay, expected) in [
        (("grpc-retry-pushback-ms", "50"), true),
        (("grpc-retry-pushback-ms", "2147483647"), true),
        (("grpc-retry-pushback-ms", "99999999999"), false),
        (("grpc-retry-pushback-ms", "0"), false),
        (("grpc-retry-pushback-ms", "-1"), false),
        (("retry-after", "60"), true),
        (("retry-after", "0"), false),
    ] {
        let with = head(200, &[GRPC, ("grpc-status", "14"), delay]);
        assert_eq!(trips(finish(&GrpcClassifier::new().trips_on_retry_after(), &with)), expected, "{delay:?}");
    }
    let from_a_proxy = finish(&classifier, &head(429, &[("retry-after", "60")]));
    assert!(trips(from_a_proxy) && from_a_proxy.as_failure().unwrap().retry_after() == Some(60 * SECOND));
    assert!(!trips(finish(&classifier, &head(429, &[]))));
}

#[test]
fn a_web_page_in_answer_to_grpc_is_unknown() {
    for content_type in ["text/html", "application/grpcx", "application/grpc-webbing", "application"] {
        let page = head(200, &[("content-type", content_type)]);
        let judged = at_head(&GrpcClassifier::new(), &page);
        assert_eq!(judged, Some(failed("grpc_unknown")), "{content_type}");
    }
}

#[test]
fn a_translated_answer_of_grpc_web_has_its_status_in_the_trailers() {
    // tonic-web's client makes trailers of the end of the body, and leaves the head as it came.
    for content_type in ["application/grpc-web", "application/grpc-web+proto", "Application/grpc-web-text; charset=x"] {
        let response = head(200, &[("content-type", content_type)]);
        assert_eq!(at_head(&GrpcClassifier::new(), &response), None, "{content_type}");
        assert_eq!(finish(&GrpcClassifier::new(), &response), Outcome::Success, "{content_type}");
    }
}

#[test]
fn a_request_that_is_not_grpc_is_judged_by_its_head() {
    for content_type in [None, Some("application/grpc-web+proto"), Some("application/json")] {
        let request = Request::builder();
        let request = content_type.map_or(Request::builder(), |value| request.header("content-type", value));
        let call = start(&GrpcClassifier::new(), &request.body(()).unwrap());
        let judged = |response: &Response<Full<Bytes>>| {
            let mut call = call;
            BodyClassifier::<Request<()>, _, Infallible>::head(&GrpcClassifier::new(), &mut call, response, ZERO)
        };
        assert_eq!(judged(&head(200, &[("content-type", "text/html")])), Some(Outcome::Success), "{content_type:?}");
        assert_eq!(judged(&head(404, &[])), Some(Outcome::Success), "{content_type:?}");
        assert_eq!(judged(&head(500, &[])), Some(Outcome::failure()), "{content_type:?}");
        let status = head(200, &[("grpc-status", "4")]);
        assert_eq!(judged(&status), Some(Outcome::timeout()), "a status is one: {content_type:?}");
    }
}

fn failed(kind: &'static str) -> Outcome {
    Failure::hard().with_kind(FailureKind::Named(kind)).into()
}

fn head(status: u16, with: &[(&'static str, &'static str)]) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status.try_into().unwrap();
    *response.headers_mut() = headers(with);
    response
}

fn headers(with: &[(&'static str, &'static str)]) -> HeaderMap {
    with.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn start<B>(classifier: &GrpcClassifier, request: &Request<B>) -> GrpcCall {
    Classifier::<_, Response<Full<Bytes>>, Infallible>::start(classifier, request)
}

fn grpc_call(classifier: &GrpcClassifier) -> GrpcCall {
    start(
        classifier,
        &Request::post("/shop.Inventory/Get").header("content-type", "application/grpc").body(()).unwrap(),
    )
}

fn finish(classifier: &GrpcClassifier, response: &Response<Full<Bytes>>) -> Outcome {
    let result = Ok::<_, &Infallible>(response);
    Classifier::<Request<()>, _, _>::finish(classifier, grpc_call(classifier), result, ZERO)
}

fn at_head(classifier: &GrpcClassifier, response: &Response<Full<Bytes>>) -> Option<Outcome> {
    let mut call = grpc_call(classifier);
    BodyClassifier::<Request<()>, _, Infallible>::head(classifier, &mut call, response, ZERO)
}

fn end(classifier: &GrpcClassifier, trailers: Option<&HeaderMap>) -> Outcome {
    let call = grpc_call(classifier);
    BodyClassifier::<Request<()>, Full<Bytes>, Infallible>::end(classifier, call, trailers, ZERO)
}

fn judge<E: 'static>(classifier: &GrpcClassifier, error: &E) -> Outcome {
    let result = Err::<&Response<Full<Bytes>>, _>(error);
    Classifier::<Request<()>, _, _>::finish(classifier, grpc_call(classifier), result, ZERO)
}

fn body_error<E: StdError + 'static>(error: E) -> Outcome {
    type Failing<E> = http_body_util::combinators::UnsyncBoxBody<Bytes, E>;
    let classifier = GrpcClassifier::tonic();
    BodyClassifier::<Request<()>, Failing<E>, Infallible>::body_error(&classifier, grpc_call(&classifier), &error, ZERO)
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

const SECOND: Duration = Duration::from_secs(1);

const ZERO: Duration = Duration::ZERO;

proptest::proptest! {
    #[test]
    fn any_details_beside_a_status_cause_no_panic(
        details in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
        seconds in proptest::num::i64::ANY,
        nanos in proptest::num::i32::ANY,
        text in "[ -~]{0,30}",
        status in "[0-9]{1,3}|[ -~]{0,3}",
    ) {
        let hostile = [details, wire::retry_info(seconds, nanos)];
        for details in hostile {
            let mut trailers = HeaderMap::new();
            Status::with_details(Code::Unavailable, "", details.into()).add_header(&mut trailers).unwrap();
            end(&GrpcClassifier::tonic(), Some(&trailers));
        }
        let names = ["grpc-status", "grpc-status-details-bin", "grpc-retry-pushback-ms", "grpc-message"];
        let trailers = names.map(|name| (name.parse().unwrap(), if name == "grpc-status" { &status } else { &text }.parse().unwrap()));
        end(&GrpcClassifier::tonic(), Some(&HeaderMap::from_iter(trailers)));
    }
}

/// Google's error model, with whatever numbers a server sends.
mod wire {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    struct Status {
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Delay>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Delay {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }

    pub(super) fn retry_info(seconds: i64, nanos: i32) -> Vec<u8> {
        let value = RetryInfo { retry_delay: Some(Delay { seconds, nanos }) }.encode_to_vec();
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        Status { details: vec![Any { type_url, value }] }.encode_to_vec()
    }
}
