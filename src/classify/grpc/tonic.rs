//! The meaning of tonic's errors, and the retry delay in gRPC error details.

use std::any::Any;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use ::tonic::metadata::MetadataMap;
use ::tonic::{Status, TimeoutExpired, transport};
use http::HeaderMap;
use prost::Message;
use tonic_types::{RetryInfo, pb};

use super::super::timeout;
use super::{GrpcCall, GrpcClassifier, GrpcCode};
use crate::error::{BoxError, Error};
use crate::outcome::Outcome;

/// Judges an error of any type, because `BoxError` and `()` do not implement `Error`.
pub(super) fn outcome_of_any<E: 'static>(classifier: &GrpcClassifier, call: GrpcCall, error: &E) -> Outcome {
    let Some(error) = as_error(error) else { return timeout::outcome_of_any(error) };
    // The cause decides first, because tonic turns its own timeout into CANCELLED and a rejection into UNKNOWN.
    if find::<TimeoutExpired>(error).is_some() {
        return call.timer_fired();
    }
    if let Some(outcome) = timeout::known(error) {
        return outcome;
    }
    let Some(status) = find::<Status>(error) else { return Outcome::failure() };
    let mut beside = HeaderMap::new();
    // Metadata that do not fit into headers are dropped, because the code alone is enough for a judgement.
    drop(status.add_header(&mut beside));
    classifier.judge(call, GrpcCode::from(status.code()), &beside)
}

/// Reads the delay of `google.rpc.RetryInfo` in `grpc-status-details-bin`.
pub(super) fn retry_delay(headers: &HeaderMap) -> Option<Duration> {
    let mut metadata = HeaderMap::new();
    metadata.insert(DETAILS, headers.get(DETAILS)?.clone());
    // `Status::from_header_map` is not used, because it panics if a value is not base64.
    let details = MetadataMap::from_headers(metadata).get_bin(DETAILS)?.to_bytes().ok()?;
    // `StatusExt` is not used, because it reads a negative delay as 0, and panics at the most negative delay.
    let details = tonic_types::Status::decode(details).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url == RetryInfo::TYPE_URL)?;
    let delay = pb::RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, nanos))
}

/// Returns the error as `dyn Error`, if its type is one of tonic's or a box.
fn as_error(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    if let Some(boxed) = error.downcast_ref::<BoxError>() {
        return Some(boxed.as_ref());
    }
    if let Some(Error::Inner(boxed)) = error.downcast_ref::<Error<BoxError>>() {
        return Some(boxed.as_ref());
    }
    as_dyn::<transport::Error>(error)
        .or_else(|| as_dyn::<Status>(error))
        .or_else(|| as_dyn::<Error<transport::Error>>(error))
        .or_else(|| as_dyn::<Error<Status>>(error))
}

fn as_dyn<E: StdError + 'static>(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    let error: &(dyn StdError + 'static) = error.downcast_ref::<E>()?;
    Some(error)
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // The `source` of an `io::Error` skips the error that it wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| find(wrapped)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

const DETAILS: &str = "grpc-status-details-bin";
