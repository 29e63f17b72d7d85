//! The circuit breaker as a tower service, which checks the circuit in `poll_ready` and takes a permit in `call`.
//!
//! `poll_ready` takes no permit. Some callers give up after `poll_ready` and make no call, and a permit for a probe
//! would then be lost. `poll_ready` returns no error for a rejection, because one error disables a `Buffer` for good
//! and makes `Balance` drop the endpoint.
//!
//! The [`future`](crate::ResponseFuture) polls the call and records its outcome.

mod pend;
#[cfg(feature = "tonic")]
mod tonic;
mod unready;

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::call::Flight;
use crate::circuit::{Admission, Circuit, Drawn, Peek, Text};
use crate::classify::{Classifier, DefaultClassifier};
use crate::clock::Tick;
use crate::future::ResponseFuture;
use crate::keyed::{OneCircuit, Select};
use crate::rejection::{BoxedErrors, Rejection};
use pend::Pend;
use unready::Unready;

/// The behaviour of `poll_ready` while the circuit rejects every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenOpen {
    /// The default. `poll_ready` is ready immediately without polling the inner service, and the call is rejected, so
    /// that callers fail fast.
    #[default]
    Reject,
    /// `poll_ready` is pending until the circuit lets calls through again, so that `tower::balance` takes the endpoint
    /// out of rotation.
    ///
    /// Use this variant for long-lived services on a tokio runtime with time enabled, because a timer of tokio wakes
    /// the waiting tasks. If the time of the runtime is paused, give the circuit a
    /// [`TokioClock`](crate::clock::TokioClock). If a new service is created for each request, use
    /// [`Reject`](Self::Reject), because nothing would limit the number of callers that wait.
    ///
    /// With this variant, a [ramp](crate::config::ConfigBuilder::ramp) or a throttle rejects no calls. Otherwise a
    /// balancer would take the quick rejections for quick responses, and prefer this endpoint. In a layer with keys,
    /// the circuit is unknown before the call. Therefore a layer with keys always rejects calls as with
    /// [`Reject`](Self::Reject).
    Pend,
}

/// A service behind a circuit.
///
/// A caller may wait for the inner service to become ready, and give up after
/// [`cancelled_counts_after`](crate::config::ConfigBuilder::cancelled_counts_after) or longer. Such a wait counts like
/// a dropped call, as a failure of weight 0.5 and of the kind [`NotReady`](crate::outcome::FailureKind::NotReady). The
/// caller has given up if the service is dropped. The caller also counts as having given up if at least
/// `cancelled_counts_after` passes between two polls, and the inner service is still not ready. With a circuit for each
/// key, the circuit is unknown before the call, so no wait for readiness is recorded.
///
/// A clone shares the circuit but not the readiness. Like every tower service, the clone must be polled ready before a
/// call. A call without this poll is rejected, because the inner service is not ready.
pub struct CircuitBreaker<S, C = DefaultClassifier, R = BoxedErrors, K = OneCircuit> {
    inner: S,
    circuits: K,
    classifier: C,
    rejection: R,
    when_open: WhenOpen,
    /// True if the inner service has been polled ready and has not been called since.
    inner_ready: bool,
    /// The time when `poll_ready` found that the circuit rejects calls, so that the rejection need not read the clock
    /// again. Zero if there is no such time. If the circuit has changed its state since this time, the rejection reads
    /// the clock.
    found_open: Tick,
    pend: Pend,
    unready: Unready,
}

impl<S, C, R> CircuitBreaker<S, C, R> {
    /// Returns the circuit.
    #[must_use]
    pub const fn circuit(&self) -> &Circuit {
        &self.circuits.0
    }
}

impl<S, C, R, K> CircuitBreaker<S, C, R, K> {
    pub(crate) const fn new(inner: S, circuits: K, classifier: C, rejection: R, when_open: WhenOpen) -> Self {
        Self {
            inner,
            circuits,
            classifier,
            rejection,
            when_open,
            inner_ready: false,
            found_open: Tick::ZERO,
            pend: Pend::new(),
            unready: Unready::new(),
        }
    }

