//! The origin of a gRPC error (`poll_ready`, the call or the body), and the judgement of transport errors.

use std::error::Error as StdError;

use super::super::cause::hard;
use super::GrpcCall;
use crate::outcome::Outcome;
use crate::sources::find;

/// The place where an error appeared, which is `poll_ready`, the call or the body of the response. A status whose call
/// is not known also has the origin `Readiness`, because this variant carries no [`GrpcCall`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    Readiness,
    Call(GrpcCall),
    Body(GrpcCall),
}

impl Origin {
    /// Returns the call, or [`GrpcCall::UNKNOWN`] for an error of `poll_ready`, which belongs to no call.
    pub(super) const fn call(self) -> GrpcCall {
        match self {
            Self::Readiness => GrpcCall::UNKNOWN,
            Self::Call(call) | Self::Body(call) => call,
        }
    }
}

/// Judges an error of the transport by its cause, mostly as a hard failure. If the stream was reset with CANCEL, the
/// outcome can also be a failure by the deadline of the caller, because a server resets a stream whose deadline has
/// passed.
pub(super) fn broken(call: GrpcCall, error: &(dyn StdError + 'static)) -> Outcome {
    let is_cancelled = find::<h2::Error>(error).is_some_and(|error| error.reason() == Some(h2::Reason::CANCEL));
    let outcome = hard(error).into();
    if is_cancelled { call.broken_off(outcome) } else { outcome }
}
