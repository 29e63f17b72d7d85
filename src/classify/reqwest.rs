//! The meaning of reqwest's responses and errors.
//!
//! The errors are the difficult part. The type of reqwest's timeout is private, and only `reqwest::Error::is_timeout`
//! recognises it. Some errors are faults of the caller and not of the service, because a request with an invalid URL,
//! for example, never leaves the process.

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

/// Judges the calls of a `reqwest::Client`, responses by their status and errors by their cause.
/// | result | outcome |
/// |---|---|
/// | a response, or an error of `error_for_status` | that of its status, see [`HttpClassifier`], with `Retry-After` if known |
/// | `is_timeout()`: of the client, of the request, of the connect, between reads | a timeout, weight 0.5 |
/// | a timeout of std, tower or tokio in the sources | a timeout, weight 0.5 |
/// | [`Rejected`](crate::Rejected) in the sources or in a response's extensions, tower's `Overloaded` | ignored: refused on this side |
/// | `is_builder()`: the request is invalid, for example its URL has no host | ignored: the request was never sent |
/// | `is_redirect()`: the redirect policy stopped | ignored: the policy is the caller's |
/// | the body of the request failed while it was sent | ignored: the stream is the caller's |
/// | everything else: refused, reset, no DNS, TLS, an incomplete body, `is_decode()` | a hard failure |
///
/// `is_decode()` is a failure, because reqwest reports an incomplete body with it. A caller who expects the wrong type
/// causes the same error. Ignored is not a success: an ignored call neither closes a half-open circuit nor ends a run
/// of failures.
///
/// The error may be a `reqwest::Error`, a `BoxError`, a [typed error](crate::Error) of a breaker inside, or an
/// `io::Error`. The sources of each of these are searched for reqwest's error. The response may be reqwest's own or an
/// `http::Response`, which `http::Response::<reqwest::Body>::from` makes from reqwest's.
///
/// A plain layer judges a response by its head, and does not notice a body that hangs or breaks off. A layer with
/// `.tracked_bodies()` takes `http::Request`s, and judges a response with a good head at the end of its body. The table
/// applies to the errors of the body too.
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
    /// Returns a classifier with the outcomes of the table above.
    #[must_use]
    pub const fn new() -> Self {
        Self { statuses: HttpClassifier::new() }
    }

    /// Sets the outcome of a status, as [`HttpClassifier::status`] does.
    #[must_use]
    pub fn status(self, status: StatusCode, outcome: impl Into<Outcome>) -> Self {
        Self { statuses: self.statuses.status(status, outcome) }
    }

    /// Judges a response outside tower, as in reqwest-middleware or around
    /// [`Circuit::try_acquire`](crate::Circuit::try_acquire).
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

    /// Judges an error outside tower, see [`response`](Self::response).
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
            // `error_for_status` keeps only the status, so headers and extensions are empty here.
            self.statuses.judge_head(status, &HeaderMap::new(), &Extensions::new())
        } else {
            Outcome::failure()
        }
    }

    /// Judges an error of any type, because `BoxError` and `()` do not implement `Error`.
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

    /// The body is awaited only after a head that is a success, so its normal end is a success.
    fn end(&self, (): (), _: Option<&HeaderMap>, _: Duration) -> Outcome {
        Outcome::Success
    }

    fn body_error(&self, (): (), error: &B::Error, _: Duration) -> Outcome {
        self.any_error(error)
    }
}

/// Searches an error and its sources for reqwest's error.
fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a reqwest::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        // The `source` of an `io::Error` skips the error that it wraps.
        if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return find(wrapped);
        }
        next = error.source();
    }
    None
}

/// Returns true if a request broke off because its own body failed. Below an error of sending, `is_body` is true for no
/// other cause.
fn is_of_the_request_body(error: &reqwest::Error) -> bool {
    error.is_request() && error.source().and_then(find).is_some_and(reqwest::Error::is_body)
}
