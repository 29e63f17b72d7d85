//! Classifiers made of closures over the result, the error or the response of a call.
//!
//! The methods `classify`, `classify_error` and `classify_response` of the layer create these types, so that
//! users need not write the names of the types.

use std::fmt;
use std::time::Duration;

use super::Classifier;
use super::timeout::{outcome_of_any, readiness_outcome_of_any, text_of_any};
use crate::outcome::Outcome;

/// A classifier that calls a closure with the whole result, created by
/// [`CircuitBreakerLayer::classify`](crate::CircuitBreakerLayer::classify).
#[derive(Clone)]
pub struct FnClassifier<F>(F);

impl<F> FnClassifier<F> {
    pub(crate) const fn new(f: F) -> Self {
        Self(f)
    }
}

impl<F, Req, Res, Err> Classifier<Req, Res, Err> for FnClassifier<F>
where
    F: Fn(Result<&Res, &Err>) -> Outcome,
{
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        (self.0)(result)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        (self.0)(Err(error))
    }
}

/// A classifier that calls a closure with the error, created by
/// [`CircuitBreakerLayer::classify_error`](crate::CircuitBreakerLayer::classify_error). Every response is a
/// success.
#[derive(Clone)]
pub struct ErrorClassifier<F>(F);

impl<F> ErrorClassifier<F> {
    pub(crate) const fn new(f: F) -> Self {
        Self(f)
    }
}

impl<F: Fn(&Err) -> Outcome, Req, Res, Err> Classifier<Req, Res, Err> for ErrorClassifier<F> {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        result.map_or_else(&self.0, |_| Outcome::Success)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        (self.0)(error)
    }
}

/// A classifier that calls a closure with the response, created by
/// [`CircuitBreakerLayer::classify_response`](crate::CircuitBreakerLayer::classify_response).
/// [`DefaultClassifier`](super::DefaultClassifier) judges the errors.
#[derive(Clone)]
pub struct ResponseClassifier<F>(F);

impl<F> ResponseClassifier<F> {
    pub(crate) const fn new(f: F) -> Self {
        Self(f)
    }
}

impl<F: Fn(&Res) -> Outcome, Req, Res, Err: 'static> Classifier<Req, Res, Err> for ResponseClassifier<F> {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        result.map_or_else(outcome_of_any, &self.0)
    }

    fn describe(&self, result: Result<&Res, &Err>) -> Option<String> {
        result.err().and_then(text_of_any)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        readiness_outcome_of_any(error)
    }
}

// Written by hand, because a derive would require `Debug` of closures.
impl<F> fmt::Debug for FnClassifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnClassifier").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ErrorClassifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorClassifier").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ResponseClassifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseClassifier").finish_non_exhaustive()
    }
}
