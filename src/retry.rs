//! Retries that know a rejection: for tower's `RetryLayer`, outside the circuit breaker.
//!
//! A retry that does not know rejections makes the next attempt at an open circuit, and the next, until it has none left: each
//! is rejected at once, and withdraws from the budget that failures of the service should have had. [`RetryPolicy`] takes a
//! rejection for the answer, or waits until the circuit probes. Either way it costs neither budget nor an attempt: the service
//! was never called.
//!
//! It is a wrapper around a `tower::retry::Policy`: around one of your own by [`RetryPolicy::new`], or around the complete one
//! that [`RetryPolicy::builder`] makes, with a limit of attempts, a backoff with a maximum and jitter, and a budget. Budget and
//! backoff are tower's: [`TpsBudget`](tower::retry::budget::TpsBudget),
//! [`ExponentialBackoffMaker`](tower::retry::backoff::ExponentialBackoffMaker). Nothing here hedges, and nothing sends a
//! request twice at once.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, retry::RetryLayer};
//! use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, retry::RetryPolicy};
//!
//! # let client = tower::service_fn(|_: u32| async { Ok::<_, std::io::Error>(1) });
//! let circuit = Circuit::new(Config::new("payments")?);
//! let retries = RetryPolicy::builder().backoff(Duration::from_millis(50), Duration::from_secs(1)).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(RetryLayer::new(retries))
//!     .layer(CircuitBreakerLayer::new(&circuit))
//!     .service(client);
//! # fn usable<S: tower::Service<u32>>(_: S) {} usable(service);
//! # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
//! ```

mod attempts;
mod backoff;
mod builder;
mod find;
mod repeat;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower::retry::Policy;
use tower::retry::backoff::Backoff as _;

use crate::config::ConfigError;
use crate::error::Rejected;
use crate::state::RejectReason;
pub use attempts::Attempts;
use backoff::{Backoff, Spacing};
pub use builder::RetryPolicyBuilder;
pub use find::{FindRejected, InErrors, InResponses, MayBeRejected};
#[cfg(feature = "http")]
pub use repeat::idempotent;
pub use repeat::{Cloned, Repeat};

/// A retry policy that knows rejections, around one that knows what else is worth a retry.
///
/// A rejection is returned at once, or waited for with [`wait_for_circuit`](Self::wait_for_circuit); the policy inside is never
/// asked about it. It is looked for in the error, which must be a `BoxError`, an [`Error`](crate::Error) or another that
/// [`MayBeRejected`]; [`in_responses`](Self::in_responses) and [`find_by`](Self::find_by) look elsewhere.
///
/// tower clones it for each call: the clone counts that call's attempts and waits, the budget is shared.
///
/// # Cancel safety
///
/// A call that is dropped while it waits for its next attempt makes none. What it has withdrawn from the budget stays
/// withdrawn.
#[derive(Clone)]
#[must_use = "a policy does nothing until a `RetryLayer` has it"]
pub struct RetryPolicy<P = Attempts, F = InErrors> {
    policy: P,
    find: F,
    backoff: Backoff,
    longest_wait: Duration,
    waits_left: u32,
}

impl RetryPolicy {
    /// Starts a complete policy from its defaults: 3 attempts, 100 ms to 2 s between them, retries for a fifth of the successes
    /// and for 10 calls a second.
    pub fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::new()
    }
}

impl<P> RetryPolicy<P> {
    /// Wraps a policy of your own. It is asked about everything but rejections.
    pub fn new(policy: P) -> Self {
        Self::with_spacing(policy, Spacing::default())
    }

    fn with_spacing(policy: P, spacing: Spacing) -> Self {
        Self { policy, find: InErrors, backoff: spacing.start(), longest_wait: Duration::ZERO, waits_left: 0 }
    }
}

impl<P, F> RetryPolicy<P, F> {
    /// Waits for a rejecting circuit instead of returning the rejection: up to `longest` at a time, `times` times for each call.
    ///
    /// Default: it does not wait. A circuit that says how long it stays open is waited for that long, and a step of the backoff
    /// more, so that those who wait do not all come back in the same instant; one that is half-open only for the step. A
    /// rejection is returned at once if it asks for more than `longest`, if the circuit stays open until somebody resets it, and
    /// when `times` is used up. One probe is admitted at a time by default, and the others who wait are rejected again: 2 or 3
    /// times is sound.
    pub fn wait_for_circuit(mut self, longest: Duration, times: u32) -> Self {
        self.longest_wait = longest;
        self.waits_left = times;
        self
    }

