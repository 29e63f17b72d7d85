//! Result to outcome: what the end of a call meant.
//!
//! A [`Classifier`] sees the request before the call and the result after it. Closures do for most, through
//! [`classify`](crate::CircuitBreakerLayer::classify) and its two shorter forms; [`DefaultClassifier`] needs nothing. Nothing
//! is a success silently: an error that nobody knows is a hard failure.

#[cfg(feature = "http")]
mod body;
mod closure;
#[cfg(feature = "http")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "reqwest")]
mod reqwest;
mod timeout;

use std::time::Duration;

#[cfg(feature = "http")]
pub use self::http::{AtEndOfBody, AtHeaders, BodyError, BoxedBodyError, HttpClassifier, PlainBodyError};
#[cfg(feature = "reqwest")]
pub use self::reqwest::ReqwestClassifier;
use crate::outcome::{Failure, FailureKind, Outcome};
#[cfg(feature = "http")]
pub use body::BodyClassifier;
pub use closure::{ErrorClassifier, FnClassifier, ResponseClassifier};
#[cfg(feature = "http")]
pub use grpc::{GrpcClassifier, GrpcCode};
#[cfg(feature = "http")]
pub(crate) use grpc::{is_grpc_message, is_grpc_web};
pub use timeout::{DefaultClassifier, outcome_of};

/// Decides what the end of a call meant.
///
/// # Examples
///
/// A classifier of your own may remember something of the request, and ask how long the call took:
///
/// ```
/// use std::time::Duration;
/// use tower_circuit_breaker::{Outcome, classify::Classifier};
///
/// #[derive(Clone)]
/// struct WithinItsBudget;
///
/// struct Request {
///     budget: Duration,
/// }
///
/// impl<Res, Err> Classifier<Request, Res, Err> for WithinItsBudget {
///     const NEEDS_ELAPSED: bool = true;
///     type Call = Duration;
///
///     fn start(&self, request: &Request) -> Duration {
///         request.budget
///     }
///
///     fn finish(&self, budget: Duration, result: Result<&Res, &Err>, elapsed: Duration) -> Outcome {
///         match result {
///             Ok(_) if elapsed > budget => Outcome::timeout(),
///             Ok(_) => Outcome::Success,
///             Err(_) => Outcome::failure(),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a call that takes `{Req}` and gives `Result<{Res}, {Err}>`",
    label = "this classifier does not fit the service inside the circuit breaker",
    note = "the wrapped service gives `Result<{Res}, {Err}>`: a layer below the breaker, such as `timeout`, may have changed the error to `BoxError`",
    note = "write the closure's types out: `.classify(|r: Result<&Response, &Error>| ..)`"
)]
pub trait Classifier<Req, Res, Err> {
    /// Whether `finish` looks at `elapsed`. Default: no, and `elapsed` is zero unless something else measures; if so, a call
    /// costs two readings of the precise clock.
    const NEEDS_ELAPSED: bool = false;

    /// What to remember of the request until the call ends. Often `()`.
    type Call;

    /// Looks at the request before the call.
    fn start(&self, request: &Req) -> Self::Call;

    /// Says what the result meant.
    fn finish(&self, call: Self::Call, result: Result<&Res, &Err>, elapsed: Duration) -> Outcome;

    /// Says what an error of the inner service's `poll_ready` meant. Default: a hard failure.
    #[expect(unused_variables, reason = "a name for the documentation")]
    fn ready_error(&self, error: &Err) -> Outcome {
        Outcome::Failure(Failure::hard().with_kind(FailureKind::NotReady))
    }

    /// Says what it meant that the call was dropped, `elapsed` after it first had to wait.
    ///
    /// It is not asked about a call that was dropped before it had to wait, unless the call is measured. Default: `None`, which
    /// leaves it to [`cancelled_counts_after`](crate::config::ConfigBuilder::cancelled_counts_after).
    #[expect(unused_variables, reason = "names for the documentation")]
    fn cancelled(&self, call: Self::Call, elapsed: Duration) -> Option<Outcome> {
        None
    }

    /// Says what it meant that the call panicked. Default: a hard failure.
    #[expect(unused_variables, reason = "a name for the documentation")]
    fn panicked(&self, call: Self::Call) -> Outcome {
        Outcome::Failure(Failure::hard().with_kind(FailureKind::Panicked))
    }
}
