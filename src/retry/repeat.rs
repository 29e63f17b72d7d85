//! The copying of requests for retries. Only requests that may be sent again are copied.

/// Copies a request before it is sent, if the request may be sent again.
///
/// Implemented by [`Cloned`] and by each closure `Fn(&Req) -> Option<Req>`, such as [`idempotent`] for requests of
/// `http` and [`idempotent_reqwest`] for requests of reqwest. A closure that copies every request, such as
/// `reqwest::Request::try_clone`, repeats POST too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot repeat a request of type `{Req}`",
    note = "the default needs `Clone`; otherwise give the builder `.repeat(|request: &Req| ..)`"
)]
pub trait Repeat<Req> {
    /// Returns a copy, or `None` if the request must not or cannot be sent again.
    fn copy(&self, request: &Req) -> Option<Req>;
}

impl<F: Fn(&Req) -> Option<Req>, Req> Repeat<Req> for F {
    fn copy(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}

/// Copies every request. This type is the default. Do not use it for requests that have an effect each time they
/// arrive.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Cloned;

#[diagnostic::do_not_recommend]
impl<Req: Clone> Repeat<Req> for Cloned {
    fn copy(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

/// Copies requests whose method is idempotent (RFC 9110, 9.2.2), which are GET, HEAD, OPTIONS, TRACE, PUT and DELETE.
/// Returns `None` for all other methods.
///
/// If the service recognises a repeated POST, for example by an idempotency key, write a closure instead.
///
/// ```
/// use tower_circuit_breaker::retry::{RetryPolicy, idempotent};
///
/// let policy = RetryPolicy::builder().repeat(idempotent::<String>).build()?;
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
#[cfg(feature = "http")]
#[must_use]
pub fn idempotent<B: Clone>(request: &http::Request<B>) -> Option<http::Request<B>> {
    request.method().is_idempotent().then(|| request.clone())
}

/// Copies requests of reqwest whose method is idempotent, like [`idempotent`]. Returns `None` for other methods, such
/// as POST and PATCH, and for a body that is a stream.
///
/// ```
/// use tower_circuit_breaker::retry::{RetryPolicy, idempotent_reqwest};
///
/// let policy = RetryPolicy::builder().repeat(idempotent_reqwest).build()?;
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
#[cfg(feature = "reqwest")]
#[must_use]
pub fn idempotent_reqwest(request: &reqwest::Request) -> Option<reqwest::Request> {
    request.method().is_idempotent().then(|| request.try_clone()).flatten()
}