    /// Sets the backoff of the waits for a circuit: doubling from `first` to `max`, with that share of itself at random on top.
    ///
    /// Default: 100 ms, 2 s and 0.5, or those of the builder. Range: 1 ms to 1 hour, `first` not above `max`; jitter 0 to 1.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a value is out of its range.
    pub fn with_backoff(mut self, first: Duration, max: Duration, jitter: f64) -> Result<Self, ConfigError> {
        self.backoff = Spacing { first, max, jitter }.checked()?.start();
        Ok(self)
    }

    /// Looks for the rejection in the extensions of responses: for circuits that reject with
    /// a response, such as `HttpRejection` and `GrpcRejection`.
    ///
    /// For `http::Response` (feature `http`) and `reqwest::Response` (feature `reqwest`).
    pub fn in_responses(self) -> RetryPolicy<P, InResponses> {
        self.found_by(InResponses)
    }

    /// Looks for the rejection with a closure over the result, for an error type of your own.
    ///
    /// ```
    /// use tower_circuit_breaker::{Rejected, retry::RetryPolicy};
    ///
    /// enum OrderError {
    ///     TryLater(Rejected),
    ///     Broken,
    /// }
    ///
    /// let policy = RetryPolicy::builder().build()?.find_by(|result: &Result<u32, OrderError>| match result {
    ///     Err(OrderError::TryLater(rejected)) => Some(rejected),
    ///     Ok(_) | Err(OrderError::Broken) => None,
    /// });
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    pub fn find_by<Res, Err, G>(self, find: G) -> RetryPolicy<P, G>
    where
        // The bound stands here, so that a closure's references are taken as it is written.
        G: Fn(&Result<Res, Err>) -> Option<&Rejected>,
    {
        self.found_by(find)
    }

    /// Returns the policy inside.
    #[must_use]
    pub const fn policy(&self) -> &P {
        &self.policy
    }

    fn found_by<G>(self, find: G) -> RetryPolicy<P, G> {
        let Self { policy, backoff, longest_wait, waits_left, .. } = self;
        RetryPolicy { policy, find, backoff, longest_wait, waits_left }
    }

    /// How long to wait for the circuit, if it is to be waited for: without the step of the backoff.
    fn wait(&self, rejected: &Rejected) -> Option<Duration> {
        let known = match (rejected.reason(), rejected.retry_after()) {
            (_, Some(after)) => after,
            // It ends as soon as a probe does, or the load sinks.
            (RejectReason::HalfOpen | RejectReason::LoadShed, None) => Duration::ZERO,
            // Held, or recovering only by hand: nobody knows until when.
            (RejectReason::Tripped, None) => return None,
        };
        (self.waits_left > 0 && known <= self.longest_wait).then_some(known)
    }
}

impl<P, F, Req, Res, E> Policy<Req, Res, E> for RetryPolicy<P, F>
where
    P: Policy<Req, Res, E>,
    F: FindRejected<Res, E>,
{
    type Future = RetryFuture<P::Future>;

    fn retry(&mut self, request: &mut Req, result: &mut Result<Res, E>) -> Option<Self::Future> {
        let Some(rejected) = self.find.find_rejected(result) else {
            let waiting = self.policy.retry(request, result)?;
            return Some(RetryFuture { wait: Wait::ForRetry { waiting } });
        };
        let known = self.wait(rejected)?;
        self.waits_left -= 1;
        let step = self.backoff.next_backoff();
        // At most a year or so: no open duration is longer.
        let waiting = sleep_until(step.deadline() + known);
        Some(RetryFuture { wait: Wait::ForCircuit { waiting } })
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        self.policy.clone_request(request)
    }
}

impl<P: fmt::Debug, F> fmt::Debug for RetryPolicy<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RetryPolicy");
        debug.field("policy", &self.policy).field("longest_wait", &self.longest_wait);
        debug.field("waits_left", &self.waits_left).finish_non_exhaustive()
    }
}

pin_project! {
    /// The wait before the next attempt.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves nothing behind: no attempt is made.
    #[derive(Debug)]
    pub struct RetryFuture<F> {
        #[pin]
        wait: Wait<F>,
    }
}

pin_project! {
    #[project = WaitProj]
    #[derive(Debug)]
    enum Wait<F> {
        ForRetry { #[pin] waiting: F },
        ForCircuit { #[pin] waiting: Sleep },
    }
}

impl<F: Future<Output = ()>> Future for RetryFuture<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.project().wait.project() {
            WaitProj::ForRetry { waiting } => waiting.poll(context),
            WaitProj::ForCircuit { waiting } => waiting.poll(context),
        }
    }
}
