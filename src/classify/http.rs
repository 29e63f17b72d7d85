//! The classifier of HTTP responses, which judges a response by its status code.
//!
//! The status shows which side is at fault. A 4xx comes from a service that works, and a 5xx comes from a service that
//! fails. The exceptions are 408, 429 and 504. 408 and 504 report a timeout, and 429 reports too many calls. Each of
//! the three weighs half as much as a hard failure. The classifier passes a `Retry-After` to the circuit, shortened to
//! at most 5 minutes.

mod body;
pub(super) mod not_processed;
pub(super) mod retry_after;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Response, StatusCode};

use super::Classifier;
use super::timeout::{as_error, not_ready, opaque, outcome_of, text_of_any};
use crate::error::Rejected;
use crate::outcome::{Failure, FailureKind, Outcome, Weight};
pub use body::{BodyError, BoxedBodyError, PlainBodyError};
use retry_after::{after_delay, retry_after};

/// Judges HTTP responses by their status. For the handlers of a server, use [`for_handlers`](Self::for_handlers).
///
/// | response | outcome |
/// |---|---|
/// | 408, 504 | a timeout with weight 0.5 and kind `timeout` |
/// | other 5xx | a hard failure with weight 1.0 and kind `http_500`, `http_502`, `http_503`, or `http_5xx` |
/// | 429 | weight 0.5, kind `http_429` |
/// | other 4xx, and every lower status | a success of the service |
/// | the rejection of an inner breaker, with [`Rejected`] in the extensions of the response | ignored |
/// | HTTP/2 `REFUSED_STREAM`, or GOAWAY before the request was processed, in a boxed error | weight 0.5, kind `not_processed` |
/// | any other error instead of a response | the outcome of [`outcome_of`](super::outcome_of): a timeout with weight 0.5; ignored if this process refused the call or the caller is the cause; otherwise a hard failure with weight 1.0 and kind `connect`, `dns`, `tls`, `reset`, `body` or `error` |
///
/// [`status`](Self::status) sets another outcome for a status.
///
/// A 429 comes from a service that works and wants fewer calls. Therefore a 429 weighs half. By the default rules the
/// circuit opens if 80 % of the calls end in 429, or if ten calls in a row end in 429 while the window has fewer than
/// 20 calls. If the service throttles fewer calls, the circuit stays closed, because the service answers the other
/// calls. Make 429 a success if the status concerns the quota of a single caller, as in a rate limit inside your own
/// server. Otherwise the circuit would reject other callers because of that quota.
///
/// The `Retry-After` ([RFC 9110, 10.2.3]) of a failed response becomes the
/// [`retry_after`](Failure::retry_after) of the failure. If there are several values, the longest value
/// counts. The limit is 5 minutes. A date is compared with the `Date` of the same response, so that the
/// clocks of server and client may differ. Without a `Date`, the wall clock of this machine is used. A date
/// in the past and a malformed value are ignored. With [`trips_on_retry_after`](Self::trips_on_retry_after), a
/// 429 or 503 with a `Retry-After` opens the circuit at once.
///
/// The classifier allocates nothing. The feature `metrics` allocates for each failure of a kind such as `http_503`, in
/// order to look up the counter of that kind.
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
    /// The outcomes that [`status`](HttpClassifier::status) changed, or `None` if no outcome was changed. Each call
    /// clones the classifier, and a clone of `None` updates no reference count.
    overrides: Option<Arc<[(StatusCode, Outcome)]>>,
    /// True if the classifier judges the handlers of a server.
    of_handlers: bool,
    /// True if a 429 or 503 with a `Retry-After` opens the circuit at once.
    trips_on_retry_after: bool,
    until: PhantomData<fn() -> U>,
}

/// The marker type of an [`HttpClassifier`] that judges a response at its headers. This is the default.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AtHeaders;

/// The marker type of an [`HttpClassifier`] that judges a response at the end of its body if the headers are
/// a success.
///
/// [`HttpClassifier::until_end_of_body`] sets this type. The compiler infers `M` from the error type of the body. `M`
/// selects between the implementation of [`BodyError`] for errors that implement `std::error::Error` and the
/// implementation for [`BoxError`](crate::BoxError).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AtEndOfBody<M>(PhantomData<fn() -> M>);

impl HttpClassifier {
    /// Returns a classifier that judges at the headers, with the outcomes in the table of [`HttpClassifier`].
    #[must_use]
    pub const fn new() -> Self {
        Self { overrides: None, of_handlers: false, trips_on_retry_after: false, until: PhantomData }
    }

    /// Returns a classifier like [`new`](Self::new), but for a layer around the handlers of a server. A call
    /// that is dropped because its client disconnected never counts.
    ///
    /// In a client, a call that is dropped after [`cancelled_counts_after`] is probably a timeout. In a
    /// server, the caller is often a browser whose user pressed "stop", so the drop says nothing about the
    /// handler. Therefore only a timeout below the breaker, such as the `TimeoutLayer` of tower-http, detects
    /// a handler that hangs.
    ///
    /// ```
    /// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, classify::HttpClassifier, rejection::HttpRejection};
    ///
    /// let circuit = Circuit::new(Config::new("warehouse")?);
    /// let layer = CircuitBreakerLayer::new(&circuit)
    ///     .classifier(HttpClassifier::for_handlers())
    ///     .rejection(HttpRejection::new());
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    ///
    /// [`cancelled_counts_after`]: crate::config::ConfigBuilder::cancelled_counts_after
    #[must_use]
    pub const fn for_handlers() -> Self {
        let mut classifier = Self::new();
        classifier.of_handlers = true;
        classifier
    }

