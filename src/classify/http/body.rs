//! The end of the body, where the classifier waits for it.

use std::error::Error as StdError;
use std::time::Duration;

use http::{HeaderMap, Response};
use http_body::Body;

use super::{AtEndOfBody, AtHeaders, HttpClassifier};
use crate::classify::{BodyClassifier, outcome_of};
use crate::error::BoxError;
use crate::outcome::Outcome;

/// An error of a body that can be looked into: every `std::error::Error`, and [`BoxError`], which is none.
///
/// `M` keeps the two apart, and is inferred. Nobody needs to implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a `std::error::Error` nor a `BoxError`, so that a timeout in it would not be recognised",
    note = "give the body errors that are, below the breaker: `.map_response(|r| r.map(axum::body::Body::new))`, or http-body-util's `map_err`"
)]
pub trait BodyError<M> {
    /// Returns the error to be looked into.
    fn as_error(&self) -> &(dyn StdError + 'static);
}

/// Says of a [`BodyError`] that it is a `std::error::Error`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PlainBodyError;

/// Says of a [`BodyError`] that it is a [`BoxError`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BoxedBodyError;

// Not recommended, so that the compiler shows the message above.
#[diagnostic::do_not_recommend]
impl<E: StdError + 'static> BodyError<PlainBodyError> for E {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        self
    }
}

impl BodyError<BoxedBodyError> for BoxError {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        self.as_ref()
    }
}

/// Nothing is left open at the headers, and so nothing is asked of the body's errors.
impl<Req, B: Body, Err: 'static> BodyClassifier<Req, B, Err> for HttpClassifier<AtHeaders> {
    fn head(&self, (): &mut (), response: &Response<B>, _: Duration) -> Option<Outcome> {
        Some(self.judge(response))
    }

    fn end(&self, (): (), _: Option<&HeaderMap>, _: Duration) -> Outcome {
        Outcome::Success
    }

    fn body_error(&self, (): (), _: &B::Error, _: Duration) -> Outcome {
        Outcome::failure()
    }
}

impl<M, Req, B, Err: 'static> BodyClassifier<Req, B, Err> for HttpClassifier<AtEndOfBody<M>>
where
    B: Body,
    B::Error: BodyError<M>,
{
    fn head(&self, (): &mut (), response: &Response<B>, _: Duration) -> Option<Outcome> {
        match self.judge(response) {
            Outcome::Success => None,
            decided @ (Outcome::Failure(_) | Outcome::Ignored) => Some(decided),
        }
    }

    /// Only a response whose headers were well is still open at its end.
    fn end(&self, (): (), _: Option<&HeaderMap>, _: Duration) -> Outcome {
        Outcome::Success
    }

    fn body_error(&self, (): (), error: &B::Error, _: Duration) -> Outcome {
        outcome_of(error.as_error())
    }
}
