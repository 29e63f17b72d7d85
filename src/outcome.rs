//! The outcome of a call, which is the meaning of the call for its circuit (a success, a failure with a weight, or no
//! evidence).
//!
//! The weight of a failure is more than 0 and at most 1, where 1 is a whole failure. Through tower the classifier,
//! which sees the request, sets the weight of a call with [`Failure::new`]. Without tower the caller sets the weight,
//! with [`Circuit::call_with`](crate::Circuit::call_with) or [`Permit::failure`](crate::Permit::failure). The decision
//! to trip is left to `circuit`.

mod failure;
mod weight;

use std::fmt;
use std::time::Duration;

#[cfg(feature = "http")]
pub(crate) use failure::CallerDeadline;
pub use failure::{Failure, FailureKind};
pub use weight::{InvalidWeight, Weight};
pub(crate) use weight::{UNIT, number, score_from_units, units_from_score};

/// The meaning of a call for its circuit, which a [`Classifier`](crate::classify::Classifier) returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The service has done its work, even if the caller wanted another answer. For example, a 404 is a success of the
    /// service.
    Success,
    /// The service failed. The failure has a weight.
    Failure(Failure),
    /// The call says nothing about the service, and enters no window and no rate.
    Ignored,
}

impl Outcome {
    /// Returns a hard failure, with weight 1.0.
    #[must_use]
    pub const fn failure() -> Self {
        Self::Failure(Failure::hard())
    }

    /// Returns a timeout, with weight 0.5.
    #[must_use]
    pub const fn timeout() -> Self {
        Self::Failure(Failure::timeout())
    }

    /// Returns a timeout that a deadline of the caller has caused, see [`Failure::deadline`].
    #[must_use]
    pub const fn deadline(deadline: Duration) -> Self {
        Self::Failure(Failure::deadline(deadline))
    }

    /// Returns the failure, or `None` if the outcome is no failure.
    #[must_use]
    pub const fn as_failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            Self::Success | Self::Ignored => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::Failure(failure) => failure.fmt(f),
            Self::Ignored => f.write_str("ignored"),
        }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}