    /// Returns the inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service. A call through the reference bypasses the circuit.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the inner service out of the breaker.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// The classifiers of this crate look for known types in the error, and need `S::Error: 'static`. Exceptions are the
/// classifiers of `classify` and `classify_error`. Code that is generic over `S` needs this bound too.
impl<S, C, R, K, Req> Service<Req> for CircuitBreaker<S, C, R, K>
where
    S: Service<Req>,
    C: Classifier<Req, S::Response, S::Error> + Clone,
    R: Rejection<Req, S::Response, S::Error>,
    K: Select<Req>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S::Future, C, R, Req, S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Some(circuit) = self.circuits.shared() {
            match self.when_open {
                WhenOpen::Reject if circuit.is_flowing() => {}
                WhenOpen::Reject => {
                    self.found_open = circuit.rejects_at();
                    let rejects = self.found_open != Tick::ZERO
                        || circuit.awaits_restore()
                            && match self.pend.poll_restored(circuit, context) {
                                Poll::Ready(peek) => peek != Peek::MayPass,
                                Poll::Pending => {
                                    // The caller now waits for the circuit and no longer for the inner service, so its
                                    // wait for the inner service ends.
                                    self.unready.end();
                                    return Poll::Pending;
                                }
                            };
                    if rejects {
                        self.unready.end();
                        // If the inner service was ready before, it stays ready for the next admitted call.
                        return Poll::Ready(Ok(()));
                    }
                }
                WhenOpen::Pend => {
                    if self.pend.poll(circuit, context).is_pending() {
                        self.unready.end();
                        return Poll::Pending;
                    }
                }
            }
        } else if let Some(gate) = self.circuits.gate()
            && gate.awaits_restore()
            && self.pend.poll_restored(gate, context).is_pending()
        {
            return Poll::Pending;
        }
        let Poll::Ready(result) = self.inner.poll_ready(context) else {
            // `poll_ready` has no request, so the circuit is known only if the service has one circuit for all
            // requests.
            if let Some(circuit) = self.circuits.shared()
                && !self.classifier.cancelled_never_counts()
            {
                self.unready.poll(circuit);
            }
            return Poll::Pending;
        };
        self.unready.end();
        self.inner_ready = result.is_ok();
        Poll::Ready(result.map_err(|error| {
            // `poll_ready` has no request, so the circuit is known only if the service has one circuit for all
            // requests.
            if let Some(circuit) = self.circuits.shared() {
                let text = || self.classifier.describe(Err(&error));
                circuit.record_ready_error(self.classifier.ready_error(&error), Text::new(&text));
            }
            R::map_err(error)
        }))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let start = Flight::<C, Req, S::Response, S::Error>::START;
        let by_criticality = |request: &Req| Drawn::By(self.classifier.criticality(request));
        if let Some(circuit) = self.circuits.shared() {
            if !self.inner_ready {
                let rejected = circuit.reject_as_of(std::mem::take(&mut self.found_open));
                return ResponseFuture::rejected(self.rejection.reject(rejected, request));
            }
            let admitted = circuit.admit(start, || match self.when_open {
                WhenOpen::Reject => by_criticality(&request),
                // A ramp or a throttle rejects no call here. Otherwise a balancer would take the quick rejections for
                // quick responses, and prefer this endpoint.
                WhenOpen::Pend => Drawn::No,
            });
            return match admitted {
                Ok(admission) => {
                    self.inner_ready = false;
                    let begin = |request| self.inner.call(request);
                    let (future, flight) = Flight::start(admission, &self.classifier, request, begin);
                    ResponseFuture::called(future, flight)
                }
                Err(rejected) => ResponseFuture::rejected(self.rejection.reject(rejected, request)),
            };
        }
        let inner_ready = self.inner_ready;
        let admit = |circuit: &Circuit| {
            if inner_ready {
                circuit.admit(start, || by_criticality(&request)).map(Admission::permit)
            } else {
                Err(circuit.reject_as_of(Tick::ZERO))
            }
        };
        match self.circuits.with(&request, |circuit| circuit.map(admit)) {
            Some(Ok(permit)) => {
                self.inner_ready = false;
                let begin = |request| self.inner.call(request);
                let (future, flight) = Flight::start_permitted(permit, &self.classifier, request, begin);
                ResponseFuture::called(future, flight)
            }
            Some(Err(rejected)) => ResponseFuture::rejected(self.rejection.reject(rejected, request)),
            None => {
                self.inner_ready = false;
                ResponseFuture::unguarded(self.inner.call(request))
            }
        }
    }
}

impl<S: Clone, C: Clone, R: Clone, K: Clone> Clone for CircuitBreaker<S, C, R, K> {
    fn clone(&self) -> Self {
        let (inner, circuits) = (self.inner.clone(), self.circuits.clone());
        // The clone starts without readiness, because the clone of a ready inner service is not ready.
        Self::new(inner, circuits, self.classifier.clone(), self.rejection.clone(), self.when_open)
    }
}

impl<S: fmt::Debug, C, R, K: fmt::Debug> fmt::Debug for CircuitBreaker<S, C, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("circuits", &self.circuits)
            .field("when_open", &self.when_open)
            .finish_non_exhaustive()
    }
}
