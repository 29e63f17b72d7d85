//! The classifier of reqwest's responses and errors.
//!
//! reqwest needs a classifier of its own. The type of reqwest's timeout is private, and only
//! `reqwest::Error::is_timeout` recognises such a timeout. Some errors of reqwest are faults of the caller and not of
//! the service. For example, a request with an invalid URL never leaves the process.

use std::any::Any;
use std::error::Error as StdError;
use std::time::Duration;

use http::{Extensions, HeaderMap, Response, StatusCode};
use http_body::Body;
use reqwest::Request;

#[cfg(doc)]
use super::StdErrorClassifier;
use super::cause::hard;
use super::http::not_processed::not_processed;
use super::http::text_of_status;
use super::timeout::{as_error, known, not_ready, opaque, text_of_any};
use super::{BodyClassifier, Classifier, HttpClassifier};
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::sources::find;

/// Judges the calls of a `reqwest::Client`. A response is judged by its status, and an error by its cause. For a client
/// inside the handlers of a server, use [`for_handlers`](Self::for_handlers).
///
/// | result | outcome |
/// |---|---|
/// | a response, or an error of `error_for_status` | the outcome of its status, see [`HttpClassifier`], with `Retry-After` if known |
/// | `is_timeout()`, for a timeout of the client, of the connection attempt or between two reads | a timeout, weight 0.5 |
/// | `is_timeout()` or a 504, if the request has a timeout of its own | a [deadline of the caller](crate::Failure::deadline), whose weight depends on the wait |
/// | a timeout of std, tower or tokio in the sources | a timeout, weight 0.5 |
/// | [`Rejected`](crate::Rejected) in the sources or in a response's extensions, tower's `Overloaded` | ignored, because the call was refused in this process |
/// | `is_builder()`, for an invalid request, such as a request whose URL has no host | ignored, because the request was never sent |
/// | `is_redirect()`, for a request that the redirect policy stopped | ignored, because the policy is the caller's |
/// | the body of the request failed while it was sent | ignored, because the stream is the caller's |
/// | HTTP/2 `REFUSED_STREAM`, or GOAWAY before the request was processed | weight 0.5, kind `not_processed` |
/// | every other error, such as a refused or reset connection, a failure of DNS or TLS, an incomplete body, or `is_decode()` | a hard failure, kind `connect`, `reset`, `dns`, `tls`, `body` or `error` |
///
/// If the caller sets a short `Request::timeout`, a call that exceeds this timeout says little about the service.
/// Therefore the timeout weighs in proportion to the time that the call waited. The timeout is also found in an
/// `http::Request` that was converted from a `reqwest::Request`, at a cost of about a microsecond for each call.
///
/// `is_decode()` is a failure, because reqwest reports an incomplete body as that error. A caller who decodes the body
/// as a wrong type causes the same error, which then counts against the service.
///
/// A call whose outcome is "ignored" differs from a success, because an ignored call neither closes a half-open
/// circuit nor ends a run of failures.
///
/// The error may be a `reqwest::Error`, a `BoxError`, a [typed error](crate::Error) of an inner breaker, or an
/// `io::Error`. The classifier searches the sources of each of these types for a `reqwest::Error`. Every error of
/// another type is a hard failure, and the first such error logs a warning. Outside tower, use [`StdErrorClassifier`]
/// and not this classifier for an error of your own, because [`StdErrorClassifier`] searches the sources of such an
/// error. In a stack, put `.map_err(BoxError::from)` below the breaker, so that this classifier can search the sources.
/// The response may be a `reqwest::Response` or an `http::Response`, into which `http::Response::<reqwest::Body>::from`
/// converts a `reqwest::Response`.
///
/// A layer without tracked bodies judges a response by its head, and does not notice a body that hangs or
/// breaks off. A layer with `.tracked_bodies()` takes `http::Request`s, and judges a response with a good
/// head at the end of its body. The table applies to the errors of the body too.
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
    /// The timeout of the request that was given to [`for_request`](Self::for_request), for judgements outside tower.
    deadline: Option<Duration>,
}

impl ReqwestClassifier {
    /// Returns a classifier with the outcomes in the table of [`ReqwestClassifier`].
    #[must_use]
    pub const fn new() -> Self {
        Self { statuses: HttpClassifier::new(), deadline: None }
    }

    /// Returns a classifier like [`new`](Self::new), but for a client inside the handlers of a server. A call that is
    /// dropped never counts.
    ///
    /// When the user presses "stop", the server drops the handler together with its call. Such a drop says nothing
    /// about the service. Therefore only a timeout inside the call detects a service that hangs, such as the timeout of
    /// the client, of the request, or of a layer below the breaker.
    ///
    /// A timeout that is set on the request always weighs 0.5, because the handler chooses this timeout and the user
    /// does not.
    ///
    /// ```
    /// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, classify::ReqwestClassifier};
    ///
    /// let circuit = Circuit::new(Config::new("payments")?);
    /// let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::for_handlers());
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn for_handlers() -> Self {
        Self { statuses: HttpClassifier::for_handlers(), deadline: None }
    }

