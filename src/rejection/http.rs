//! Rejections as HTTP responses with status 503.
//!
//! The response names the circuit that rejected this attempt, and the time to wait before the next attempt. The
//! response also says that this attempt did not reach the service. Earlier attempts of the same request may have
//! reached the service, because a layer of retries can be outside the breaker. By default the response omits the trip
//! rule with its numbers and the last failure, because the caller may be a stranger.

mod accept;
mod problem;

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};

use super::Rejection;
use super::sentence::{Detail, sentence};
use crate::error::Rejected;
use accept::Form;
use problem::problem;

/// Rejections as HTTP responses. The errors of the service stay unchanged.
///
/// The status is 503. `Retry-After` is the time until the circuit admits calls again, in whole seconds, rounded up to
/// at least 1 ([RFC 9110, 10.2.3]). If the time is unknown, the header is absent. Examples are a half-open circuit, and
/// a circuit that stays open until an operator acts. The [`Rejected`] is in the extensions of the response, so that
/// outer layers can distinguish the rejection from a 503 of the service.
///
/// The body is a problem document in JSON, `application/problem+json` ([RFC 9457]). If the `Accept` of a client prefers
/// `text/plain` by its q-values, the body is the sentence of the problem as plain text. A client that accepts
/// `application/json` also accepts the problem. A client that accepts neither form gets the problem. The response to a
/// `HEAD` has only the headers.
///
/// ```json
/// {"type":"about:blank","title":"Service Unavailable","status":503,
///  "detail":"circuit `orders` is open, and this attempt went no further; try again in 5 s",
///  "circuit":"orders","reason":"tripped","retry_after_ms":4870}
/// ```
///
/// By default the response discloses the name and the state of the circuit. [`explained`](Self::explained) discloses
/// more, and [`anonymous`](Self::anonymous) discloses less. With a circuit for each host, the name contains the host,
/// so use `anonymous` if callers should not know your hosts. The headers never contain the name of the circuit, its
/// last failure, or a text of an operator.
///
/// # Bodies
///
/// A body type that implements `From<String>` needs no further setting. Examples are `axum::body::Body`,
/// `http_body_util::Full<Bytes>` and `reqwest::Body`. With [`headers_only`](Self::headers_only), `Default` is enough.
/// Examples are `tonic::body::Body`, `Empty` and `BoxBody`. hyper's `Incoming` implements neither trait. Convert
/// `Incoming` below the breaker with `.map_response(|response| response.map(axum::body::Body::new))`.
///
/// # Examples
///
/// ```
/// use http::{Request, Response};
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, classify::HttpClassifier, rejection::HttpRejection};
///
/// # async fn orders(_: Request<()>) -> Result<Response<String>, std::convert::Infallible> { Ok(Response::default()) }
/// let circuit = Circuit::new(Config::new("orders")?);
/// let layer = CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::for_handlers()).rejection(HttpRejection::new());
/// # fn usable(_: impl tower::Service<Request<()>>) {}
/// # usable(tower::Layer::layer(&layer, tower::service_fn(orders)));
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
///
/// [RFC 9110, 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
/// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpRejection {
    detail: Detail,
}

impl HttpRejection {
    /// Returns a rejection that discloses the name and the state of the circuit.
    #[must_use]
    pub const fn new() -> Self {
        Self { detail: Detail::Name }
    }

    /// Discloses neither the name nor the state of the circuit. The response says only that the service is
    /// unavailable, and how long to wait. Use this setting if callers should not learn about the services
    /// behind the server.
    #[must_use]
    pub const fn anonymous(self) -> Self {
        Self { detail: Detail::Nothing }
    }

    /// Discloses the whole sentence of [`Rejected`]. The sentence contains the rule with its numbers, and the kind and
    /// the text of the last failure. If this instance follows the opening of another instance, the sentence names that
    /// instance. For a hold, the sentence contains the user and the reason. Use this setting only for callers of the
    /// same organisation, because the text of a failure can contain details of an error. Each address with `://` in the
    /// text is cut to its scheme and host.
    ///
    /// For each rejection, the circuit looks up the sentence under a mutex.
    #[must_use]
    pub const fn explained(self) -> Self {
        Self { detail: Detail::Everything }
    }

