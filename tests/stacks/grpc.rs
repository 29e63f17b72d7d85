//! What gRPC statuses mean, without a wire: heads, trailers and errors as the classifier gets them, rejections as it sends them.

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
use tower_circuit_breaker::classify::{BodyClassifier, Classifier, GrpcClassifier, GrpcCode};
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
fn a_status_means_what_the_classifier_was_told() {
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
fn a_head_with_a_status_decides_and_one_without_waits_for_the_trailers() {
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
fn a_web_page_in_answer_to_grpc_is_unknown() {
    for content_type in ["text/html", "application/grpcx", "application/grpc-webbing", "application"] {
        let page = head(200, &[("content-type", content_type)]);
        let judged = at_head(&GrpcClassifier::new(), &page);
        assert_eq!(judged, Some(failed("grpc_unknown")), "{content_type}");
    }
}

#[test]
fn an_answer_of_grpc_web_that_was_translated_inside_has_its_status_in_the_trailers() {
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

#[test]
fn pushback_is_kept_with_a_failure_and_a_forbidden_retry_is_no_time() {
    for (pushback, expected) in [
        ("0", Some(Duration::ZERO)),
        ("1500", Some(Duration::from_millis(1_500))),
        ("2147483647", Some(Duration::from_millis(2_147_483_647))),
        ("2147483648", None),
        ("-1", None),
        ("soon", None),
        ("", None),
    ] {
        for status in ["8", "14", "4"] {
            let trailers = headers(&[("grpc-status", status), ("grpc-retry-pushback-ms", pushback)]);
            let outcome = end(&GrpcClassifier::new(), Some(&trailers));
            assert_eq!(outcome.as_failure().unwrap().retry_after(), expected, "{status}, {pushback}");
        }
    }
    let fine = headers(&[("grpc-status", "0"), ("grpc-retry-pushback-ms", "5")]);
    assert_eq!(end(&GrpcClassifier::new(), Some(&fine)), Outcome::Success);
}

#[test]
fn a_time_of_ones_own_goes_before_pushback() {
    let own = Outcome::from(Failure::hard().with_retry_after(Duration::from_secs(9)));
    let classifier = GrpcClassifier::new().status(GrpcCode::Unavailable, own);
    let trailers = headers(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "5")]);
    assert_eq!(end(&classifier, Some(&trailers)), own);
}

#[test]
fn retry_info_is_read_by_the_classifier_that_knows_tonic() {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(2_500)));
    let mut trailers = HeaderMap::new();
    Status::with_error_details(Code::ResourceExhausted, "full", details).add_header(&mut trailers).unwrap();
    let asked = |classifier: GrpcClassifier, trailers: &HeaderMap| {
        end(&classifier, Some(trailers)).as_failure().unwrap().retry_after()
    };
    assert_eq!(asked(GrpcClassifier::tonic(), &trailers), Some(Duration::from_millis(2_500)));
    assert_eq!(asked(GrpcClassifier::new(), &trailers), None, "it looks at no details");

    trailers.insert("grpc-retry-pushback-ms", "-1".parse().unwrap());
    assert_eq!(asked(GrpcClassifier::tonic(), &trailers), None, "pushback goes first, also when it forbids");
}

#[test]
fn broken_details_neither_panic_nor_hide_the_status() {
    for details in ["%%%", "!", "AAAA", ""] {
        let trailers = headers(&[("grpc-status", "14"), ("grpc-status-details-bin", details)]);
        let outcome = end(&GrpcClassifier::tonic(), Some(&trailers));
        assert_eq!(outcome, failed("grpc_unavailable"), "{details}");
    }
}

#[test]
fn a_retry_info_that_is_no_time_neither_panics_nor_says_anything() {
    for (seconds, nanos, expected) in [
        (2, 500_000_000, Some(Duration::from_millis(2_500))),
        (0, 0, Some(Duration::ZERO)),
        (i64::MAX, 999_999_999, Some(Duration::new(i64::MAX.unsigned_abs(), 999_999_999))),
        (i64::MIN, 0, None),
        (-1, 0, None),
        (0, -1, None),
        (1, -1, None),
        (1, 1_000_000_000, None),
        (i64::MAX, i32::MAX, None),
        (i64::MIN + 1, i32::MIN, None),
    ] {
        let mut trailers = HeaderMap::new();
        let details = wire::retry_info(seconds, nanos).into();
        Status::with_details(Code::Unavailable, "", details).add_header(&mut trailers).unwrap();
        let outcome = end(&GrpcClassifier::tonic(), Some(&trailers));
        assert_eq!(outcome.as_failure().unwrap().retry_after(), expected, "{seconds} s and {nanos} ns");
    }
}

