//! Rejections as responses of reqwest, for callers that check the status of a response and cannot change the error
//! type.

use reqwest::{Request, Response, ResponseBuilderExt};

use super::Rejection;
use super::http::unavailable;
use crate::error::Rejected;

/// Rejections as responses of a `reqwest::Client`. The errors stay `reqwest::Error`.
///
/// The response is that of [`HttpRejection`](super::HttpRejection) without a body. The response has status 503, `Retry-After` in
/// whole seconds, rounded up, if the time is known ([RFC 9110, 10.2.3]), and the URL of the request. [`Rejected`] is in
/// its extensions, so that callers can distinguish a rejection from a 503 of the service. `error_for_status` turns the
/// response into an error that keeps only the status and the URL.
///
/// For an error instead of a response, keep the default. [`Rejected::find`] finds the rejection in such an error.
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

// Not recommended to the compiler, so that it prints the message of the trait.
#[diagnostic::do_not_recommend]
impl<E> Rejection<Request, Response, E> for ReqwestRejection {
    type Error = E;

    fn reject(&self, rejected: Rejected, request: Request) -> Result<Response, E> {
        let mut response = unavailable(rejected, reqwest::Body::default());
        // The type of the URL's extension is private to reqwest, so only reqwest's builder can make it.
        let url = http::Response::builder().url(request.url().clone()).body(());
        let (parts, ()) = url.expect("no part of it can be invalid").into_parts();
        response.extensions_mut().extend(parts.extensions);
        Ok(response.into())
    }

    fn map_err(error: E) -> E {
        error
    }
}
