//! The classification of tonic's errors and statuses, and the retry delay in gRPC error details.

use std::error::Error as StdError;
use std::time::Duration;

use ::tonic::metadata::MetadataMap;
use ::tonic::{Status, TimeoutExpired};
use http::HeaderMap;
use prost::Message;
use tonic_types::{RetryInfo, pb};

use super::super::cause::caused;
use super::super::http::not_processed::not_processed;
use super::super::timeout::{as_error, known_alone, opaque, text_of_any};
use super::origin::{Origin, broken};
use super::{Classifier, GrpcClassifier, GrpcCode};
use crate::outcome::{Failure, Outcome};
use crate::sources::{chain, find};

/// Judges the status of a call that goes through no layer of this crate.
impl GrpcClassifier {
    /// Returns the outcome that the classifier of [`GrpcClassifier::tonic`](Self::tonic) gives to a status.
    ///
    /// Use this function for a call under a [`Permit`](crate::Permit), or for a status inside a result of your own
    /// type. For all other calls, use `circuit.call_classified(GrpcClassifier::tonic(), client.method(request))`.
    ///
    /// ```
    /// use tower_circuit_breaker::{Outcome, classify::GrpcClassifier};
    ///
    /// assert_eq!(GrpcClassifier::of(&tonic::Status::not_found("no such item")), Outcome::Success);
    /// assert_eq!(GrpcClassifier::of(&tonic::Status::deadline_exceeded("too slow")).as_failure().unwrap().weight().as_f64(), 0.5);
    /// ```
    #[must_use]
    pub fn of(status: &Status) -> Outcome {
        outcome_of_any(&Self::tonic(), Origin::Readiness, status)
    }
}

/// Judges results of a client that tonic generated, for
/// [`Circuit::call_classified`](crate::Circuit::call_classified).
impl<T> Classifier<(), T, Status> for GrpcClassifier {
    type Call = ();

    fn start(&self, (): &()) {}

    fn finish(&self, (): (), result: Result<&T, &Status>, _: Duration) -> Outcome {
        result.map_or_else(|status| outcome_of_any(self, Origin::Readiness, status), |_| Outcome::Success)
    }

    fn describe(&self, result: Result<&T, &Status>) -> Option<String> {
        result.err().and_then(text_of_any)
    }
}

/// Judges an error of any type. `E` has no bound `Error`, because `BoxError` and `()` do not implement
/// `Error`.
pub(super) fn outcome_of_any<E: 'static>(classifier: &GrpcClassifier, origin: Origin, error: &E) -> Outcome {
    let Some(error) = as_error(error) else { return opaque::<E>() };
    let call = origin.call();
    // The errors in the source chain decide before the status code, because the code is less precise. For example,
    // tonic turns its own timeout into CANCELLED and a rejection into UNKNOWN.
    let known = chain(error).find_map(|error| {
        let is_expired = error.is::<TimeoutExpired>();
        if is_expired { Some(call.timer_fired()) } else { known_alone(error) }
    });
    if let Some(outcome) = known.or_else(|| not_processed(error)) {
        return classifier.transport(outcome);
    }
    let Some(status) = find::<Status>(error) else { return broken(call, error) };
    let code = GrpcCode::from(status.code());
    let mut otherwise = call.meaning(code, || status.message().as_bytes());
    // If tonic created the status from a transport error, that error is the source of the status, and shows the cause
    // more precisely than the code.
    if let Some(source) = status.source()
        && let Some(failure) = otherwise.as_failure()
    {
        otherwise = caused(*failure, source).into();
    }
    if matches!(origin, Origin::Body(_)) && otherwise.as_failure().is_none_or(Failure::is_ignored_early) {
        otherwise = Outcome::failure();
        if code == GrpcCode::Cancelled {
            otherwise = call.broken_off(otherwise);
        }
    }
    let mut beside = HeaderMap::new();
    // An error of `add_header` is ignored. Without the headers, the code alone decides.
    drop(status.add_header(&mut beside));
    classifier.judge_as(code, otherwise, &beside)
}

/// Returns the delay of `google.rpc.RetryInfo` in `grpc-status-details-bin`, or `None` if there is no valid delay.
pub(super) fn retry_delay(headers: &HeaderMap) -> Option<Duration> {
    let mut metadata = HeaderMap::new();
    metadata.insert(DETAILS, headers.get(DETAILS)?.clone());
    // `Status::from_header_map` is not used, because that function panics if a value is not base64.
    let details = MetadataMap::from_headers(metadata).get_bin(DETAILS)?.to_bytes().ok()?;
    // `StatusExt` is not used, because that trait reads a negative delay as 0, and panics at the most
    // negative delay.
    let details = tonic_types::Status::decode(details).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url == RetryInfo::TYPE_URL)?;
    let delay = pb::RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, nanos))
}

const DETAILS: &str = "grpc-status-details-bin";
