//! The details of a rejection in Google's error model, which generated clients decode.

use ::tonic::{Code, Status};
use http::{HeaderMap, HeaderValue};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::Rejected;
use crate::state::RejectReason;

/// Returns the value of `grpc-status-details-bin`. Returns `None` if tonic cannot encode the details.
pub(super) fn details(rejected: &Rejected, sentence: String) -> Option<HeaderValue> {
    let reason = match rejected.reason() {
        RejectReason::Tripped => "CIRCUIT_OPEN",
        RejectReason::HalfOpen => "CIRCUIT_HALF_OPEN",
        RejectReason::LoadShed => "LOAD_SHED",
    };
    let metadata = [("service".to_owned(), rejected.circuit().to_owned())];
    let mut details = ErrorDetails::with_error_info(reason, "tower-circuit-breaker", metadata);
    if let Some(wait) = rejected.retry_after() {
        details.set_retry_info(Some(wait));
    }
    let mut headers = HeaderMap::new();
    let code = if rejected.reason() == RejectReason::LoadShed { Code::ResourceExhausted } else { Code::Unavailable };
    Status::with_error_details(code, sentence, details).add_header(&mut headers).ok()?;
    headers.remove(Status::GRPC_STATUS_DETAILS)
}
