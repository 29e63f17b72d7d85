//! Classifiers made of closures.
//!
//! The methods `classify`, `classify_error` and `classify_response` of the layer create these types, so that users do
//! not write their names.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::Classifier;
use super::timeout::{outcome_of_any, readiness_outcome_of_any};
use crate::outcome::Outcome;

/// A closure over the whole result, created by [`CircuitBreakerLayer::classify`](crate::CircuitBreakerLayer::classify).
pub struct FnClassifier<F, Res, Err> {
    f: F,
    result: PhantomData<fn(&Res, &Err)>,
}

impl<F, Res, Err> FnClassifier<F, Res, Err>
where
    F: Fn(Result<&Res, &Err>) -> Outcome,
{
    pub(crate) const fn new(f: F) -> Self {
        Self { f, result: PhantomData }
    }
}

impl<F, Req, Res, Err> Classifier<Req, Res, Err> for FnClassifier<F, Res, Err>
where
    F: Fn(Result<&Res, &Err>) -> Outcome,
{
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        (self.f)(result)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        (self.f)(Err(error))
    }
}

/// A closure over the error, created by
/// [`CircuitBreakerLayer::classify_error`](crate::CircuitBreakerLayer::classify_error). Every response is a success.
pub struct ErrorClassifier<F, Err> {
    f: F,
    error: PhantomData<fn(&Err)>,
}

impl<F: Fn(&Err) -> Outcome, Err> ErrorClassifier<F, Err> {
    pub(crate) const fn new(f: F) -> Self {
        Self { f, error: PhantomData }
    }
}

impl<F: Fn(&Err) -> Outcome, Req, Res, Err> Classifier<Req, Res, Err> for ErrorClassifier<F, Err> {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        result.map_or_else(&self.f, |_| Outcome::Success)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        (self.f)(error)
    }
}

/// A closure over the response, created by
/// [`CircuitBreakerLayer::classify_response`](crate::CircuitBreakerLayer::classify_response).
/// [`DefaultClassifier`](super::DefaultClassifier) judges the errors.
pub struct ResponseClassifier<F, Res> {
    f: F,
    response: PhantomData<fn(&Res)>,
}

impl<F: Fn(&Res) -> Outcome, Res> ResponseClassifier<F, Res> {
    pub(crate) const fn new(f: F) -> Self {
        Self { f, response: PhantomData }
    }
}

impl<F: Fn(&Res) -> Outcome, Req, Res, Err: 'static> Classifier<Req, Res, Err> for ResponseClassifier<F, Res> {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        result.map_or_else(outcome_of_any, &self.f)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        readiness_outcome_of_any(error)
    }
}

// Written by hand, because a derive would require `Clone` of responses and errors, and `Debug` of closures.
impl<F: Clone, Res, Err> Clone for FnClassifier<F, Res, Err> {
    fn clone(&self) -> Self {
        Self { f: self.f.clone(), result: PhantomData }
    }
}

impl<F: Clone, Err> Clone for ErrorClassifier<F, Err> {
    fn clone(&self) -> Self {
        Self { f: self.f.clone(), error: PhantomData }
    }
}

impl<F: Clone, Res> Clone for ResponseClassifier<F, Res> {
    fn clone(&self) -> Self {
        Self { f: self.f.clone(), response: PhantomData }
    }
}

impl<F, Res, Err> fmt::Debug for FnClassifier<F, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnClassifier").finish_non_exhaustive()
    }
}

impl<F, Err> fmt::Debug for ErrorClassifier<F, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorClassifier").finish_non_exhaustive()
    }
}

impl<F, Res> fmt::Debug for ResponseClassifier<F, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseClassifier").finish_non_exhaustive()
    }
}
