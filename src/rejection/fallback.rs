//! Answers instead of rejections, by a closure.

use std::fmt;

use super::Rejection;
use crate::error::Rejected;

/// Rejected calls are answered by a closure, which gets the request. Errors of the service are those of `R`.
///
/// Made by [`CircuitBreakerLayer::fallback`](crate::CircuitBreakerLayer::fallback). For a layer of load shedding, create it with
/// [`new`](Self::new). Each answer is an [`Event::Fallback`](crate::event::Event::Fallback) of the circuit, and counts in
/// `circuit_breaker_fallbacks_total`.
#[derive(Clone, Copy)]
pub struct Fallback<F, R> {
    fallback: F,
    rejection: R,
}

impl<F, R> Fallback<F, R> {
    /// Returns the rejection that `fallback` answers. `rejection` is the one that it replaces, and gives the type of the error.
    pub const fn new(fallback: F, rejection: R) -> Self {
        Self { fallback, rejection }
    }

    /// Returns the replaced rejection.
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