    /// Returns the response to a rejection, for a handler that guards a call with a permit and answers like
    /// the layer.
    ///
    /// The body is always the problem, because this method sees no request. A handler can also return this
    /// response to a `HEAD`, because hyper then omits the body.
    ///
    /// ```
    /// use http::Response;
    /// use tower_circuit_breaker::{Circuit, rejection::HttpRejection};
    ///
    /// async fn stock(circuit: &Circuit) -> Response<String> {
    ///     match circuit.call(async { Ok::<_, std::io::Error>("17 in stock") }).await {
    ///         Ok(stock) => Response::new(stock.to_owned()),
    ///         Err(error) => match error.rejected() {
    ///             Some(rejected) => HttpRejection::new().response(rejected),
    ///             None => Response::builder().status(502).body(String::new()).expect("it is valid"),
    ///         },
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn response<B: From<String>>(self, rejected: &Rejected) -> Response<B> {
        self.respond(rejected.clone(), Form::Problem, true)
    }

    fn respond<B: From<String>>(self, rejected: Rejected, form: Form, with_body: bool) -> Response<B> {
        let text = match form {
            Form::Problem => problem(&rejected, self.detail),
            Form::Text => sentence(&rejected, self.detail) + "\n",
        };
        let length = HeaderValue::from(text.len());
        let mut response = unavailable(rejected, B::from(if with_body { text } else { String::new() }));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    }

    /// Omits the body. The body type then needs `Default` and not `From<String>`.
    #[must_use]
    pub const fn headers_only(self) -> HeadersOnly {
        HeadersOnly
    }
}

/// Answers like [`HttpRejection`] without a body. The response has status 503, `Retry-After`, and the
/// [`Rejected`] in the extensions.
///
/// Created by [`HttpRejection::headers_only`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HeadersOnly;

impl HeadersOnly {
    /// Returns the response to a rejection. For the use in a handler, see [`HttpRejection::response`].
    #[must_use]
    pub fn response<B: Default>(self, rejected: &Rejected) -> Response<B> {
        unavailable(rejected.clone(), B::default())
    }
}

// Without this attribute the compiler recommends this implementation. The compiler then asks for a body
// that is `From<String>`, and does not print the message of the trait.
#[diagnostic::do_not_recommend]
impl<T, B: From<String>, E> Rejection<Request<T>, Response<B>, E> for HttpRejection {
    type Error = E;

    fn reject(&self, rejected: Rejected, request: Request<T>) -> Result<Response<B>, E> {
        let form = accept::preferred(request.headers().get_all(ACCEPT));
        // The text is written for a `HEAD` too. The response then has the headers of a `GET`, such as the length (RFC
        // 9110, 9.3.2).
        Ok(self.respond(rejected, form, request.method() != Method::HEAD))
    }

    fn map_err(error: E) -> E {
        error
    }
}

#[diagnostic::do_not_recommend]
impl<T, B: Default, E> Rejection<Request<T>, Response<B>, E> for HeadersOnly {
    type Error = E;

    fn reject(&self, rejected: Rejected, _: Request<T>) -> Result<Response<B>, E> {
        Ok(unavailable(rejected, B::default()))
    }

    fn map_err(error: E) -> E {
        error
    }
}

/// Returns a response with status 503 and the rejection in its extensions. The response has a `Retry-After`
/// if the wait is known.
pub(super) fn unavailable<B>(rejected: Rejected, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    if let Some(wait) = rejected.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
    }
    response.extensions_mut().insert(rejected);
    response
}

/// Returns the wait for `Retry-After` in whole seconds. The wait is rounded up, because an earlier retry
/// would be rejected again. The result is at least 1, because 0 would ask for an immediate retry.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_a_second_or_more() {
        for (millis, expected) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (4_870, 5), (60_000, 60)] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected, "{millis} ms");
        }
        assert_eq!(seconds(Duration::MAX), u64::MAX);
    }
}
