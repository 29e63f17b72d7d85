//! Which requests may be sent again, and how a copy of them is made.

/// Makes a copy of a request before it is sent, if it may be sent again.
///
/// [`Cloned`] does, and each closure `Fn(&Req) -> Option<Req>`: `reqwest::Request::try_clone` as it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot repeat a request of type `{Req}`",
    note = "the default needs `Clone`; otherwise give the builder `.repeat(|request: &Req| ..)`"
)]
pub trait Repeat<Req> {
    /// Returns a copy; `None` if the request must not be sent again, or cannot.
    fn copy(&self, request: &Req) -> Option<Req>;
}

impl<F: Fn(&Req) -> Option<Req>, Req> Repeat<Req> for F {
    fn copy(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}

/// Every request may be sent again. The default; not for requests that do something each time they arrive.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Cloned;

#[diagnostic::do_not_recommend]
impl<Req: Clone> Repeat<Req> for Cloned {
    fn copy(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

/// Copies requests whose method is idempotent (RFC 9110, 9.2.2): GET, HEAD, OPTIONS, TRACE, PUT and DELETE.
///
/// What it gets wrong is a POST that the service recognises by a key of its own: then write a closure.
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
