//! The error of a guarded call: rejected by the circuit, or failed by itself.

use std::error::Error as StdError;
use std::fmt;

pub use crate::circuit::Rejected;

/// What `tower`'s own middleware returns, and the default error of a circuit breaker.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The error of a call through a circuit with typed errors: rejected, or the service's own.
///
/// `Display` of the latter is only `the call failed`: the rest is its [`source`](StdError::source), as a chain prints it.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "a call was made or it was not")]
pub enum Error<E> {
    /// The call did not happen.
    Rejected(Rejected),
    /// The call happened and failed.
    Inner(E),
}

impl<E> Error<E> {
    /// Returns the rejection, if it is one.
    #[must_use]
    pub const fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }

    /// Returns the service's own error, if it is one.
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
            // Said twice in a printed chain, but never missing where only the error itself is printed.
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(_) => f.write_str("the call failed"),
        }
    }
}

// Not recommended: the compiler would name this type instead of complaining that what is in a box is not `Sized`.
#[diagnostic::do_not_recommend]
impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(error),
        }
    }
}
