//! Rejections as responses of reqwest, for callers that look at the status of what they get and leave errors as they are.

use reqwest::{Request, Response, ResponseBuilderExt};

use super::Rejection;
use super::http::unavailable;
use crate::error::Rejected;

/// Rejections as responses of a `reqwest::Client`; its errors stay `reqwest::Error`.
///
/// The response is what [`HttpRejection`](super::HttpRejection) makes, without a body: status 503, `Retry-After` in whole
/// seconds, rounded up, where it is known ([RFC 9110, 10.2.3]), the request's URL as its own, and [`Rejected`] in its extensions,
/// which says whether it was the circuit or the service that was unavailable. `error_for_status` turns it into an error with
/// that status and URL, and drops the rest.
///
/// To have an error instead, keep the default: [`Rejected::find`] knows it.
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
    /// Returns the rejection described above.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

// Not recommended, so that the compiler shows the trait's message.
#[diagnostic::do_not_recommend]
impl<E> Rejection<Request, Response, E> for ReqwestRejection {
    type Error = E;

    fn reject(&self, rejected: Rejected, request: Request) -> Result<Response, E> {
        let mut response = unavailable(rejected, reqwest::Body::default());
        // The type that carries the URL is private; its builder is the only way to it.
        let url = http::Response::builder().url(request.url().clone()).body(());
        let (parts, ()) = url.expect("no part of it can be invalid").into_parts();
        response.extensions_mut().extend(parts.extensions);
        Ok(response.into())
    }

    fn map_err(error: E) -> E {
        error
    }
}