    /// Sets the outcome of a status, as [`HttpClassifier::status`] does.
    #[must_use]
    pub fn status(self, status: StatusCode, outcome: impl Into<Outcome>) -> Self {
        Self { statuses: self.statuses.status(status, outcome), ..self }
    }

    /// Lets a single 429 or 503 with a `Retry-After` open the circuit, as
    /// [`HttpClassifier::trips_on_retry_after`] does.
    ///
    /// `error_for_status` drops the header. Therefore call `error_for_status` above the breaker.
    #[must_use]
    pub fn trips_on_retry_after(self) -> Self {
        Self { statuses: self.statuses.trips_on_retry_after(), ..self }
    }

    /// Returns a classifier that knows the timeout of this request. Use this method outside tower, also with
    /// [`call_classified`](crate::Circuit::call_classified). A layer does not need this method, because the classifier
    /// in a layer reads the timeout of each request.
    #[must_use]
    pub fn for_request(&self, request: &Request) -> Self {
        let deadline = if self.statuses.is_for_handlers() { None } else { deadline_of(request) };
        Self { deadline, ..self.clone() }
    }

    /// Returns the timeout of `request`, or else the timeout of the request that was given to
    /// [`for_request`](Self::for_request). `None` if neither request has a timeout, or if this classifier is for
    /// handlers.
    fn deadline_of<Req: 'static>(&self, request: &Req) -> Option<Duration> {
        if self.statuses.is_for_handlers() { None } else { deadline_of(request).or(self.deadline) }
    }

    /// Judges a response outside tower, as in reqwest-middleware or around
    /// [`Circuit::try_acquire`](crate::Circuit::try_acquire).
    ///
    /// ```
    /// # async fn fetch(client: reqwest::Client, circuit: tower_circuit_breaker::Circuit) -> Result<(), tower_circuit_breaker::BoxError> {
    /// use tower_circuit_breaker::classify::ReqwestClassifier;
    ///
    /// let request = client.get("https://payments.example/").build()?;
    /// let judge = ReqwestClassifier::new().for_request(&request);
    /// let permit = circuit.try_acquire()?;
    /// let result = client.execute(request).await;
    /// permit.record(match &result {
    ///     Ok(response) => judge.response(response),
    ///     Err(error) => judge.error(error),
    /// });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn response(&self, response: &reqwest::Response) -> Outcome {
        self.head(self.deadline, response.status(), response.headers(), response.extensions())
    }

    /// Judges an error outside tower, see [`response`](Self::response).
    #[must_use]
    pub fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        self.error_within(self.deadline, error)
    }

    /// Judges the head of a response. `deadline` is the timeout that is set on the request itself.
    fn head(
        &self,
        deadline: Option<Duration>,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Outcome {
        match deadline {
            Some(deadline) if status == StatusCode::GATEWAY_TIMEOUT => {
                self.statuses.judge_head_as(status, Outcome::deadline(deadline), headers, extensions)
            }
            Some(_) | None => self.statuses.judge_head(status, headers, extensions),
        }
    }

    fn error_within(&self, deadline: Option<Duration>, error: &(dyn StdError + 'static)) -> Outcome {
        let known = known(error).or_else(|| not_processed(error));
        known.or_else(|| Some(self.reqwest_error(deadline, find(error)?))).unwrap_or_else(|| hard(error).into())
    }

    /// Judges an error of reqwest. `deadline` is the timeout that is set on the request itself.
    pub(super) fn reqwest_error(&self, deadline: Option<Duration>, error: &reqwest::Error) -> Outcome {
        if error.is_timeout() {
            match deadline {
                // If the timeout of the request expires while the client connects, `is_connect` is false. Therefore a
                // timeout with `is_connect` is a timeout of the client and not of the request.
                Some(deadline) if !error.is_connect() => Failure::deadline(deadline).by_timer().into(),
                Some(_) | None => Outcome::timeout(),
            }
        } else if error.is_builder() || error.is_redirect() || is_of_the_request_body(error) {
            Outcome::Ignored
        } else if let Some(status) = error.status() {
            // An error of `error_for_status` keeps only the status. Therefore headers and extensions are
            // empty.
            self.head(deadline, status, &HeaderMap::new(), &Extensions::new())
        } else {
            let found = hard(error).kind();
            let is_vague = matches!(found, FailureKind::Error | FailureKind::Reset);
            let kind = if is_vague && (error.is_body() || error.is_decode()) {
                FailureKind::Body
            } else if is_vague && error.is_connect() {
                FailureKind::Connect
            } else {
                found
            };
            Failure::hard().with_kind(kind).into()
        }
    }

    /// Judges an error of any type. `E` has no bound `Error`, because `BoxError` and `()` do not implement
    /// `Error`.
    fn any_error<E: 'static>(&self, deadline: Option<Duration>, error: &E) -> Outcome {
        as_error(error).map_or_else(opaque::<E>, |error| self.error_within(deadline, error))
    }
}

