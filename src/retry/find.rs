//! The search of a retry policy for a rejection, in the error or in the response of an attempt.

#[cfg(feature = "http")]
use std::any::Any;

use crate::error::{BoxError, Error, Rejected};

/// Finds the rejection in the result of a call.
///
/// Implemented by [`InErrors`], by [`InResponses`] and by each closure `Fn(&Result<Res, E>) -> Option<&Rejected>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot find a rejection in a `Result<{Res}, {E}>`",
    note = "`InErrors`, the default, needs an error that is a `BoxError`, an `Error<E>` or another `MayBeRejected`",
    note = "where rejections are responses, add `.in_responses()`; otherwise `.find_by(|result: &Result<Res, E>| ..)`"
)]
pub trait FindRejected<Res, E> {
    /// Returns the rejection, if the result is a rejection.
    fn find_rejected<'a>(&self, result: &'a Result<Res, E>) -> Option<&'a Rejected>;
}

impl<F, Res, E> FindRejected<Res, E> for F
where
    F: Fn(&Result<Res, E>) -> Option<&Rejected>,
{
    fn find_rejected<'a>(&self, result: &'a Result<Res, E>) -> Option<&'a Rejected> {
        self(result)
    }
}

/// The default search of a retry policy, which searches the error of a call for a rejection.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct InErrors;

// The attribute makes the compiler print the message of `FindRejected`, which names the alternatives.
#[diagnostic::do_not_recommend]
impl<Res, E: MayBeRejected> FindRejected<Res, E> for InErrors {
    fn find_rejected<'a>(&self, result: &'a Result<Res, E>) -> Option<&'a Rejected> {
        result.as_ref().err()?.rejected()
    }
}

/// Searches the extensions of a response, where `HttpRejection` and `GrpcRejection` store the rejection. If the
/// response is an `http::Response`, a boxed error is searched too. In a client of tonic, `GrpcRejection` can answer
/// with a boxed error.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct InResponses;

#[cfg(feature = "http")]
impl<B, E: 'static> FindRejected<http::Response<B>, E> for InResponses {
    fn find_rejected<'a>(&self, result: &'a Result<http::Response<B>, E>) -> Option<&'a Rejected> {
        match result {
            Ok(response) => response.extensions().get(),
            Err(error) => {
                let error: &dyn Any = error;
                Rejected::find(error.downcast_ref::<BoxError>()?.as_ref())
            }
        }
    }
}

#[cfg(feature = "reqwest")]
impl<E> FindRejected<reqwest::Response, E> for InResponses {
    fn find_rejected<'a>(&self, result: &'a Result<reqwest::Response, E>) -> Option<&'a Rejected> {
        result.as_ref().ok()?.extensions().get()
    }
}

/// An error that may be a rejection, itself or through one of its sources.
///
/// ```
/// use tower_circuit_breaker::{Rejected, retry::MayBeRejected};
///
/// enum OrderError {
///     TryLater(Rejected),
///     Broken,
/// }
///
/// impl MayBeRejected for OrderError {
///     fn rejected(&self) -> Option<&Rejected> {
///         match self {
///             Self::TryLater(rejected) => Some(rejected),
///             Self::Broken => None,
///         }
///     }
/// }
/// ```
pub trait MayBeRejected {
    /// Returns the rejection, if the error is a rejection.
    fn rejected(&self) -> Option<&Rejected>;
}

/// Searches the error in the box and its sources.
impl MayBeRejected for BoxError {
    fn rejected(&self) -> Option<&Rejected> {
        Rejected::find(self.as_ref())
    }
}

/// Finds the rejection of the outermost breaker only. To this breaker, the rejections of inner breakers are errors of
/// its service.
impl<E> MayBeRejected for Error<E> {
    fn rejected(&self) -> Option<&Rejected> {
        self.rejected()
    }
}

/// Searches the sources of the error, because the rejection of a breaker around a connector appears only in the
/// sources.
#[cfg(feature = "reqwest")]
impl MayBeRejected for reqwest::Error {
    fn rejected(&self) -> Option<&Rejected> {
        Rejected::find(self)
    }
}

/// Searches the sources of the status. A layer with `GrpcRejection` around the channel makes the rejection a source of
/// the status. Use this implementation for retries around a client that tonic generated.
#[cfg(feature = "tonic")]
impl MayBeRejected for tonic::Status {
    fn rejected(&self) -> Option<&Rejected> {
        Rejected::find(self)
    }
}
