//! Rejections as responses of reqwest, for callers that check the status of a response and whose error type
//! cannot change.

use reqwest::{Request, Response, ResponseBuilderExt};

use super::Rejection;
use super::http::unavailable;
use crate::error::Rejected;

/// Rejections as responses of a `reqwest::Client`. The error type stays `reqwest::Error`.
///
/// The response is like the response of [`HttpRejection`](super::HttpRejection), but without a body. The response has
/// status 503 and the URL of the request. If the wait is known, the response has a `Retry-After` in whole seconds,
/// rounded up ([RFC 9110, 10.2.3]). [`Rejected`] is in the extensions of the response, so that callers can distinguish
/// a rejection from a 503 of the service. `error_for_status` turns the response into an error that keeps only the
/// status and the URL.
///
/// If you want an error instead of a response, keep the default rejection of the layer. [`Rejected::find`] finds the
/// rejection in that error.
///
/// # Examples
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_circuit_breaker::classify::ReqwestClassifier;
/// use tower_circuit_breaker::rejection::ReqwestRejection;
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Rejected};
///
/// # async fn fetch() -> Result<(), tower_circuit_breaker::BoxError> {
/// let circuit = Circuit::new(Config::new("payments")?);
/// let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new()).rejection(ReqwestRejection::new());
/// let client = ServiceBuilder::new().layer(layer).service(reqwest::Client::new());
///
/// let request = reqwest::Request::new(reqwest::Method::GET, "https://payments.example/".parse()?);
/// let response: reqwest::Response = client.oneshot(request).await?; // the error is `reqwest::Error`
/// if let Some(rejected) = response.extensions().get::<Rejected>() {
///     println!("{rejected}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// [RFC 9110, 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ReqwestRejection;

impl ReqwestRejection {
    /// Returns a rejection that answers with the response that [`ReqwestRejection`] describes.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

// Without this attribute the compiler recommends this implementation and does not print the message of the
// trait.
#[diagnostic::do_not_recommend]
impl<E> Rejection<Request, Response, E> for ReqwestRejection {
    type Error = E;

    fn reject(&self, rejected: Rejected, request: Request) -> Result<Response, E> {
        let mut response = unavailable(rejected, reqwest::Body::default());
        // reqwest reads the URL of a response from an extension of a private type, which only reqwest's
        // builder can create.
        let url = http::Response::builder().url(request.url().clone()).body(());
        let (parts, ()) = url.expect("no part of it can be invalid").into_parts();
        response.extensions_mut().extend(parts.extensions);
        Ok(response.into())
    }

    fn map_err(error: E) -> E {
        error
    }
}
