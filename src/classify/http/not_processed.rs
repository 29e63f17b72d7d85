//! HTTP/2 requests that a server refused without processing them (`REFUSED_STREAM` and GOAWAY).
//!
//! A server that restarts gracefully sends GOAWAY, and a server with too many streams sends `REFUSED_STREAM`. Both
//! signals mean that the request was not processed, so that a retry on another connection is safe (RFC 9113, section
//! 8.7). A healthy server refuses requests only for a moment. Therefore a single refusal says little, but many refusals
//! must open the circuit. Each refusal has the weight 0.5, like a timeout.

use std::error::Error as StdError;

use crate::outcome::{Failure, FailureKind, Outcome, Weight};
use crate::sources::find;

/// Returns the outcome of a request that the server did not process. Returns `None` if neither the error nor its
/// sources show that the server did not process the request.
pub(in super::super) fn not_processed(error: &(dyn StdError + 'static)) -> Option<Outcome> {
    let error = find::<h2::Error>(error)?;
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    // A GOAWAY with `NO_ERROR` announces a graceful end. The server still processes the streams up to the last stream
    // ID in the GOAWAY, so only later streams get this error.
    let graceful = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    (refused || graceful).then_some(NOT_PROCESSED)
}

const NOT_PROCESSED: Outcome =
    Outcome::Failure(Failure::new(Weight::TIMEOUT).with_kind(FailureKind::Named("not_processed")));
