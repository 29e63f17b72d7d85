//! [`HttpClassifier`] as a [`BodyClassifier`], with and without a wait for the end of the body.

use std::error::Error as StdError;
use std::time::Duration;

use http::{HeaderMap, Response};
use http_body::Body;

use super::super::timeout::outcome_of;
use super::{AtEndOfBody, AtHeaders, HttpClassifier};
use crate::classify::BodyClassifier;
use crate::classify::cause::text_of;
use crate::error::BoxError;
use crate::outcome::Outcome;

/// The trait of body errors that can be read as a `dyn Error`. By this trait, the classifier finds a timeout among the
/// sources of the error.
///
/// The trait is implemented for every `std::error::Error`, and separately for [`BoxError`], which does not implement
/// `Error`. The marker type `M` keeps the two implementations apart, and the compiler infers `M`. You need not
/// implement this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a `std::error::Error` nor a `BoxError`, so that a timeout in it would not be recognised",
    note = "give the body errors that are, below the breaker: `.map_response(|r| r.map(axum::body::Body::new))`, or http-body-util's `map_err`"
)]
pub trait BodyError<M> {
    /// Returns the error as a `dyn Error`.
    fn as_error(&self) -> &(dyn StdError + 'static);
}

/// The marker type of [`BodyError`] for errors that implement `std::error::Error`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PlainBodyError;

/// The marker type of [`BodyError`] for [`BoxError`], which does not implement `std::error::Error`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BoxedBodyError;

// Without this attribute the compiler recommends this implementation and does not print the message of the
// trait above.
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

/// This classifier judges only the headers, so the body may have any error type.
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

    /// A normal end is a success, because the classifier waits for the end of the body only after successful headers.
    fn end(&self, (): (), _: Option<&HeaderMap>, _: Duration) -> Outcome {
        Outcome::Success
    }

    fn body_error(&self, (): (), error: &B::Error, _: Duration) -> Outcome {
        outcome_of(error.as_error())
    }

    fn describe_body_error(&self, error: &B::Error) -> Option<String> {
        Some(text_of(error.as_error()))
    }
}
