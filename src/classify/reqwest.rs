//! What reqwest's responses and errors mean.
//!
//! The difficulty is in the errors. A timeout of reqwest is a private type that only `reqwest::Error::is_timeout` knows; and an
//! error may tell of the caller instead of the service: a URL without a scheme never left the process.

use std::any::Any;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::{Extensions, HeaderMap, Response, StatusCode};
use http_body::Body;

use super::timeout::{not_ready, outcome_of, outcome_of_any};
use super::{BodyClassifier, Classifier, HttpClassifier};
use crate::error::{BoxError, Error};
use crate::outcome::Outcome;

/// Judges the calls of a `reqwest::Client`: responses by their status, errors by what reqwest knows of them.
///
/// | what came | what it means |
/// |---|---|
/// | a response, or an error of `error_for_status` | its status, as [`HttpClassifier`] says, with `Retry-After` if that is there |
/// | `is_timeout()`: of the client, of the request, of the connect, between reads | a timeout, weight 0.5 |
/// | a timeout of std, tower or tokio in the chain | a timeout, weight 0.5 |
/// | [`Rejected`](crate::Rejected) in the chain or in a response's extensions, tower's `Overloaded` | ignored: a refusal on this side |
/// | `is_builder()`: the request could not be made, say its URL has no host | ignored: the service never saw it |
/// | `is_redirect()`: the redirect policy refused to go on | ignored: the policy is the caller's |
/// | the request's own body failed while it was sent | ignored: the caller's stream |
/// | everything else: refused, reset, no DNS, TLS, a body that broke off, `is_decode()` | a hard failure |
///
/// `is_decode()` is a failure although a caller who expects the wrong type causes it too: reqwest says the same of a body that
/// broke off midway. Ignored is not a success: it neither closes a half-open circuit nor ends a run of failures.
///
/// The error may be `reqwest::Error`, `BoxError`, a [`typed error`](crate::Error) of a breaker inside, or an `io::Error`; of any
/// type, the one of reqwest is looked for in its sources. Responses may be reqwest's own, or `http::Response`, which
/// `http::Response::<reqwest::Body>::from` makes of one.
///
/// A response is judged when its head is there, and its body is the caller's affair: one that stalls or breaks off is not seen.
/// In a layer with `.tracked_bodies()`, which takes `http::Request`s, a response that is well so far is judged when its body
/// ends, and an error of the body as the table says.
///
/// # Examples
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, classify::ReqwestClassifier};
///
/// let circuit = Circuit::new(Config::new("payments")?);
/// let client = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new()))
///     .service(reqwest::Client::new());
/// # fn usable<S: tower::Service<reqwest::Request>>(_: S) {} usable(client);
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ReqwestClassifier {
    statuses: HttpClassifier,
}

impl ReqwestClassifier {
    /// Returns a classifier with the meanings of the table above.
    #[must_use]
    pub const fn new() -> Self {
        Self { statuses: HttpClassifier::new() }
    }

    /// Sets what a status means, as [`HttpClassifier::status`] does.
    #[must_use]
    pub fn status(self, status: StatusCode, outcome: impl Into<Outcome>) -> Self {
        Self { statuses: self.statuses.status(status, outcome) }
    }

    /// Judges a result beside tower: for reqwest-middleware, or around [`Circuit::try_acquire`](crate::Circuit::try_acquire).
    ///
    /// ```
    /// # async fn fetch(client: reqwest::Client, circuit: tower_circuit_breaker::Circuit) -> Result<(), tower_circuit_breaker::BoxError> {
    /// use tower_circuit_breaker::classify::ReqwestClassifier;
    ///
    /// let judge = ReqwestClassifier::new();
    /// let permit = circuit.try_acquire()?;
    /// let result = client.get("https://payments.example/").send().await;
    /// permit.record(match &result {
    ///     Ok(response) => judge.response(response),
    ///     Err(error) => judge.error(error),
    /// });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn response(&self, response: &reqwest::Response) -> Outcome {
        self.statuses.judge_head(response.status(), response.headers(), response.extensions())
    }

    /// Judges an error beside tower, see [`response`](Self::response).
    #[must_use]
    pub fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        let outcome = outcome_of(error);
        if outcome != Outcome::failure() {
            return outcome;
        }
        find(error).map_or(outcome, |error| self.reqwest_error(error))
    }

    fn reqwest_error(&self, error: &reqwest::Error) -> Outcome {
        if error.is_timeout() {
            Outcome::timeout()
        } else if error.is_builder() || error.is_redirect() || is_of_the_request_body(error) {
            Outcome::Ignored
        } else if let Some(status) = error.status() {
            // `error_for_status` has dropped the rest.
            self.statuses.judge_head(status, &HeaderMap::new(), &Extensions::new())
        } else {
            Outcome::failure()
        }
    }

    /// Judges an error whose type may not even be an error, such as `BoxError` and `()`.
    fn any_error<E: 'static>(&self, error: &E) -> Outcome {
        let any: &dyn Any = error;
        if let Some(error) = any.downcast_ref::<reqwest::Error>() {
            self.error(error)
        } else if let Some(error) = any.downcast_ref::<BoxError>() {
            self.error(error.as_ref())
        } else if let Some(error) = any.downcast_ref::<io::Error>() {
            self.error(error)
        } else if let Some(error) = any.downcast_ref::<Error<reqwest::Error>>() {
            self.error(error)
        } else if let Some(Error::Inner(error)) = any.downcast_ref::<Error<BoxError>>() {
            self.error(error.as_ref())
        } else {
            outcome_of_any(error)
        }
    }
}

impl<Req, Err: 'static> Classifier<Req, reqwest::Response, Err> for ReqwestClassifier {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&reqwest::Response, &Err>, _: Duration) -> Outcome {
        result.map_or_else(|error| self.any_error(error), |response| self.response(response))
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        not_ready(self.any_error(error))
    }
}

impl<Req, B, Err: 'static> Classifier<Req, Response<B>, Err> for ReqwestClassifier {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Response<B>, &Err>, _: Duration) -> Outcome {
        let judge = |response: &Response<B>| {
            self.statuses.judge_head(response.status(), response.headers(), response.extensions())
        };
        result.map_or_else(|error| self.any_error(error), judge)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        not_ready(self.any_error(error))
    }
}

impl<Req, B, Err: 'static> BodyClassifier<Req, B, Err> for ReqwestClassifier
where
    B: Body,
    B::Error: 'static,
{
    fn head(&self, (): &mut (), response: &Response<B>, _: Duration) -> Option<Outcome> {
        match self.statuses.judge_head(response.status(), response.headers(), response.extensions()) {
            Outcome::Success => None,
            decided @ (Outcome::Failure(_) | Outcome::Ignored) => Some(decided),
        }
    }

    /// Only a response whose head was well is still open at its end.
    fn end(&self, (): (), _: Option<&HeaderMap>, _: Duration) -> Outcome {
        Outcome::Success
    }

    fn body_error(&self, (): (), error: &B::Error, _: Duration) -> Outcome {
        self.any_error(error)
    }
}

/// Looks for reqwest's error in an error and its sources.
fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a reqwest::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        // An `io::Error` hides what it wraps from `source`.
        if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return find(wrapped);
        }
        next = error.source();
    }
    None
}

/// Whether a request broke off because its own body did: below an error of sending, reqwest says `is_body` of nothing else.
fn is_of_the_request_body(error: &reqwest::Error) -> bool {
    error.is_request() && error.source().and_then(find).is_some_and(reqwest::Error::is_body)
}
