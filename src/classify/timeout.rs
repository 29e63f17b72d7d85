//! The default classifier, which judges an error by the type of the error and by the types of its sources. A timeout
//! has [`Weight::TIMEOUT`](crate::Weight::TIMEOUT), and a refusal in this process is ignored. The classifier of a known
//! client judges the error of that client. Every other error is a hard failure, and the module `cause` decides the kind
//! of the failure.
//!
//! A timeout is recognised as the error itself and among the sources of the error. A timeout inside an
//! `io::Error` is recognised too, although the `source` of an `io::Error` skips the wrapped error.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use super::Classifier;
use super::cause::{hard, is_of_caller, text_of};
use crate::error::{BoxError, Elapsed, Error, Rejected, WithinError};
use crate::outcome::{FailureKind, Outcome};
use crate::sources::chain;
#[cfg(any(feature = "tonic", feature = "reqwest"))]
use crate::sources::find;
#[cfg(feature = "http")]
use crate::sync::{AtomicBool, Relaxed};

/// The classifier of a layer for which no classifier is set. Every response is a success, and [`outcome_of`]
/// judges errors.
///
/// The error may be a `BoxError`, an `io::Error`, a timeout of tower or tokio, tower's `Overloaded`, or [`Rejected`] or
/// [`Elapsed`] of this crate. With the feature `reqwest`, the error may be a `reqwest::Error`, and with the feature
/// `tonic` a `tonic::Status` or a `tonic::transport::Error`. A `BoxError`, an `io::Error` and the errors of reqwest and
/// tonic may also be inside an [`Error`](crate::Error) or a [`WithinError`]. An error of your own type is a hard
/// failure, because this classifier cannot search the sources of that type. Your type inside an [`Error`](crate::Error)
/// of an inner breaker is a hard failure too. To search the sources, use
/// [`StdErrorClassifier`](super::StdErrorClassifier), which also puts the text of the error into the reason of an
/// opening. This classifier has a text only for the types that this paragraph lists.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct DefaultClassifier;

impl DefaultClassifier {
    /// Returns the classifier. A generic type such as `Client<S, C = DefaultClassifier>` can call this function in its
    /// own `new`.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<Req, Res, Err: 'static> Classifier<Req, Res, Err> for DefaultClassifier {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        result.map_or_else(outcome_of_any, |_| Outcome::Success)
    }

    fn describe(&self, result: Result<&Res, &Err>) -> Option<String> {
        result.err().and_then(text_of_any)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        readiness_outcome_of_any(error)
    }
}

/// Judges an error and its sources by this table. The first three rows have priority over the other rows. If several
/// errors in the chain match one of these three rows, the outermost of these errors decides. If no error matches the
/// first three rows, the first of the other rows that matches an error decides:
///
/// | the error or a source | outcome |
/// |---|---|
/// | a timeout of std (`io::ErrorKind::TimedOut`), tower, tokio or this crate ([`Elapsed`]) | a timeout, weight 0.5 |
/// | [`Rejected`], tower's `Overloaded` | ignored, because this process refused the call |
/// | the body of the request failed while hyper sent it, or hyper refused to send the request (recognised by the text of hyper's error) | ignored, because the caller is the cause |
/// | with the feature `http`: HTTP/2 `REFUSED_STREAM`, or GOAWAY before the request was processed | weight 0.5, kind `not_processed` |
/// | with the feature `tonic`: a `tonic::Status` | the outcome of `GrpcClassifier::of` |
/// | with the feature `reqwest`: a `reqwest::Error` | the outcome of `ReqwestClassifier::error` |
/// | every other error | a hard failure |
///
/// The kind of a hard failure is [`Connect`](FailureKind::Connect), [`Dns`](FailureKind::Dns),
/// [`Tls`](FailureKind::Tls), [`Reset`](FailureKind::Reset) or [`Body`](FailureKind::Body) if a source shows that kind,
/// and otherwise [`Error`](FailureKind::Error).
///
/// ```
/// use std::io;
/// use tower_circuit_breaker::{Failure, Outcome, classify::outcome_of, outcome::FailureKind};
///
/// assert_eq!(outcome_of(&io::Error::from(io::ErrorKind::TimedOut)), Outcome::timeout());
/// let refused = Failure::hard().with_kind(FailureKind::Connect);
/// assert_eq!(outcome_of(&io::Error::from(io::ErrorKind::ConnectionRefused)), refused.into());
/// ```
#[must_use]
pub fn outcome_of(error: &(dyn StdError + 'static)) -> Outcome {
    known(error).or_else(|| of_client(error)).unwrap_or_else(|| hard(error).into())
}

/// Returns the outcome of an error of a known client or of HTTP/2, or `None` if neither the error nor a source is such
/// an error.
fn of_client(error: &(dyn StdError + 'static)) -> Option<Outcome> {
    #[cfg(feature = "http")]
    if let Some(outcome) = super::http::not_processed::not_processed(error) {
        return Some(outcome);
    }
    #[cfg(feature = "tonic")]
    if let Some(status) = find(error) {
        return Some(super::GrpcClassifier::of(status));
    }
    #[cfg(feature = "reqwest")]
    if let Some(error) = find(error) {
        return Some(super::ReqwestClassifier::new().reqwest_error(None, error));
    }
    #[cfg(not(feature = "http"))]
    let _unused = error;
    None
}

/// Judges an error of any type. `E` has no bound `Error`, because `BoxError` and `()` do not implement
/// `Error`.
pub(super) fn outcome_of_any<E: 'static>(error: &E) -> Outcome {
    as_error(error).map_or(Outcome::failure(), outcome_of)
}

/// Returns a hard failure for an error whose type is unknown, for classifiers that promise to judge each error by its
/// sources. A timeout in an unknown type weighs as much as any other error, and the mistakes of callers count against
/// the service. Therefore the first such error of a process logs a warning.
#[cfg(feature = "http")]
pub(super) fn opaque<E>() -> Outcome {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    // Relaxed: the flag guards no other data.
    if !LOGGED.swap(true, Relaxed) {
        let error = std::any::type_name::<E>();
        crate::telemetry::warn(&format!(
            "the classifier of a circuit breaker cannot look into the error type `{error}`, so that each of its errors \
             is a hard failure; use `StdErrorClassifier`, or map the error to `BoxError` below the breaker"
        ));
    }
    Outcome::failure()
}

/// Returns the text of an error of any type, or `None` if [`as_error`] does not know the type.
pub(super) fn text_of_any<E: 'static>(error: &E) -> Option<String> {
    as_error(error).map(text_of)
}

