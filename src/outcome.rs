//! The outcome of a call from the view of its circuit, which is a success, a failure with a weight, or ignored.
//!
//! The weight of a failure is more than 0 and at most 1, where 1 is a whole failure. In a tower service, the classifier
//! sets the weight with [`Failure::new`], and can use the request for this purpose. Without tower, the caller sets the
//! weight with [`Circuit::call_with`](crate::Circuit::call_with) or [`Permit::failure`](crate::Permit::failure). The
//! module `circuit` decides when failures open a circuit.

mod failure;
mod weight;

use std::fmt;
use std::time::Duration;

#[cfg(feature = "http")]
pub(crate) use failure::CallerDeadline;
pub use failure::{Failure, FailureKind};
pub use weight::{InvalidWeight, Weight};
pub(crate) use weight::{UNIT, number, score_from_units, units_from_score};

/// The outcome of a call from the view of its circuit. A [`Classifier`](crate::classify::Classifier) returns the
/// outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The service works, even if the response is not the response that the caller wanted. For example, a 404 is a
    /// success of the service.
    Success,
    /// The service failed. The failure has a weight.
    Failure(Failure),
    /// The call shows neither that the service works nor that it fails. The circuit counts the call in no window and in
    /// no rate.
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

    /// Returns the outcome of a call that exceeded a deadline of its caller, see [`Failure::deadline`].
    #[must_use]
    pub const fn deadline(deadline: Duration) -> Self {
        Self::Failure(Failure::deadline(deadline))
    }

    /// Returns the failure, or `None` if the outcome is a success or ignored.
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
