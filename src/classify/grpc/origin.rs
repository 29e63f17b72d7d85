//! The origin of a gRPC error (`poll_ready`, the call or the body), and the judgement of transport errors.

use std::error::Error as StdError;

use super::super::cause::hard;
use super::GrpcCall;
use crate::outcome::Outcome;
use crate::sources::find;

/// The place where an error appeared, which is `poll_ready`, the call or the body of the response. An error whose call
/// is not known has the origin `Readiness` too, because the other origins need a [`GrpcCall`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    Readiness,
    Call(GrpcCall),
    Body(GrpcCall),
}

impl Origin {
    /// Returns the call that failed, or [`GrpcCall::UNKNOWN`] for an error of `poll_ready`, which belongs to no call.
    pub(super) const fn call(self) -> GrpcCall {
        match self {
            Self::Readiness => GrpcCall::UNKNOWN,
            Self::Call(call) | Self::Body(call) => call,
        }
    }
}

/// Judges a transport error, mostly as a hard failure. A server may reset a stream with CANCEL because the deadline of
/// the call has passed. Therefore such a reset can also count as an exceeded deadline.
pub(super) fn broken(call: GrpcCall, error: &(dyn StdError + 'static)) -> Outcome {
    let is_cancelled = find::<h2::Error>(error).is_some_and(|error| error.reason() == Some(h2::Reason::CANCEL));
    let outcome = hard(error).into();
    if is_cancelled { call.broken_off(outcome) } else { outcome }
}