/// Returns the error as `dyn Error`, or `None` if `E` is neither `BoxError` nor a type that [`DefaultClassifier`]
/// knows.
pub(super) fn as_error<E: 'static>(error: &E) -> Option<&(dyn StdError + 'static)> {
    let any: &dyn Any = error;
    if let Some(boxed) = any.downcast_ref::<BoxError>() {
        return Some(boxed.as_ref());
    }
    match any.downcast_ref::<Error<BoxError>>() {
        Some(Error::Inner(boxed)) => return Some(boxed.as_ref()),
        Some(Error::Rejected(rejected)) => return Some(rejected),
        None => {}
    }
    match any.downcast_ref::<WithinError<BoxError>>() {
        Some(WithinError::Inner(boxed)) => return Some(boxed.as_ref()),
        Some(WithinError::Rejected(rejected)) => return Some(rejected),
        Some(WithinError::Elapsed(elapsed)) => return Some(elapsed),
        None => {}
    }
    let wrapped = [
        wrapped::<io::Error>(),
        #[cfg(feature = "reqwest")]
        wrapped::<reqwest::Error>(),
        #[cfg(feature = "tonic")]
        wrapped::<tonic::Status>(),
        #[cfg(feature = "tonic")]
        wrapped::<tonic::transport::Error>(),
    ];
    let types: [AsError; 6] = [
        as_dyn::<tower::timeout::error::Elapsed>,
        as_dyn::<tokio::time::error::Elapsed>,
        as_dyn::<tower::load_shed::error::Overloaded>,
        as_dyn::<Rejected>,
        as_dyn::<Elapsed>,
        as_dyn::<Error<Infallible>>,
    ];
    wrapped.as_flattened().iter().chain(&types).find_map(|as_dyn| as_dyn(any))
}

/// Judges an error of `poll_ready`. A failure without a more precise kind gets the kind [`FailureKind::NotReady`].
pub(super) fn readiness_outcome_of_any<E: 'static>(error: &E) -> Outcome {
    not_ready(outcome_of_any(error))
}

/// Replaces the general kind of a failure by [`FailureKind::NotReady`], and keeps a more precise kind.
pub(super) fn not_ready(outcome: Outcome) -> Outcome {
    match outcome.as_failure() {
        Some(failure) if failure.kind() == FailureKind::Error => failure.with_kind(FailureKind::NotReady).into(),
        Some(_) | None => outcome,
    }
}

type AsError = fn(&dyn Any) -> Option<&(dyn StdError + 'static)>;

/// Returns the conversions to `dyn Error` of an `E`, of an [`Error`](crate::Error) with an `E` inside, and of a
/// [`WithinError`] with an `E` inside. Typed layers and calls without tower return errors in these two wrappers.
const fn wrapped<E: StdError + 'static>() -> [AsError; 3] {
    [as_dyn::<E>, as_dyn::<Error<E>>, as_dyn::<WithinError<E>>]
}

fn as_dyn<E: StdError + 'static>(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    let error: &(dyn StdError + 'static) = error.downcast_ref::<E>()?;
    Some(error)
}

/// Returns the outcome of the outermost error in the chain that is a timeout, a refusal or a mistake of the caller.
/// `None` if the chain has no such error.
///
/// In a proxy, the request body can be the response body of another service. A timeout of that body says nothing about
/// the service of this call. hyper wraps the timeout in an error for a failed request body. Therefore the outermost
/// error must decide.
pub(super) fn known(error: &(dyn StdError + 'static)) -> Option<Outcome> {
    chain(error).find_map(known_alone)
}

/// Returns the outcome of one error of a chain, if that error is a timeout, a refusal or a mistake of the caller.
pub(super) fn known_alone(error: &(dyn StdError + 'static)) -> Option<Outcome> {
    let is_timeout = error.is::<tower::timeout::error::Elapsed>()
        || error.is::<tokio::time::error::Elapsed>()
        || error.is::<Elapsed>()
        || error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
    if is_timeout {
        return Some(Outcome::timeout());
    }
    let is_refusal = error.is::<Rejected>() || error.is::<tower::load_shed::error::Overloaded>();
    (is_refusal || is_of_caller(error)).then_some(Outcome::Ignored)
}
