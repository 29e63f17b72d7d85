//! HTTP/2 requests that a server refused without processing them (`REFUSED_STREAM` and GOAWAY).
//!
//! A server that restarts gracefully sends GOAWAY, and a server with too many streams sends `REFUSED_STREAM`.
//! Both signals mean that the request was not processed, so that a retry on another connection is safe (RFC
//! 9113, section 8.7). A server that refuses requests for a moment is healthy, and a server that refuses
//! requests for long is not. Therefore such a refusal has the weight of a timeout, which is 0.5.

use std::error::Error as StdError;

use super::super::cause::hard;
use super::super::timeout::{as_error, find, known};
use crate::outcome::{Failure, FailureKind, Outcome, Weight};

/// Judges an error of any type. `E` has no bound `Error`, because `BoxError` and `()` do not implement `Error`.
pub(in super::super) fn outcome_of_any<E: 'static>(error: &E) -> Outcome {
    as_error(error).map_or(Outcome::failure(), outcome_of)
}

/// Judges an error by its type and the types of its sources, as `classify::outcome_of` does, and also recognises
/// requests that were not processed.
pub(in super::super) fn outcome_of(error: &(dyn StdError + 'static)) -> Outcome {
    known(error).or_else(|| not_processed(error)).unwrap_or_else(|| hard(error))
}

/// Returns the outcome of a request that the server did not process, if the error or its sources say so.
pub(in super::super) fn not_processed(error: &(dyn StdError + 'static)) -> Option<Outcome> {
    let error = find::<h2::Error>(error)?;
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    // A GOAWAY with `NO_ERROR` announces a graceful end. The server still processes the streams up to the
    // last stream that the GOAWAY names, so only later streams get this error.
    let graceful = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    (refused || graceful).then_some(NOT_PROCESSED)
}

const NOT_PROCESSED: Outcome =
    Outcome::Failure(Failure::new(Weight::TIMEOUT).with_kind(FailureKind::Named("not_processed")));
