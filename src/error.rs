//! The error of a guarded call: a rejection by the circuit, or the error of the service.

use std::error::Error as StdError;
use std::fmt;

pub use crate::circuit::Rejected;

/// The boxed error, which `tower`'s own middleware returns, and which is the default error of a circuit breaker.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The error of a call through a circuit with typed errors: a rejection, or the error of the service.
///
/// `Display` of the error of a service is only `the call failed`. The error itself is the [`source`](StdError::source),
/// as a printed chain of errors expects.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "a call was made or it was not")]
pub enum Error<E> {
    /// The call did not happen.
    Rejected(Rejected),
    /// The call happened and failed.
    Inner(E),
}

impl<E> Error<E> {
    /// Returns the rejection, if the error is one.
    #[must_use]
    pub const fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }

    /// Returns the error of the service, if the error is one.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A printed chain contains this sentence twice, because `source` returns the rejection as well. But code
            // that prints only the error needs the sentence here.
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(_) => f.write_str("the call failed"),
        }
    }
}

// Not recommended, because the compiler would name this type instead of reporting that the
// content of a box is not `Sized`.
#[diagnostic::do_not_recommend]
impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(error),
        }
    }
}
