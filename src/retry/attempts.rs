//! The complete policy: which failures are worth a retry, how many, how far apart, and within which budget.

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

/// Retries failures, a few times, ever further apart, within a budget: what [`RetryPolicy::builder`] makes, which lends it
/// the knowledge of rejections.
///
/// A classifier says what is a failure, as in the breaker: give both the same. A success deposits into the budget, a retry
/// withdraws from it. What a failure's [`retry_after`](crate::Failure::retry_after) asks for is waited for (RFC 9110, 10.2.3), if
/// it is not above the backoff's maximum; else there is no retry.
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
        // The copy of the request, as tower took it before the attempt, is as good as the request was.
        let call = self.classifier.start(request);
        let failure = match self.classifier.finish(call, result.as_ref(), Duration::ZERO) {
            Outcome::Success => {
                self.budget.deposit();
                return None;
            }
            Outcome::Ignored => return None,
            Outcome::Failure(failure) => failure,
        };
        let asked = failure.retry_after().unwrap_or_default();
        if self.left == 0 || asked > self.longest || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        let step = self.backoff.next_backoff();
        // The service said when; the step on top keeps those whom it told the same apart.
        Some(sleep_until(step.deadline() + asked))
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        // Also before the last attempt: the circuit may reject that one, and be waited for.
        self.repeat.copy(request)
    }
}

impl<C, Q> fmt::Debug for Attempts<C, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").field("left", &self.left).field("budget", &self.budget).finish_non_exhaustive()
    }
}
