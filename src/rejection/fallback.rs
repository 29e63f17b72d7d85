//! Fallbacks, which answer rejected calls with the result of a closure.

use std::fmt;

use super::Rejection;
use crate::error::Rejected;

/// Answers a rejected call with the result of a closure, which gets the [`Rejected`] and the request. The closure
/// replaces the answer of the rejection `R`. `R` still converts the errors of the service.
///
/// This type is created by [`CircuitBreakerLayer::fallback`](crate::CircuitBreakerLayer::fallback). For a layer of load
/// shedding, pass the result of [`new`](Self::new) to the method `rejection` of the builder. Each answer is reported as
/// an [`Event::Fallback`](crate::event::Event::Fallback) of the circuit, and counts in
/// `circuit_breaker_fallbacks_total`.
#[derive(Clone, Copy)]
pub struct Fallback<F, R> {
    fallback: F,
    rejection: R,
}

impl<F, R> Fallback<F, R> {
    /// Returns a rejection that answers with `fallback` instead of the answer of `rejection`. The error type stays the
    /// error type of `rejection`.
    pub const fn new(fallback: F, rejection: R) -> Self {
        Self { fallback, rejection }
    }

    /// Returns the rejection that the fallback replaces.
    #[must_use]
    pub const fn get_ref(&self) -> &R {
        &self.rejection
    }
}

impl<F, R, Req, Res, E> Rejection<Req, Res, E> for Fallback<F, R>
where
    R: Rejection<Req, Res, E>,
    F: Fn(Rejected, Req) -> Result<Res, R::Error>,
{
    type Error = R::Error;

    fn reject(&self, rejected: Rejected, request: Req) -> Result<Res, R::Error> {
        let answer = (self.fallback)(rejected.clone(), request);
        rejected.report_fallback(answer.is_ok());
        answer
    }

    fn map_err(error: E) -> R::Error {
        R::map_err(error)
    }
}

impl<F, R: fmt::Debug> fmt::Debug for Fallback<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("rejection", &self.rejection).finish_non_exhaustive()
    }
}
