//! The default classification: every error is a hard failure, but a timeout weighs half and a refusal of ours nothing.
//!
//! A timeout is known wherever it sits: as the error itself, as a source of it, or wrapped in an `io::Error`, which hides
//! what it wraps from `source`.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use super::Classifier;
use crate::error::{BoxError, Error, Rejected};
use crate::outcome::{FailureKind, Outcome};

/// The classifier of a layer that was given none: every response is a success, errors are judged by [`outcome_of`].
///
/// It looks inside `BoxError`, `io::Error` and the timeouts of tower and tokio. An error type of your own is a hard failure
/// as a whole, and so is the [`Error`](crate::Error) of a breaker inside that wraps one; to have its sources judged, say so:
/// `.classify_error(|e: &MyError| outcome_of(e))`.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct DefaultClassifier;

impl<Req, Res, Err: 'static> Classifier<Req, Res, Err> for DefaultClassifier {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        result.map_or_else(outcome_of_any, |_| Outcome::Success)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        readiness_outcome_of_any(error)
    }
}

/// Judges an error by itself and its sources, the first that is known decides.
///
/// A timeout of std (`io::ErrorKind::TimedOut`), tower or tokio weighs 0.5. [`Rejected`] and tower's `Overloaded` are
/// ignored: they were refusals on this side, the service never saw the call. Everything else is a hard failure.
///
/// ```
/// use std::io;
/// use tower_circuit_breaker::{Outcome, classify::outcome_of};
///
/// assert_eq!(outcome_of(&io::Error::from(io::ErrorKind::TimedOut)), Outcome::timeout());
/// assert_eq!(outcome_of(&io::Error::from(io::ErrorKind::ConnectionRefused)), Outcome::failure());
/// ```
#[must_use]
pub fn outcome_of(error: &(dyn StdError + 'static)) -> Outcome {
    known(error).unwrap_or(Outcome::failure())
}

/// Judges an error whose type may not even be an error, such as `BoxError` and `()`.
pub(super) fn outcome_of_any<E: 'static>(error: &E) -> Outcome {
    let error: &dyn Any = error;
    if let Some(boxed) = error.downcast_ref::<BoxError>() {
        return outcome_of(boxed.as_ref());
    }
    if let Some(Error::Inner(boxed)) = error.downcast_ref::<Error<BoxError>>() {
        return outcome_of(boxed.as_ref());
    }
    first(
        error,
        &[
            as_error::<io::Error>,
            as_error::<tower::timeout::error::Elapsed>,
            as_error::<tokio::time::error::Elapsed>,
            as_error::<tower::load_shed::error::Overloaded>,
            as_error::<Rejected>,
            as_error::<Error<io::Error>>,
            as_error::<Error<Infallible>>,
        ],
    )
    .or_else(|| error.downcast_ref().and_then(Error::<BoxError>::rejected).map(|_| Outcome::Ignored))
    .unwrap_or(Outcome::failure())
}

/// Judges an error of `poll_ready`: one that is not known by itself says that the service was not ready.
pub(super) fn readiness_outcome_of_any<E: 'static>(error: &E) -> Outcome {
    not_ready(outcome_of_any(error))
}

/// Says of a failure that is known for nothing else that the service was not ready.
pub(super) fn not_ready(outcome: Outcome) -> Outcome {
    match outcome.as_failure() {
        Some(failure) if failure.kind() == FailureKind::Error => failure.with_kind(FailureKind::NotReady).into(),
        Some(_) | None => outcome,
    }
}

type AsError = fn(&dyn Any) -> Option<&(dyn StdError + 'static)>;

fn as_error<E: StdError + 'static>(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    let error: &(dyn StdError + 'static) = error.downcast_ref::<E>()?;
    Some(error)
}

fn first(error: &dyn Any, types: &[AsError]) -> Option<Outcome> {
    types.iter().find_map(|as_error| as_error(error)).map(outcome_of)
}

pub(super) fn known(error: &(dyn StdError + 'static)) -> Option<Outcome> {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Rejected>() || error.is::<tower::load_shed::error::Overloaded>() {
            return Some(Outcome::Ignored);
        }
        if error.is::<tower::timeout::error::Elapsed>() || error.is::<tokio::time::error::Elapsed>() {
            return Some(Outcome::timeout());
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if error.kind() == io::ErrorKind::TimedOut {
                return Some(Outcome::timeout());
            }
            if let Some(outcome) = error.get_ref().and_then(|wrapped| known(wrapped)) {
                return Some(outcome);
            }
        }
        next = error.source();
    }
    None
}
