//! The errors of calls through a circuit. An error is a rejection by the circuit, the end of a time limit, or the
//! error of the service.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub use crate::circuit::Rejected;
use crate::state::Brief;

/// The boxed error type of `tower`'s own middleware. A circuit breaker also returns this type by default.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The error of a call through a circuit with typed errors, which is a rejection or the error of the service.
///
/// `Display` prints the rejection or the error of the service, so each log line has the cause.
/// [`source`](StdError::source) returns the same error. Therefore a printed chain of sources contains the sentence of
/// that error twice.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "a call was made or it was not")]
pub enum Error<E> {
    /// The circuit did not let the call through. If the call was retried, earlier attempts may have reached the
    /// service.
    Rejected(Rejected),
    /// The call was made, and failed with this error.
    Inner(E),
}

impl<E> Error<E> {
    /// Returns the rejection, or `None` if the error is from the service.
    #[must_use]
    pub const fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }

    /// Returns the error of the service, or `None` if the call was rejected.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }

    /// Turns the error into an error type of your own, which implements `From` for a rejection and `From`
    /// for the error of the service.
    ///
    /// ```
    /// use tower_circuit_breaker::{Error, Rejected};
    ///
    /// # #[derive(Debug)]
    /// enum ClientError {
    ///     Unavailable(Rejected),
    ///     Io(std::io::Error),
    /// }
    /// # impl From<Rejected> for ClientError { fn from(error: Rejected) -> Self { Self::Unavailable(error) } }
    /// # impl From<std::io::Error> for ClientError { fn from(error: std::io::Error) -> Self { Self::Io(error) } }
    ///
    /// impl From<Error<std::io::Error>> for ClientError {
    ///     fn from(error: Error<std::io::Error>) -> Self {
    ///         error.merge()
    ///     }
    /// }
    /// ```
    ///
    /// Without the `From` of this example, write `circuit.call(..).await.map_err(Error::merge::<ClientError>)?`.
    #[must_use]
    pub fn merge<T>(self) -> T
    where
        T: From<Rejected> + From<E>,
    {
        match self {
            Self::Rejected(rejected) => rejected.into(),
            Self::Inner(error) => error.into(),
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

// With this attribute, if `?` cannot convert an `Error<BoxError>`, the message of the compiler says that this type is
// no `std::error::Error`. Without the attribute, the message would say that the content of a box is not `Sized`.
#[diagnostic::do_not_recommend]
impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(error),
        }
    }
}

/// The error of a call with a time limit. The call was rejected, was too slow, or failed by itself.
///
/// `Display` prints the error of the variant, so each log line has the cause.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "a call was made or not, and ended in time or not")]
pub enum WithinError<E> {
    /// The circuit did not let the call through.
    Rejected(Rejected),
    /// The call was made, and did not end within its time limit.
    Elapsed(Elapsed),
    /// The call was made, and failed with this error.
    Inner(E),
}

impl<E> WithinError<E> {
    /// Returns the rejection, or `None` if the call was not rejected.
    #[must_use]
    pub const fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Elapsed(_) | Self::Inner(_) => None,
        }
    }

    /// Returns the error of the service, or `None` if the call was rejected or too slow.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) | Self::Elapsed(_) => None,
            Self::Inner(error) => Some(error),
        }
    }

    /// Turns the error into an error type of your own, which implements `From` for each of the three
    /// errors inside.
    ///
    /// ```
    /// use tower_circuit_breaker::{Rejected, WithinError, call::Elapsed};
    ///
    /// # #[derive(Debug)]
    /// enum ClientError {
    ///     Unavailable(Rejected),
    ///     TooSlow(Elapsed),
    ///     Io(std::io::Error),
    /// }
    /// # impl From<Rejected> for ClientError { fn from(error: Rejected) -> Self { Self::Unavailable(error) } }
    /// # impl From<std::io::Error> for ClientError { fn from(error: std::io::Error) -> Self { Self::Io(error) } }
    /// # impl From<Elapsed> for ClientError { fn from(error: Elapsed) -> Self { Self::TooSlow(error) } }
    ///
    /// impl From<WithinError<std::io::Error>> for ClientError {
    ///     fn from(error: WithinError<std::io::Error>) -> Self {
    ///         error.merge()
    ///     }
    /// }
    /// ```
    ///
    /// Without the `From` of this example, write `.await.map_err(WithinError::merge::<ClientError>)?`.
    #[must_use]
    pub fn merge<T>(self) -> T
    where
        T: From<Rejected> + From<Elapsed> + From<E>,
    {
        match self {
            Self::Rejected(rejected) => rejected.into(),
            Self::Elapsed(elapsed) => elapsed.into(),
            Self::Inner(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for WithinError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Elapsed(elapsed) => elapsed.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for WithinError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Elapsed(elapsed) => Some(elapsed),
            Self::Inner(error) => Some(error),
        }
    }
}

/// The error of a call that did not end within its time limit. An outer breaker counts this error as a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed {
    limit: Duration,
}

impl Elapsed {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self { limit }
    }

    /// Returns the limit of the call.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the call did not end within {}", Brief(self.limit))
    }
}

impl StdError for Elapsed {}
