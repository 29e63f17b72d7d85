//! The outcome that the user set for a status, wherever the status comes from.

use super::*;

/// Sets an outcome that no status has by itself.
fn set(code: GrpcCode) -> GrpcClassifier {
    GrpcClassifier::tonic().status(code, MINE)
}

fn body_error_by<E: StdError + 'static>(classifier: &GrpcClassifier, error: E) -> Outcome {
    type Failing<E> = http_body_util::combinators::UnsyncBoxBody<Bytes, E>;
    let call = grpc_call(classifier);
    BodyClassifier::<Request<()>, Failing<E>, Infallible>::body_error(classifier, call, &error, ZERO)
}

fn ready_error(classifier: &GrpcClassifier, error: &BoxError) -> Outcome {
    Classifier::<Request<()>, Response<Full<Bytes>>, _>::ready_error(classifier, error)
}

#[test]
fn an_override_applies_to_each_place_where_a_status_shows() {
    let unavailable = set(GrpcCode::Unavailable);
    assert_eq!(finish(&unavailable, &head(200, &[("grpc-status", "14")])), MINE, "a header");
    assert_eq!(end(&unavailable, Some(&headers(&[("grpc-status", "14")]))), MINE, "a trailer");
    assert_eq!(finish(&unavailable, &head(503, &[])), MINE, "an HTTP status");
    assert_eq!(judge(&unavailable, &Status::unavailable("")), MINE, "an error");
    assert_eq!(judge(&unavailable, &BoxError::from(Status::unavailable(""))), MINE, "a boxed error");
    assert_eq!(body_error_by(&unavailable, Status::unavailable("")), MINE, "an error of the body");
    assert_eq!(ready_error(&unavailable, &Status::unavailable("").into()), MINE, "an error of readiness");
}

#[test]
fn an_override_by_an_outcome_that_is_no_failure_applies_to_an_error_of_the_body() {
    let classifier = GrpcClassifier::tonic().status(GrpcCode::Unavailable, Outcome::Ignored);
    assert_eq!(body_error_by(&classifier, Status::unavailable("")), Outcome::Ignored);
    let classifier = classifier.status(GrpcCode::Cancelled, Outcome::Success);
    assert_eq!(body_error_by(&classifier, Status::cancelled("")), Outcome::Success);
    assert_eq!(body_error_by(&classifier, Status::not_found("")), Outcome::failure(), "not changed");
}

#[test]
fn an_override_of_unknown_applies_to_a_body_that_ends_without_a_status() {
    for classifier in [GrpcClassifier::new().status(GrpcCode::Unknown, MINE), set(GrpcCode::Unknown)] {
        assert_eq!(end(&classifier, None), MINE);
        assert_eq!(end(&classifier, Some(&headers(&[("x-other", "0")]))), MINE);
        assert_eq!(end(&classifier, Some(&headers(&[("grpc-status", "garbage")]))), MINE);
    }
}

#[tokio::test(start_paused = true)]
async fn an_override_of_deadline_exceeded_applies_to_timeouts_of_the_stack() {
    let elapsed = tokio::time::timeout(ZERO, std::future::pending::<()>()).await.unwrap_err();
    for classifier in [GrpcClassifier::new().status(GrpcCode::DeadlineExceeded, MINE), set(GrpcCode::DeadlineExceeded)]
    {
        assert_eq!(judge(&classifier, &BoxError::from(tower::timeout::error::Elapsed::new())), MINE);
        assert_eq!(judge(&classifier, &io::Error::from(io::ErrorKind::TimedOut)), MINE);
        assert_eq!(body_error_by(&classifier, io::Error::from(io::ErrorKind::TimedOut)), MINE);
        assert_eq!(ready_error(&classifier, &tower::timeout::error::Elapsed::new().into()), MINE);
    }
    assert_eq!(judge(&set(GrpcCode::DeadlineExceeded), &BoxError::from(elapsed)), MINE);
    let mut status = Status::cancelled("timeout expired");
    status.set_source(Arc::new(TimeoutExpired(())));
    assert_eq!(judge(&set(GrpcCode::DeadlineExceeded), &status), MINE, "what tonic's stub makes of its timeout");
    assert_eq!(judge(&set(GrpcCode::Unavailable), &BoxError::from(TimeoutExpired(()))), Outcome::timeout());
}

#[test]
fn a_stream_that_was_refused_is_judged_like_unavailable_if_that_is_changed() {
    let refused = || BoxError::from(io::Error::other(h2::Error::from(h2::Reason::REFUSED_STREAM)));
    for classifier in [GrpcClassifier::new(), GrpcClassifier::tonic()] {
        let outcome = judge(&classifier, &refused());
        let failure = outcome.as_failure().unwrap();
        assert_eq!((failure.weight(), failure.kind()), (Weight::TIMEOUT, FailureKind::Named("not_processed")));
        assert_eq!(judge(&classifier.status(GrpcCode::Unavailable, MINE), &refused()), MINE);
    }
}

const MINE: Outcome = Outcome::Failure(Failure::new(Weight::TIMEOUT).with_kind(FailureKind::Named("mine")));