    /// Waits for the end of the body if the headers are a success. Requires a layer with `.tracked_bodies()`.
    /// With any other layer the compiler cannot infer `M` (error E0282).
    ///
    /// An error of the body is judged as if the call had returned that error. For example, a timeout among the sources
    /// of the error weighs half. A normal end is a success. If the headers are a failure or ignored, the body does not
    /// matter. The error type of the body must implement `std::error::Error`, as the error types of axum, hyper, tonic
    /// and reqwest do, or be [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn until_end_of_body<M>(self) -> HttpClassifier<AtEndOfBody<M>> {
        let Self { overrides, of_handlers, trips_on_retry_after, .. } = self;
        HttpClassifier { overrides, of_handlers, trips_on_retry_after, until: PhantomData }
    }
}

impl<U> HttpClassifier<U> {
    /// Sets the outcome of a status. The last setting of a status applies.
    ///
    /// If `outcome` is a failure without a [`retry_after`](Failure::retry_after), the failure takes the `Retry-After`
    /// of the response, if any. This setting makes each call slightly slower, because each call then clones an `Arc`.
    #[must_use]
    pub fn status(self, status: StatusCode, outcome: impl Into<Outcome>) -> Self {
        let others = self.overrides.iter().flat_map(|all| all.iter()).filter(|(other, _)| *other != status);
        let overrides = others.copied().chain([(status, outcome.into())]).collect();
        Self { overrides: Some(overrides), ..self }
    }

    /// Lets a single response open the circuit, if the response has status 429 or 503 and a `Retry-After`.
    ///
    /// Use this setting for a provider that bans clients which continue to call after a 429. The circuit stays open for
    /// the delay in the response, capped at 5 minutes, or for the open duration of the circuit if the open duration is
    /// longer. A late response to a call that was admitted in an earlier state also opens the circuit, or keeps an open
    /// circuit open until the delay has passed. A `Retry-After` of zero, in the past or malformed does not open the
    /// circuit, and neither does a status that [`status`](Self::status) changed to a success or to ignored. A 503 with
    /// `Retry-After` can also come from the `HttpRejection` of a breaker in another process, and then opens this
    /// circuit too.
    ///
    /// This setting is off by default, because the delay may concern only one caller of the service, or only one
    /// instance behind a load balancer. The circuit would then reject calls that the service would answer.
    ///
    /// ```
    /// use tower_circuit_breaker::classify::HttpClassifier;
    ///
    /// let classifier = HttpClassifier::new().trips_on_retry_after();
    /// ```
    #[must_use]
    pub fn trips_on_retry_after(self) -> Self {
        Self { trips_on_retry_after: true, ..self }
    }

    /// Returns true if the classifier was created by [`for_handlers`](Self::for_handlers), so that a dropped call never
    /// counts.
    #[cfg(feature = "reqwest")]
    pub(super) const fn is_for_handlers(&self) -> bool {
        self.of_handlers
    }

    fn judge<B>(&self, response: &Response<B>) -> Outcome {
        self.judge_head(response.status(), response.headers(), response.extensions())
    }

    /// Judges the status, headers and extensions of a response, so that response types other than
    /// `http::Response` can be judged too.
    pub(super) fn judge_head(&self, status: StatusCode, headers: &HeaderMap, extensions: &Extensions) -> Outcome {
        self.judge_head_as(status, by_default(status), headers, extensions)
    }

    /// Judges the head of a response. The outcome is `otherwise`, unless [`status`](Self::status) set an outcome for
    /// the status of the response.
    pub(super) fn judge_head_as(
        &self,
        status: StatusCode,
        otherwise: Outcome,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Outcome {
        // An inner breaker rejected the call, so the response says nothing about the service.
        if extensions.get::<Rejected>().is_some() {
            return Outcome::Ignored;
        }
        let overrides = self.overrides.as_deref().unwrap_or_default();
        let chosen = overrides.iter().find_map(|(other, outcome)| (*other == status).then_some(*outcome));
        let trips = self.trips_on_retry_after
            && matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        after_delay(chosen.unwrap_or(otherwise), trips, || retry_after(headers))
    }
}

/// Returns the text of a failed response. The text contains only the status, because a classifier cannot read the body,
/// and headers are not for people.
pub(super) fn text_of_status(status: StatusCode) -> String {
    format!("status {status}")
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
        // All other 5xx statuses share one label, because each label creates a time series and there are almost 100
        // statuses.
        status if status.is_server_error() => "http_5xx",
        _ => return Outcome::Success,
    };
    Failure::hard().with_kind(FailureKind::Named(kind)).into()
}

impl<U, Req, B, Err: 'static> Classifier<Req, Response<B>, Err> for HttpClassifier<U> {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Response<B>, &Err>, _: Duration) -> Outcome {
        result.map_or_else(judged, |response| self.judge(response))
    }

    fn describe(&self, result: Result<&Response<B>, &Err>) -> Option<String> {
        result.map_or_else(text_of_any, |response| Some(text_of_status(response.status())))
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        not_ready(judged(error))
    }

    fn cancelled_never_counts(&self) -> bool {
        self.of_handlers
    }
}

/// Judges an error of any type. If the classifier does not know the type, the error is a hard failure, and the first
/// such error logs a warning.
fn judged<E: 'static>(error: &E) -> Outcome {
    as_error(error).map_or_else(opaque::<E>, outcome_of)
}

impl Default for HttpClassifier {
    fn default() -> Self {
        Self::new()
    }
}

// Written by hand, because a derive would require `Clone` of the marker type `U`.
impl<U> Clone for HttpClassifier<U> {
    fn clone(&self) -> Self {
        Self { overrides: self.overrides.clone(), until: PhantomData, ..*self }
    }
}
