//! When a failure says to come again: pushback, and `RetryInfo`.

use super::*;

#[test]
fn a_failure_keeps_its_pushback_and_a_forbidden_retry_has_no_time() {
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
fn a_configured_retry_time_goes_before_pushback() {
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