impl<Req: 'static, Err: 'static> Classifier<Req, reqwest::Response, Err> for ReqwestClassifier {
    /// The timeout that is set on the request itself, if any.
    type Call = Option<Duration>;

    fn start(&self, request: &Req) -> Option<Duration> {
        self.deadline_of(request)
    }

    fn finish(&self, deadline: Option<Duration>, result: Result<&reqwest::Response, &Err>, _: Duration) -> Outcome {
        let head = |response: &reqwest::Response| {
            self.head(deadline, response.status(), response.headers(), response.extensions())
        };
        result.map_or_else(|error| self.any_error(deadline, error), head)
    }

    fn describe(&self, result: Result<&reqwest::Response, &Err>) -> Option<String> {
        result.map_or_else(text_of_any, |response| Some(text_of_status(response.status())))
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        not_ready(self.any_error(None, error))
    }

    fn cancelled_never_counts(&self) -> bool {
        self.statuses.is_for_handlers()
    }
}

impl<Req: 'static, B, Err: 'static> Classifier<Req, Response<B>, Err> for ReqwestClassifier {
    /// The timeout that is set on the request itself, if any.
    type Call = Option<Duration>;

    fn start(&self, request: &Req) -> Option<Duration> {
        self.deadline_of(request)
    }

    fn finish(&self, deadline: Option<Duration>, result: Result<&Response<B>, &Err>, _: Duration) -> Outcome {
        let head =
            |response: &Response<B>| self.head(deadline, response.status(), response.headers(), response.extensions());
        result.map_or_else(|error| self.any_error(deadline, error), head)
    }

    fn describe(&self, result: Result<&Response<B>, &Err>) -> Option<String> {
        result.map_or_else(text_of_any, |response| Some(text_of_status(response.status())))
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        not_ready(self.any_error(None, error))
    }

    fn cancelled_never_counts(&self) -> bool {
        self.statuses.is_for_handlers()
    }
}

impl<Req: 'static, B, Err: 'static> BodyClassifier<Req, B, Err> for ReqwestClassifier
where
    B: Body,
    B::Error: 'static,
{
    fn head(&self, deadline: &mut Option<Duration>, response: &Response<B>, _: Duration) -> Option<Outcome> {
        match self.head(*deadline, response.status(), response.headers(), response.extensions()) {
            Outcome::Success => None,
            decided @ (Outcome::Failure(_) | Outcome::Ignored) => Some(decided),
        }
    }

    /// A normal end is a success, because the classifier waits for the end of the body only after a successful head.
    fn end(&self, _: Option<Duration>, _: Option<&HeaderMap>, _: Duration) -> Outcome {
        Outcome::Success
    }

    fn body_error(&self, deadline: Option<Duration>, error: &B::Error, _: Duration) -> Outcome {
        self.any_error(deadline, error)
    }

    fn describe_body_error(&self, error: &B::Error) -> Option<String> {
        text_of_any(error)
    }
}

/// Returns the timeout that is set on the request itself, if any. Only a `reqwest::Request`, or an `http::Request` that
/// was converted from a `reqwest::Request`, can have such a timeout.
fn deadline_of<Req: 'static>(request: &Req) -> Option<Duration> {
    let request: &dyn Any = request;
    if let Some(request) = request.downcast_ref::<Request>() {
        return request.timeout().copied();
    }
    let request = request.downcast_ref::<http::Request<reqwest::Body>>()?;
    if request.extensions().is_empty() {
        return None;
    }
    // The type of the extension that contains the timeout is private to reqwest. Therefore the extensions are
    // copied into a `reqwest::Request`, which can read the timeout.
    let mut copy = http::Request::new("");
    *copy.uri_mut() = http::Uri::from_static("http://localhost/");
    *copy.extensions_mut() = request.extensions().clone();
    Request::try_from(copy).ok()?.timeout().copied()
}

/// Returns true if the body of the request failed while the request was sent. No other error during the sending has a
/// source with `is_body`.
fn is_of_the_request_body(error: &reqwest::Error) -> bool {
    error.is_request() && error.source().and_then(find).is_some_and(reqwest::Error::is_body)
}
