//! Classifiers that judge a response by the end of its body or stream.
//!
//! A stream can fail although the head of the response reports a success. Therefore a [`BodyClassifier`] either
//! judges the head, or waits for the end of the body. The [`body`](crate::body) module keeps the permit until
//! the outcome is known, and calls the methods of the classifier.

use std::time::Duration;

use http::{HeaderMap, Response};
use http_body::Body;

use super::Classifier;
use super::closure::{ErrorClassifier, FnClassifier, ResponseClassifier};
use super::timeout::{DefaultClassifier, outcome_of_any, text_of_any};
use crate::outcome::Outcome;

/// A [`Classifier`] that can wait for the end of the body, for a layer with
/// [`tracked_bodies`](crate::CircuitBreakerLayer::tracked_bodies).
///
/// When the response arrives, [`head`](Self::head) is called first. If `head` returns `None`, exactly one of
/// [`end`](Self::end), [`body_error`](Self::body_error), [`cancelled`](Classifier::cancelled) and
/// [`panicked`](Classifier::panicked) is called later and decides the outcome. If the caller drops the body,
/// the `elapsed` of `cancelled` is the time for which the caller had waited for the next frame, or zero if
/// the caller was not waiting. If [`cancelled_never_counts`](Classifier::cancelled_never_counts) is true, the
/// drop of a body calls none of these methods.
///
/// [`DefaultClassifier`] and classifiers made of closures wait for the end of every response whose head is a success. A
/// normal end of the body is then a success. An error of the body is judged as [`DefaultClassifier`] judges an error of
/// the call. For example, a timeout weighs 0.5 and a reset connection 1.0.
///
/// # Examples
///
/// A classifier for a service that reports its result in a trailer, and whose event streams never end by themselves:
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, Response};
/// use http_body::Body;
/// use tower_circuit_breaker::{Outcome, classify::{BodyClassifier, Classifier}};
///
/// #[derive(Clone)]
/// struct ByTrailer;
///
/// impl<Req, Res, Err> Classifier<Req, Res, Err> for ByTrailer {
///     type Call = ();
///
///     fn start(&self, _: &Req) {}
///
///     fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
///         if result.is_ok() { Outcome::Success } else { Outcome::failure() }
///     }
/// }
///
/// impl<Req, B: Body, Err> BodyClassifier<Req, B, Err> for ByTrailer {
///     fn head(&self, (): &mut (), response: &Response<B>, _: Duration) -> Option<Outcome> {
///         let kind = response.headers().get("content-type");
///         kind.is_some_and(|kind| kind == "text/event-stream").then_some(Outcome::Success)
///     }
///
///     fn end(&self, (): (), trailers: Option<&HeaderMap>, _: Duration) -> Outcome {
///         match trailers.and_then(|trailers| trailers.get("result")) {
///             Some(result) if result == "ok" => Outcome::Success,
///             _ => Outcome::failure(),
///         }
///     }
///
///     fn body_error(&self, (): (), _: &B::Error, _: Duration) -> Outcome {
///         Outcome::failure()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge the end of a body",
    note = "a layer with `.tracked_bodies()` needs a classifier that can: `HttpClassifier`, `GrpcClassifier`, or one of your own",
    note = "the default classifier and closures over an `http::Response` can, if the body's error is `'static`"
)]
pub trait BodyClassifier<Req, B: Body, Err>: Classifier<Req, Response<B>, Err> {
    /// Returns the outcome of the call if the head decides the outcome, or `None` to wait for the end of the body.
    fn head(&self, call: &mut Self::Call, response: &Response<B>, elapsed: Duration) -> Option<Outcome>;

    /// Returns the outcome of a call whose body has ended. `trailers` is `None` if the response had no trailers.
    ///
    /// The body of a response without content has ended when the head arrives.
    fn end(&self, call: Self::Call, trailers: Option<&HeaderMap>, elapsed: Duration) -> Outcome;

    /// Returns the outcome of a call whose body failed with `error`.
    fn body_error(&self, call: Self::Call, error: &B::Error, elapsed: Duration) -> Outcome;

    /// Returns a text that explains an error of a body to people, as [`describe`](Classifier::describe) does for a
    /// failed call. Default: `None`.
    #[expect(unused_variables, reason = "a name for the documentation")]
    fn describe_body_error(&self, error: &B::Error) -> Option<String> {
        None
    }
}

/// Implements [`BodyClassifier`] for classifiers that judge a response as a whole. After a head that is a success,
/// the end of the body decides.
macro_rules! wait_for_the_end {
    ($($type:ty: <$($parameter:ident)?>;)*) => {$(
        impl<Req, B, Err, $($parameter)?> BodyClassifier<Req, B, Err> for $type
        where
            B: Body,
            B::Error: 'static,
            Self: Classifier<Req, Response<B>, Err, Call = ()>,
        {
            fn head(&self, (): &mut (), response: &Response<B>, elapsed: Duration) -> Option<Outcome> {
                let outcome = Classifier::<Req, _, Err>::finish(self, (), Ok(response), elapsed);
                (outcome != Outcome::Success).then_some(outcome)
            }

            fn end(&self, (): (), _: Option<&HeaderMap>, _: Duration) -> Outcome {
                Outcome::Success
            }

            fn body_error(&self, (): (), error: &B::Error, _: Duration) -> Outcome {
                outcome_of_any(error)
            }

            fn describe_body_error(&self, error: &B::Error) -> Option<String> {
                text_of_any(error)
            }
        }
    )*};
}

wait_for_the_end! {
    DefaultClassifier: <>;
    FnClassifier<F>: <F>;
    ErrorClassifier<F>: <F>;
    ResponseClassifier<F>: <F>;
}
