//! The complete retry policy, which retries failures with a limit, a backoff and a budget.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Sleep, sleep_until};
use tower::retry::Policy;
use tower::retry::backoff::Backoff as _;
use tower::retry::budget::{Budget, TpsBudget};

use super::backoff::Backoff;
use super::repeat::{Cloned, Repeat};
use crate::classify::{Classifier, DefaultClassifier};
use crate::outcome::Outcome;

/// Retries failures a limited number of times, with growing waits, within a budget. [`RetryPolicy::builder`] creates
/// the value and wraps it in a policy that handles rejections.
///
/// A classifier decides whether a result is a failure, so give the breaker and the retries the same classifier. A
/// success deposits into the budget, and a retry withdraws from the budget. If a failure has a
/// [`retry_after`](crate::Failure::retry_after) (RFC 9110, 10.2.3), this time is added to the wait. If the
/// `retry_after` is longer than the maximum of the backoff, there is no retry.
///
/// [`RetryPolicy::builder`]: super::RetryPolicy::builder
#[derive(Clone)]
pub struct Attempts<C = DefaultClassifier, Q = Cloned> {
    pub(super) classifier: C,
    pub(super) repeat: Q,
    pub(super) left: u32,
    pub(super) backoff: Backoff,
    pub(super) longest: Duration,
    pub(super) budget: Arc<TpsBudget>,
}

impl<C, Q, Req, Res, E> Policy<Req, Res, E> for Attempts<C, Q>
where
    C: Classifier<Req, Res, E>,
    Q: Repeat<Req>,
{
    type Future = Sleep;

    fn retry(&mut self, request: &mut Req, result: &mut Result<Res, E>) -> Option<Sleep> {
        // `request` is the copy that tower made before the attempt. For the classifier, the copy has the same data as
        // the sent request.
        let call = self.classifier.start(request);
        let failure = match self.classifier.finish(call, result.as_ref(), Duration::ZERO) {
            Outcome::Success => {
                self.budget.deposit();
                return None;
            }
            Outcome::Ignored => return None,
            // The service reported that it cancelled the call. If the deadline of the caller has passed, a retry is
            // useless. If the call ended before the deadline, the cancellation says nothing about the service, so the
            // outcome counts as ignored, and ignored outcomes are not retried. Therefore there is no retry in either
            // case.
            #[cfg(feature = "http")]
            Outcome::Failure(failure) if failure.is_ignored_early() => return None,
            Outcome::Failure(failure) => failure,
        };
        let delay = failure.retry_after().unwrap_or_default();
        if self.left == 0 || delay > self.longest || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        let step = self.backoff.next_backoff();
        // The random step of the backoff is added to the delay. The service may have given the same delay to many
        // callers at once, and the steps spread their retries.
        Some(sleep_until(step.deadline() + delay))
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        // A copy is also needed before the last attempt, because the circuit may reject that attempt. The policy may
        // then wait and send the copy.
        self.repeat.copy(request)
    }
}

impl<C, Q> fmt::Debug for Attempts<C, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").field("left", &self.left).field("budget", &self.budget).finish_non_exhaustive()
    }
}
