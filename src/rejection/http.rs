//! Rejections as HTTP responses.
//!
//! A rejected caller needs three things: that the request went no further, when to come again, and for whoever looks at it, which
//! circuit it was. Numbers and failures stay inside unless asked for: the caller may be anybody.

mod accept;
mod problem;

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};

use super::Rejection;
use crate::error::Rejected;
use accept::Form;
use problem::{Tells, problem, sentence};

/// Rejections as HTTP responses; the service's errors stay as they are.
///
/// The status is 503, `Retry-After` the time until the circuit probes, in whole seconds, rounded up, at least 1 ([RFC 9110,
/// 10.2.3]). It is absent where nobody knows: half-open, or open until somebody resets it. The [`Rejected`] is in the response's
/// extensions, so that layers outside can tell it from a 503 of the service.
///
/// The body is `application/problem+json` ([RFC 9457]), or `text/plain` with the same sentence for whoever prefers that in
/// `Accept`, q-values included; `application/json` means the former. Where neither is acceptable the former is sent all the same.
/// A `HEAD` gets the headers alone.
///
/// ```json
/// {"type":"about:blank","title":"Service Unavailable","status":503,
///  "detail":"circuit `orders` is open, and the request went no further; try again in 5 s",
///  "circuit":"orders","reason":"tripped","retry_after_ms":4870}
/// ```
///
/// So whoever is rejected learns the circuit's name and its state; [`explained`](Self::explained) tells more, and
/// [`anonymous`](Self::anonymous) less. No text of yours gets into a header.
///
/// # Bodies
///
/// Any body that is `From<String>` will do without a word on its type: `axum::body::Body`, `http_body_util::Full<Bytes>`,
/// `reqwest::Body`. [`headers_only`](Self::headers_only) asks only `Default`: `tonic::body::Body`, `Empty`, `BoxBody`.
/// hyper's `Incoming` is neither; below the breaker turn it into something that is:
/// `.map_response(|response| response.map(axum::body::Body::new))`.
///
/// # Examples
///
/// ```
/// use http::{Request, Response};
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, classify::HttpClassifier, rejection::HttpRejection};
///
/// # async fn orders(_: Request<()>) -> Result<Response<String>, std::convert::Infallible> { Ok(Response::default()) }
/// let circuit = Circuit::new(Config::new("orders")?);
/// let layer = CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new()).rejection(HttpRejection::new());
/// # fn usable(_: impl tower::Service<Request<()>>) {}
/// # usable(tower::Layer::layer(&layer, tower::service_fn(orders)));
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
///
/// [RFC 9110, 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
/// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpRejection {
    tells: Tells,
}

impl HttpRejection {
    /// Returns the rejection that names the circuit and its state.
    #[must_use]
    pub const fn new() -> Self {
        Self { tells: Tells::Name }
    }

    /// Keeps the circuit to itself: no name, no state, only that the service is unavailable and for how long. For servers
    /// whose callers should not learn what is behind them.
    #[must_use]
    pub const fn anonymous(self) -> Self {
        Self { tells: Tells::Nothing }
    }

    /// Says the whole sentence of [`Rejected`]: the rule with its numbers, the kind of the last failure, who holds the circuit
    /// open and why. For callers of the same house.
    ///
    /// The sentence is looked up in the circuit, under its cold mutex, for each rejection that has a body.
    #[must_use]
    pub const fn explained(self) -> Self {
        Self { tells: Tells::Everything }
    }

    /// Leaves the body out: for bodies that are `Default`, but not `From<String>`.
    #[must_use]
    pub const fn headers_only(self) -> HeadersOnly {
        HeadersOnly
    }
}

/// [`HttpRejection`] without a body: status 503, `Retry-After`, and the [`Rejected`] in the extensions.
///
/// Made by [`HttpRejection::headers_only`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HeadersOnly;

// Not recommended, so that the compiler shows the trait's message, instead of asking for a body to be `From<String>`.
#[diagnostic::do_not_recommend]
impl<T, B: From<String>, E> Rejection<Request<T>, Response<B>, E> for HttpRejection {
    type Error = E;

    fn reject(&self, rejected: Rejected, request: Request<T>) -> Result<Response<B>, E> {
        let form = accept::preferred(request.headers().get_all(ACCEPT));
        let text = match form {
            Form::Problem => problem(&rejected, self.tells),
            Form::Text => sentence(&rejected, self.tells) + "\n",
        };
        let length = HeaderValue::from(text.len());
        // RFC 9110, 9.3.2: the headers are those of a GET, its length too.
        let body = if request.method() == Method::HEAD { String::new() } else { text };
        let mut response = unavailable(rejected, B::from(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
        response.headers_mut().insert(CONTENT_LENGTH, length);
        Ok(response)
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

pub(super) fn unavailable<B>(rejected: Rejected, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    if let Some(wait) = rejected.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
    }
    response.extensions_mut().insert(rejected);
    response
}

/// Returns the wait as `Retry-After` counts: whole seconds, never too early, never 0, which would ask for a loop.
fn seconds(wait: Duration) -> u64 {
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
