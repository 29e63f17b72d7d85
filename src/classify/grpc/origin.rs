//! The place where an error appeared, and the judgement of errors of the transport.

use std::error::Error as StdError;

use super::super::cause::hard;
use super::super::timeout::find;
use super::GrpcCall;
use crate::outcome::Outcome;

/// The place where an error appeared.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    Readiness,
    Call(GrpcCall),
    Body(GrpcCall),
}

impl Origin {
    /// Returns the call. An error of `poll_ready` belongs to no call.
    pub(super) const fn call(self) -> GrpcCall {
        match self {
            Self::Readiness => GrpcCall::UNKNOWN,
            Self::Call(call) | Self::Body(call) => call,
        }
    }
}

/// Judges an error of the transport. The deadline of the caller can be the cause of a stream that was reset with
/// CANCEL.
pub(super) fn broken(call: GrpcCall, error: &(dyn StdError + 'static)) -> Outcome {
    let is_cancelled = find::<h2::Error>(error).is_some_and(|error| error.reason() == Some(h2::Reason::CANCEL));
    let outcome = hard(error);
    if is_cancelled { call.broken_off(outcome) } else { outcome }
}
