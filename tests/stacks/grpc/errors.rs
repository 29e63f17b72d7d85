//! What the errors of a call and of a body mean.

use super::rejections::circuit;
use super::*;

#[test]
fn a_timeout_of_tonic_weighs_half_inside_any_error() {
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
fn a_rejection_below_is_ignored_with_any_tonic_code() {
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
        let call = start(&classifier, &Request::new(()));
        let judged = Classifier::<Request<()>, _, _>::finish(&classifier, call, result, ZERO);
        assert_eq!(judged, Outcome::Ignored, "beside gRPC as well");
    }
}

#[test]
fn an_unknown_error_is_a_hard_failure() {
    for classifier in [GrpcClassifier::new(), GrpcClassifier::tonic()] {
        assert_eq!(judge(&classifier, &()), Outcome::failure());
        assert_eq!(judge(&classifier, &io::Error::from(io::ErrorKind::ConnectionRefused)), hard(FailureKind::Connect));
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
fn a_body_error_that_tonic_calls_cancelled_is_a_failure() {
    assert_eq!(body_error(Status::cancelled("reset by the peer")), Outcome::failure());
    assert_eq!(body_error(Status::not_found("odd")), Outcome::failure());
    assert_eq!(body_error(Status::unavailable("gone")), failed("grpc_unavailable"));
    assert_eq!(body_error(io::Error::from(io::ErrorKind::TimedOut)), Outcome::timeout());
    assert_eq!(body_error(io::Error::from(io::ErrorKind::ConnectionReset)), hard(FailureKind::Reset));
}

fn hard(kind: FailureKind) -> Outcome {
    Failure::hard().with_kind(kind).into()
}
