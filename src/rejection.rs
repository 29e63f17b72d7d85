//! Rejections, which answer rejected calls with a boxed error, a typed error or a response.
//!
//! [`BoxedErrors`] is the default, because every other layer of tower accepts boxed errors. [`TypedErrors`] allocates
//! nothing and gives callers an enum to match on. [`Respond`] and the rejections for HTTP, gRPC and reqwest answer with
//! a response. These rejections are for stacks whose error type cannot change.
//!
//! The circuit decides which calls are rejected. A [`Rejection`] decides only the form of the answer.

mod errors_as;
mod fallback;
#[cfg(feature = "http")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "http")]
mod sentence;

use std::fmt;

#[cfg(feature = "http")]
pub use self::http::{HeadersOnly, HttpRejection};
#[cfg(feature = "reqwest")]
pub use self::reqwest::ReqwestRejection;
use crate::error::{BoxError, Error, Rejected};
pub use errors_as::ErrorsAs;
pub use fallback::Fallback;
#[cfg(feature = "http")]
pub use grpc::GrpcRejection;

/// Creates the answer to a rejected call, and converts the errors of the service into the error type of the breaker.
///
/// # Examples
///
/// A rejection that answers with your own error type:
///
/// ```
/// use std::io;
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Rejected, rejection::Rejection};
///
/// enum OrderError {
///     TryLater(Rejected),
///     Io(io::Error),
/// }
///
/// #[derive(Clone)]
/// struct AsOrderError;
///
/// impl<Req, Res> Rejection<Req, Res, io::Error> for AsOrderError {
///     type Error = OrderError;
///
///     fn reject(&self, rejected: Rejected, _: Req) -> Result<Res, OrderError> {
///         Err(OrderError::TryLater(rejected))
///     }
///
///     fn map_err(error: io::Error) -> OrderError {
///         OrderError::Io(error)
///     }
/// }
///
/// let circuit = Circuit::new(Config::new("orders")?);
/// let layer = CircuitBreakerLayer::new(&circuit).rejection(AsOrderError);
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot reject calls of a service that gives `Result<{Res}, {E}>`",
    note = "`BoxedErrors` needs an error that is `Into<BoxError>`; otherwise use `.typed_errors()` or `.respond_with(..)`",
    note = "`HttpRejection` needs an HTTP request, and a response whose body is `From<String>`, or `Default` with `.headers_only()`: make the body below the breaker one that is, as in `.map_response(|r| r.map(axum::body::Body::new))`"
)]
pub trait Rejection<Req, Res, E> {
    /// The error type of the breaker, which its callers see.
    type Error;

    /// Answers a rejected call. The inner service has not seen the request.
    ///
    /// # Errors
    ///
    /// An error of the type [`Error`](Self::Error), if the answer is an error instead of a response.
    fn reject(&self, rejected: Rejected, request: Req) -> Result<Res, Self::Error>;

    /// Converts an error of the inner service into the error type of the breaker.
    fn map_err(error: E) -> Self::Error;
}

/// Converts rejections and the errors of the service into a [`BoxError`], like the middleware of tower. This type is
/// the default.
///
/// The text of the error is the whole sentence of [`Rejected`]. The sentence contains the trip rule with its numbers,
/// or the user and the reason of a hold. If strangers can call the server, use `HttpRejection` or `GrpcRejection`,
/// which disclose less.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct BoxedErrors;

impl BoxedErrors {
    /// Creates the rejection. A layer uses this rejection by default, so most code does not need this function.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

// Without this attribute the compiler does not print the message of the trait. Instead, the compiler asks for an error
// that implements `std::error::Error`.
#[diagnostic::do_not_recommend]
impl<Req, Res, E: Into<BoxError>> Rejection<Req, Res, E> for BoxedErrors {
    type Error = BoxError;

    fn reject(&self, rejected: Rejected, _: Req) -> Result<Res, BoxError> {
        Err(rejected.into())
    }

    fn map_err(error: E) -> BoxError {
        error.into()
    }
}

/// Converts rejections and the errors of the service into an [`Error`], on which callers can match. The conversion
/// allocates nothing.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TypedErrors;

impl TypedErrors {
    /// Creates the rejection. `.typed_errors()` sets this rejection on a layer, so most code does not need this
    /// function.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<Req, Res, E> Rejection<Req, Res, E> for TypedErrors {
    type Error = Error<E>;

    fn reject(&self, rejected: Rejected, _: Req) -> Result<Res, Error<E>> {
        Err(Error::Rejected(rejected))
    }

    fn map_err(error: E) -> Error<E> {
        Error::Inner(error)
    }
}

/// Answers with a response that a closure creates. The errors of the service stay unchanged.
#[derive(Clone, Copy)]
pub struct Respond<F>(F);

impl<F> Respond<F> {
    pub(crate) const fn new(respond: F) -> Self {
        Self(respond)
    }
}

impl<F: Fn(Rejected) -> Res, Req, Res, E> Rejection<Req, Res, E> for Respond<F> {
    type Error = E;

    fn reject(&self, rejected: Rejected, _: Req) -> Result<Res, E> {
        Ok((self.0)(rejected))
    }

    fn map_err(error: E) -> E {
        error
    }
}

#[cfg(feature = "http")]
impl Rejected {
    /// Finds the rejection in the extensions of a response. `HttpRejection`, `GrpcRejection` and
    /// `ReqwestRejection` add the rejection to the extensions.
    ///
    /// ```
    /// use tower_circuit_breaker::Rejected;
    ///
    /// fn is_from_the_service(response: &http::Response<String>) -> bool {
    ///     Rejected::find_in(response.extensions()).is_none()
    /// }
    /// ```
    #[must_use]
    pub fn find_in(extensions: &::http::Extensions) -> Option<&Self> {
        extensions.get()
    }
}

impl<F> fmt::Debug for Respond<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond").finish_non_exhaustive()
    }
}