#[test]
fn a_timeout_of_tonic_weighs_half_wherever_it_stands() {
    let boxed: BoxError = TimeoutExpired(()).into();
    assert_eq!(judge(&GrpcClassifier::tonic(), &boxed), Outcome::timeout());
    let wrapped: BoxError = Box::new(io::Error::other(TimeoutExpired(())));
    assert_eq!(judge(&GrpcClassifier::tonic(), &wrapped), Outcome::timeout());
    // What tonic's stub makes of its own timeout: CANCELLED, which alone would be ignored.
    let mut status = Status::cancelled("timeout expired");
    status.set_source(Arc::new(TimeoutExpired(())));
    assert_eq!(judge(&GrpcClassifier::tonic(), &status), Outcome::timeout());
    assert_eq!(judge(&GrpcClassifier::new(), &boxed), Outcome::failure(), "nobody told it about tonic");
}

#[test]
fn the_code_of_a_status_in_the_error_decides() {
    let tonic = GrpcClassifier::tonic();
    assert_eq!(judge(&tonic, &Status::not_found("no such item")), Outcome::Success);
    assert_eq!(judge(&tonic, &Status::cancelled("by the caller")), Outcome::Ignored);
    assert_eq!(judge(&tonic, &Status::deadline_exceeded("late")), Outcome::timeout());
    let boxed: BoxError = Box::new(io::Error::other(Status::not_found("no such item")));
    assert_eq!(judge(&tonic, &boxed), Outcome::Success);
    assert_eq!(judge(&tonic, &Error::Inner(Status::not_found("no such item"))), Outcome::Success);
    assert_eq!(judge(&GrpcClassifier::new(), &Status::not_found("")), Outcome::failure(), "an error like any other");

    let mut beside = MetadataMap::new();
    beside.insert("grpc-retry-pushback-ms", "700".parse().unwrap());
    let pushed = judge(&tonic, &Status::with_metadata(Code::Unavailable, "later", beside));
    assert_eq!(pushed.as_failure().unwrap().retry_after(), Some(Duration::from_millis(700)));
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
    let detailed = judge(&tonic, &Status::with_error_details(Code::Unavailable, "later", details));
    assert_eq!(detailed.as_failure().unwrap().retry_after(), Some(Duration::from_secs(3)));
}

#[test]
fn a_rejection_below_is_ignored_whatever_code_tonic_gave_it() {
    let rejected = circuit("inner", |config| config).rejected();
    let mut status = Status::unknown("circuit `inner` is open");
    status.set_source(Arc::new(rejected.clone()));
    assert_eq!(judge(&GrpcClassifier::tonic(), &status), Outcome::Ignored);
    for classifier in [GrpcClassifier::new(), GrpcClassifier::tonic()] {
        let boxed: BoxError = rejected.clone().into();
        assert_eq!(judge(&classifier, &boxed), Outcome::Ignored);
        assert_eq!(judge(&classifier, &Error::<Infallible>::Rejected(rejected.clone())), Outcome::Ignored);
    }
}

#[tokio::test]
async fn the_answer_of_a_breaker_inside_is_ignored() {
    let open = circuit("inner", |config| config);
    for classifier in [GrpcClassifier::new(), GrpcClassifier::tonic()] {
        let response = open.reject(GrpcRejection::new()).await;
        assert_eq!(finish(&classifier, &response), Outcome::Ignored);
        assert_eq!(at_head(&classifier, &response), Some(Outcome::Ignored));
        let unavailable = classifier.clone().status(GrpcCode::Unavailable, Outcome::Success);
        assert_eq!(finish(&unavailable, &response), Outcome::Ignored, "the service was not asked");

        let mut page = head(503, &[]);
        page.extensions_mut().insert(open.rejected());
        let result = Ok::<_, &Infallible>(&page);
        let judged = Classifier::<Request<()>, _, _>::finish(&classifier, false, result, ZERO);
        assert_eq!(judged, Outcome::Ignored, "beside gRPC as well");
    }
}

#[test]
fn an_error_that_nobody_knows_is_a_hard_failure() {
    for classifier in [GrpcClassifier::new(), GrpcClassifier::tonic()] {
        assert_eq!(judge(&classifier, &()), Outcome::failure());
        assert_eq!(judge(&classifier, &io::Error::from(io::ErrorKind::ConnectionRefused)), Outcome::failure());
        assert_eq!(judge(&classifier, &io::Error::from(io::ErrorKind::TimedOut)), Outcome::timeout());
    }
}

#[test]
fn an_error_of_poll_ready_says_that_the_service_was_not_ready() {
    let ready = |classifier: &GrpcClassifier, error: &BoxError| {
        Classifier::<Request<()>, Response<Full<Bytes>>, _>::ready_error(classifier, error)
    };
    let not_ready = Outcome::from(Failure::hard().with_kind(FailureKind::NotReady));
    for classifier in [GrpcClassifier::new(), GrpcClassifier::tonic()] {
        assert_eq!(ready(&classifier, &"gone".into()), not_ready);
    }
    let expired: BoxError = TimeoutExpired(()).into();
    assert_eq!(ready(&GrpcClassifier::tonic(), &expired), Outcome::timeout());
}

