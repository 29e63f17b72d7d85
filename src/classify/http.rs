//! What HTTP responses mean.
//!
//! A status says whose fault it was: 4xx are answers of a service that works, 5xx are not. Statuses of timeouts weigh half, like
//! every timeout. A `Retry-After` is passed on to the circuit, within bounds.

mod body;
mod retry_after;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Response, StatusCode};

use super::Classifier;
use super::timeout::{outcome_of_any, readiness_outcome_of_any};
use crate::error::Rejected;
use crate::outcome::{Failure, FailureKind, Outcome, Weight};
pub use body::{BodyError, BoxedBodyError, PlainBodyError};
use retry_after::retry_after;

/// Judges HTTP responses by their status, for servers and clients alike.
///
/// | response | outcome |
/// |---|---|
/// | 408, 504 | a timeout: weight 0.5, kind `timeout` |
/// | other 5xx | a hard failure: weight 1.0, kind `http_500`, `http_502`, `http_503`, or `http_5xx` |
/// | 429 | weight 0.5, kind `http_429` |
/// | other 4xx, and everything below | a success of the service |
/// | what a breaker inside answered, with [`Rejected`] in its extensions | ignored |
/// | an error instead of a response | as [`outcome_of`](super::outcome_of) judges it: 1.0, a timeout 0.5 |
///
/// [`status`](Self::status) changes what a status means. A 429 comes from a service that is alive and wants fewer calls, hence
/// half a failure: by the default rules it takes 80 % of them to open the circuit, while a service that throttles less than
/// that keeps answering the rest. Where 429 is said to one caller about that caller's quota, as by a rate limit inside your
/// own server, make it a success: others should not be rejected for it.
///
/// `Retry-After` ([RFC 9110, 10.2.3]) of a response that failed becomes the failure's
/// [`retry_after`](Failure::retry_after), the longest if there are several, 5 minutes at most. A date is compared with the
/// response's own `Date`, so that the two clocks need not agree, and with the wall clock where there is none; a date that has
/// passed, like anything malformed, says nothing.
///
/// Nothing here allocates. But to the shipped metrics a kind such as `http_503` is a kind like those of users: with the feature
/// `metrics`, each such failure looks its counter up anew, which allocates.
///
/// # Examples
///
/// ```
/// use http::StatusCode;
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Failure, Outcome, classify::HttpClassifier};
///
/// let circuit = Circuit::new(Config::new("search")?);
/// let classifier = HttpClassifier::new()
///     .status(StatusCode::TOO_MANY_REQUESTS, Outcome::Success)
///     .status(StatusCode::NOT_FOUND, Failure::hard()); // from this service it means that a deployment went wrong
/// let layer = CircuitBreakerLayer::new(&circuit).classifier(classifier);
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
///
/// [RFC 9110, 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
#[derive(Debug)]
pub struct HttpClassifier<U = AtHeaders> {
    /// Cloned for each call: nothing to count where nothing is overridden.
    overrides: Option<Arc<[(StatusCode, Outcome)]>>,
    until: PhantomData<fn() -> U>,
}

/// A response is judged when its headers are there. The default of [`HttpClassifier`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AtHeaders;

/// A response that is well so far is judged when its body ends: what
/// [`HttpClassifier::until_end_of_body`] makes. `M` says how an error of the body is looked into, and is inferred.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AtEndOfBody<M>(PhantomData<fn() -> M>);

impl HttpClassifier {
    /// Returns a classifier with the meanings of the table above, which judges at the headers.
    #[must_use]
    pub const fn new() -> Self {
        Self { overrides: None, until: PhantomData }
    }

    /// Waits for the end of the body where the headers are well. For a layer with `.tracked_bodies()`: without it, the compiler
    /// finds nothing to infer `M` from (E0282).
    ///
    /// An error of the body is a hard failure, or half of one if there is a timeout among its sources; the normal end is the
    /// success that the headers promised. Where headers already failed, or are ignored, the body has no say. The errors of the
    /// body must be `std::error::Error`s, as those of axum, hyper, tonic and reqwest are, or [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn until_end_of_body<M>(self) -> HttpClassifier<AtEndOfBody<M>> {
        HttpClassifier { overrides: self.overrides, until: PhantomData }
    }
}

impl<U> HttpClassifier<U> {
    /// Sets what a status means; the last word on a status counts.
    ///
    /// A failure without a [`retry_after`](Failure::retry_after) of its own takes that of the response, if there is one.
    /// A classifier with overrides counts one more reference for each call.
    #[must_use]
    pub fn status(self, status: StatusCode, outcome: impl Into<Outcome>) -> Self {
        let others = self.overrides.iter().flat_map(|all| all.iter()).filter(|(other, _)| *other != status);
        let overrides = others.copied().chain([(status, outcome.into())]).collect();
        Self { overrides: Some(overrides), ..self }
    }

    fn judge<B>(&self, response: &Response<B>) -> Outcome {
        self.judge_head(response.status(), response.headers(), response.extensions())
    }

    /// Judges what is known of a response whose type is not `http`'s.
    pub(super) fn judge_head(&self, status: StatusCode, headers: &HeaderMap, extensions: &Extensions) -> Outcome {
        // A breaker inside answered; the service did not.
        if extensions.get::<Rejected>().is_some() {
            return Outcome::Ignored;
        }
        let overrides = self.overrides.as_deref().unwrap_or_default();
        let chosen = overrides.iter().find_map(|(other, outcome)| (*other == status).then_some(*outcome));
        match chosen.unwrap_or_else(|| by_default(status)) {
            Outcome::Failure(failure) if failure.retry_after().is_none() => match retry_after(headers) {
                Some(after) => failure.with_retry_after(after).into(),
                None => failure.into(),
            },
            outcome @ (Outcome::Success | Outcome::Failure(_) | Outcome::Ignored) => outcome,
        }
    }
}

fn by_default(status: StatusCode) -> Outcome {
    let kind = match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => return Outcome::timeout(),
        StatusCode::TOO_MANY_REQUESTS => {
            return Failure::new(Weight::TIMEOUT).with_kind(FailureKind::Named("http_429")).into();
        }
        StatusCode::INTERNAL_SERVER_ERROR => "http_500",
        StatusCode::BAD_GATEWAY => "http_502",
        StatusCode::SERVICE_UNAVAILABLE => "http_503",
        // One label for the rest: there are a hundred of them.
        status if status.is_server_error() => "http_5xx",
        _ => return Outcome::Success,
    };
    Failure::hard().with_kind(FailureKind::Named(kind)).into()
}

impl<U, Req, B, Err: 'static> Classifier<Req, Response<B>, Err> for HttpClassifier<U> {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Response<B>, &Err>, _: Duration) -> Outcome {
        result.map_or_else(outcome_of_any, |response| self.judge(response))
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        readiness_outcome_of_any(error)
    }
}

impl Default for HttpClassifier {
    fn default() -> Self {
        Self::new()
    }
}

// By hand: a derive would ask `Clone` of `U`, which is only a mark.
impl<U> Clone for HttpClassifier<U> {
    fn clone(&self) -> Self {
        Self { overrides: self.overrides.clone(), until: PhantomData }
    }
}
