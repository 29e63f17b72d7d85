//! Retries that recognise rejections, for tower's `RetryLayer` outside the circuit breaker.
//!
//! A retry policy that does not know rejections spends all its attempts on an open circuit. The circuit rejects each
//! attempt immediately. Each attempt also uses up a part of the retry budget, which exists for failures of the service.
//! [`RetryPolicy`] returns the rejection to the caller, or, if configured so, waits until the circuit admits calls
//! again. A rejection uses up neither the budget nor an attempt, because the rejected attempt did not reach the
//! service. Earlier attempts of the same call may have reached the service.
//!
//! [`RetryPolicy`] wraps a `tower::retry::Policy`. [`RetryPolicy::new`] wraps a policy of your own.
//! [`RetryPolicy::builder`] creates a complete policy, with a limit of attempts, a backoff with a maximum and jitter,
//! and a budget. Budget and backoff are tower's [`TpsBudget`](tower::retry::budget::TpsBudget) and
//! [`ExponentialBackoffMaker`](tower::retry::backoff::ExponentialBackoffMaker). The policy never sends the same request
//! twice at the same time.
//!
//! By default every request that is `Clone` is repeated, even a POST. Set
//! [`repeat`](RetryPolicyBuilder::repeat) if a request can have an effect each time it arrives.
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
#[cfg(feature = "reqwest")]
pub use repeat::idempotent_reqwest;
pub use repeat::{Cloned, Repeat};

/// A retry policy that handles rejections itself, and leaves all other results to the inner policy `P`.
///
/// The policy returns a rejection immediately, or waits for the circuit if
/// [`wait_for_circuit`](Self::wait_for_circuit) is set. The inner policy never sees a rejection. By default
/// the policy searches the error of the call for a rejection. The error must be a `BoxError`, an
/// [`Error`](crate::Error) or another type that is [`MayBeRejected`]. [`in_responses`](Self::in_responses)
/// and [`find_by`](Self::find_by) search other places.
///
/// tower clones the policy for each call. The clone counts the attempts and the waits of its call, and shares
/// the budget with all other clones.
///
/// # Cancel safety
///
/// A call that is dropped while it waits for its next attempt makes no further attempt. The amount that the call has
/// withdrawn from the budget is not returned.
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
    /// Starts building a complete policy. By default, a call has at most 3 attempts, with a backoff of 100 ms to 2 s.
    /// The default budget permits one retry for every five successes, plus 10 retries a second.
    pub fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::new()
    }
}

impl<P> RetryPolicy<P> {
    /// Wraps a policy of your own, which decides about all results except rejections.
    pub fn new(policy: P) -> Self {
        Self::with_spacing(policy, Spacing::default())
    }

    fn with_spacing(policy: P, spacing: Spacing) -> Self {
        Self { policy, find: InErrors, backoff: spacing.start(), longest_wait: Duration::ZERO, waits_left: 0 }
    }
}

impl<P, F> RetryPolicy<P, F> {
    /// Lets the policy wait for a circuit that rejects the call, instead of returning the rejection. One wait lasts at
    /// most about `longest`, and one call waits at most `times` times.
    ///
    /// Default: no wait. A wait lasts for the `retry_after` of the rejection, plus one step of the backoff. The step
    /// has random jitter, so that waiting callers return at different times. For a half-open circuit the wait is only
    /// the step of the backoff.
    ///
    /// The policy returns a rejection immediately in three cases. The `retry_after` is more than `longest`, the call
    /// has already waited `times` times, or an open circuit has no `retry_after`. In the last case the circuit stays
    /// open until an operator acts or until a required health probe succeeds.
    ///
    /// A good value for `times` is 2 or 3. By default a circuit admits one probe at a time, and rejects the
    /// other waiting callers again.
    pub fn wait_for_circuit(mut self, longest: Duration, times: u32) -> Self {
        self.longest_wait = longest;
        self.waits_left = times;
        self
    }

    /// Sets the backoff of the waits for a circuit. The steps of the backoff double from `first` to `max`. Each step is
    /// lengthened by a random share of up to `jitter`, but not above `max`.
    ///
    /// By default, a policy from the builder uses the backoff of the builder. The default of any other policy is 100
    /// ms, 2 s and 0.5. Range of `first` and `max`: 1 ms to 1 hour, where `first` must not exceed `max`. Range of
    /// `jitter`: 0 to 1.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a value is out of its range.
    pub fn with_backoff(mut self, first: Duration, max: Duration, jitter: f64) -> Result<Self, ConfigError> {
        self.backoff = Spacing { first, max, jitter }.checked()?.start();
        Ok(self)
    }

    /// Searches the extensions of responses, and boxed errors, for the rejection. Use this method for circuits that
    /// reject with a response, such as circuits with `HttpRejection` or `GrpcRejection`.
    ///
    /// The response must be an `http::Response` (feature `http`) or a `reqwest::Response` (feature `reqwest`). With a
    /// `reqwest::Response`, the errors are not searched.
    pub fn in_responses(self) -> RetryPolicy<P, InResponses> {
        self.found_by(InResponses)
    }

    /// Uses a closure to search the result for the rejection, so that an error type of your own can be searched.
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
        // The bound must be on this method. From this bound, the compiler infers the reference lifetimes of the
        // closure.
        G: Fn(&Result<Res, Err>) -> Option<&Rejected>,
    {
        self.found_by(find)
    }

    /// Returns the inner policy.
    #[must_use]
    pub const fn policy(&self) -> &P {
        &self.policy
    }

    fn found_by<G>(self, find: G) -> RetryPolicy<P, G> {
        let Self { policy, backoff, longest_wait, waits_left, .. } = self;
        RetryPolicy { policy, find, backoff, longest_wait, waits_left }
    }

    /// Returns the wait for the circuit, without the step of the backoff. Returns `None` if the policy must return the
    /// rejection without a wait.
    fn wait(&self, rejected: &Rejected) -> Option<Duration> {
        let known = match (rejected.reason(), rejected.retry_after()) {
            (_, Some(after)) => after,
            // The call waits only for the backoff. The circuit may admit the next call at any time, for example as soon
            // as a probe ends.
            (RejectReason::HalfOpen | RejectReason::LoadShed | RejectReason::Ramp | RejectReason::Throttled, None) => {
                Duration::ZERO
            }
            // The circuit stays open until an operator acts or until a required health probe succeeds. Neither time is
            // known, so the call does not wait.
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
        // The sum does not overflow, because the `retry_after` of a rejection is less than 35 years.
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
    /// If the future is dropped while it waits, no further attempt is made.
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
