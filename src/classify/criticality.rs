//! A classifier with a closure that returns the criticality of each request.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "http")]
use http::{HeaderMap, Response};
#[cfg(feature = "http")]
use http_body::Body;

#[cfg(feature = "http")]
use super::BodyClassifier;
use super::Classifier;
use crate::outcome::Outcome;
use crate::state::Criticality;

/// A classifier that judges as the classifier `C` does, but takes the criticality of a call from a closure over the
/// request. Created by [`CircuitBreakerLayer::criticality`](crate::CircuitBreakerLayer::criticality).
#[derive(Clone)]
pub struct WithCriticality<C, F> {
    classifier: C,
    criticality: F,
}

impl<C, F> WithCriticality<C, F> {
    pub(crate) const fn new(classifier: C, criticality: F) -> Self {
        Self { classifier, criticality }
    }
}

impl<C, F, Req, Res, Err> Classifier<Req, Res, Err> for WithCriticality<C, F>
where
    C: Classifier<Req, Res, Err>,
    F: Fn(&Req) -> Criticality,
{
    const NEEDS_ELAPSED: bool = C::NEEDS_ELAPSED;
    type Call = C::Call;

    fn start(&self, request: &Req) -> C::Call {
        self.classifier.start(request)
    }

    fn finish(&self, call: C::Call, result: Result<&Res, &Err>, elapsed: Duration) -> Outcome {
        self.classifier.finish(call, result, elapsed)
    }

    fn describe(&self, result: Result<&Res, &Err>) -> Option<String> {
        self.classifier.describe(result)
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        self.classifier.ready_error(error)
    }

    fn cancelled(&self, call: C::Call, elapsed: Duration) -> Option<Outcome> {
        self.classifier.cancelled(call, elapsed)
    }

    fn cancelled_never_counts(&self) -> bool {
        self.classifier.cancelled_never_counts()
    }

    fn criticality(&self, request: &Req) -> Criticality {
        (self.criticality)(request)
    }

    fn panicked(&self, call: C::Call) -> Outcome {
        self.classifier.panicked(call)
    }
}

#[cfg(feature = "http")]
impl<C, F, Req, B, Err> BodyClassifier<Req, B, Err> for WithCriticality<C, F>
where
    C: BodyClassifier<Req, B, Err>,
    F: Fn(&Req) -> Criticality,
    B: Body,
{
    fn head(&self, call: &mut C::Call, response: &Response<B>, elapsed: Duration) -> Option<Outcome> {
        self.classifier.head(call, response, elapsed)
    }

    fn end(&self, call: C::Call, trailers: Option<&HeaderMap>, elapsed: Duration) -> Outcome {
        self.classifier.end(call, trailers, elapsed)
    }

    fn body_error(&self, call: C::Call, error: &B::Error, elapsed: Duration) -> Outcome {
        self.classifier.body_error(call, error, elapsed)
    }

    fn describe_body_error(&self, error: &B::Error) -> Option<String> {
        self.classifier.describe_body_error(error)
    }
}

// Written by hand, because a derive would require `Debug` of closures.
impl<C: fmt::Debug, F> fmt::Debug for WithCriticality<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithCriticality").field("classifier", &self.classifier).finish_non_exhaustive()
    }
}
