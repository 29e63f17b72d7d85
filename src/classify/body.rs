//! Judging a response by the end of its body.

use std::time::Duration;

use http::{HeaderMap, Response};
use http_body::Body;

use super::Classifier;
use super::closure::{ErrorClassifier, FnClassifier, ResponseClassifier};
use super::timeout::{DefaultClassifier, outcome_of_any};
use crate::outcome::Outcome;

/// A [`Classifier`] that may wait for the end of the body, for a layer with
/// [`tracked_bodies`](crate::CircuitBreakerLayer::tracked_bodies).
///
/// Of a call whose response came, [`head`](Self::head) is asked first. If that leaves it open, exactly one of
/// [`end`](Self::end), [`body_error`](Self::body_error) and the classifier's [`cancelled`](Classifier::cancelled) and
/// [`panicked`](Classifier::panicked) has the last word. `cancelled` gets, as `elapsed`, how long the next frame had been
/// waited for when the body was dropped: zero if nobody was waiting.
///
/// [`DefaultClassifier`] and the closures wait for the end of every response that they call a success. Then a body that came to
/// its end is a success, and an error of the body is judged as an error of the call is by default: timeouts weigh 0.5, others
/// 1.0.
///
/// # Examples
///
/// A classifier of your own, for a service that says in a trailer how it went, and whose events never end by themselves:
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
    /// Looks at the head of the response: `Some` is the outcome of the call, `None` waits for the end of the body.
    fn head(&self, call: &mut Self::Call, response: &Response<B>, elapsed: Duration) -> Option<Outcome>;

    /// Says what the end of the body meant, with the trailers if there were some.
    ///
    /// A response without content has ended with its head.
    fn end(&self, call: Self::Call, trailers: Option<&HeaderMap>, elapsed: Duration) -> Outcome;

    /// Says what an error of the body meant.
    fn body_error(&self, call: Self::Call, error: &B::Error, elapsed: Duration) -> Outcome;
}

/// Makes classifiers that judge whole responses wait for the end of those that are a success.
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
        }
    )*};
}

wait_for_the_end! {
    DefaultClassifier: <>;
    FnClassifier<F, Response<B>, Err>: <F>;
    ErrorClassifier<F, Err>: <F>;
    ResponseClassifier<F, Response<B>>: <F>;
}