#[test]
fn an_error_of_the_body_is_a_failure_even_if_tonic_calls_it_cancelled() {
    assert_eq!(body_error(Status::cancelled("reset by the peer")), Outcome::failure());
    assert_eq!(body_error(Status::not_found("odd")), Outcome::failure());
    assert_eq!(body_error(Status::unavailable("gone")), failed("grpc_unavailable"));
    assert_eq!(body_error(io::Error::from(io::ErrorKind::TimedOut)), Outcome::timeout());
    assert_eq!(body_error(io::Error::from(io::ErrorKind::ConnectionReset)), Outcome::failure());
}

#[tokio::test]
async fn a_rejection_is_a_trailers_only_response() {
    let open = circuit("inventory", |config| config.open_for(OpenDuration::fixed(Duration::from_nanos(1_500_000_001))));
    let response = open.reject(GrpcRejection::new()).await;
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("content-type"), Some("application/grpc"));
    assert_eq!(header("grpc-status"), Some("14"));
    assert_eq!(header("grpc-retry-pushback-ms"), Some("1501"), "rounded up");
    assert_eq!(header("grpc-status-details-bin"), None, "details are asked for");
    let rejected = response.extensions().get::<Rejected>().expect("layers outside know it");
    assert_eq!(header("grpc-message"), Some(&*rejected.to_string()), "there is nothing to encode in it");
}

#[tokio::test]
async fn a_name_beyond_ascii_is_decoded_by_tonic() {
    let open = circuit("menü-100%", |config| config);
    let response = open.reject(GrpcRejection::new()).await;
    let status = Status::from_header_map(response.headers()).unwrap();
    assert!(status.message().starts_with("circuit `menü-100%` is open"), "{}", status.message());
}

#[tokio::test]
async fn a_circuit_that_waits_for_a_person_forbids_the_retry() {
    let open = circuit("inventory", |config| config.recovery(Recovery::Manual));
    let response = open.reject(GrpcRejection::new().with_details()).await;
    assert_eq!(response.headers()["grpc-retry-pushback-ms"], "-1");
    let status = Status::from_header_map(response.headers()).unwrap();
    assert!(status.get_details_retry_info().is_none(), "no time is known");
    assert_eq!(status.get_details_error_info().unwrap().reason, "CIRCUIT_OPEN");
}

#[tokio::test]
async fn a_half_open_circuit_leaves_the_backoff_to_the_caller() {
    let open = circuit("inventory", |config| config);
    open.clock.advance(Duration::from_secs(3_600));
    let probe = open.circuit.try_acquire().unwrap();
    let response = open.reject(GrpcRejection::new().with_details()).await;
    drop(probe);
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers().get("grpc-retry-pushback-ms"), None);
    let info = Status::from_header_map(response.headers()).unwrap().get_details_error_info().unwrap();
    assert_eq!((&*info.reason, &*info.domain), ("CIRCUIT_HALF_OPEN", "tower-circuit-breaker"));
    assert_eq!(info.metadata["service"], "inventory");
}

/// A circuit that one failure has opened, for a minute unless it is told otherwise.
struct Opened {
    circuit: Circuit,
    clock: MockClock,
}

fn circuit(
    name: &'static str,
    set: impl FnOnce(tower_circuit_breaker::config::ConfigBuilder) -> tower_circuit_breaker::config::ConfigBuilder,
) -> Opened {
    let clock = MockClock::new();
    let circuit = Circuit::new(set(Config::classic(name).clock(clock.clone())).build().unwrap());
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure(Failure::hard());
    }
    Opened { circuit, clock }
}

impl Opened {
    fn rejected(&self) -> Rejected {
        self.circuit.try_acquire().unwrap_err()
    }

    async fn reject(&self, rejection: GrpcRejection) -> Response<Full<Bytes>> {
        let layer = CircuitBreakerLayer::new(&self.circuit).rejection(rejection);
        let inner = tower::service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::default())) });
        tower::Layer::layer(&layer, inner).oneshot(Request::new(())).await.unwrap()
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

fn start<B>(classifier: &GrpcClassifier, request: &Request<B>) -> bool {
    Classifier::<_, Response<Full<Bytes>>, Infallible>::start(classifier, request)
}

fn grpc_call(classifier: &GrpcClassifier) -> bool {
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
    Classifier::<Request<()>, _, _>::finish(classifier, true, result, ZERO)
}

fn body_error<E: StdError + 'static>(error: E) -> Outcome {
    type Failing<E> = http_body_util::combinators::UnsyncBoxBody<Bytes, E>;
    let classifier = GrpcClassifier::tonic();
    BodyClassifier::<Request<()>, Failing<E>, Infallible>::body_error(&classifier, true, &error, ZERO)
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

const ZERO: Duration = Duration::ZERO;

proptest::proptest! {
    #[test]
    fn whatever_a_server_sends_beside_a_status_is_no_panic(
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
