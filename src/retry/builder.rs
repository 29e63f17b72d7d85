//! The builder of a complete retry policy, which checks the settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::retry::budget::TpsBudget;

use super::RetryPolicy;
use super::attempts::Attempts;
use super::backoff::Spacing;
use super::repeat::Cloned;
use crate::classify::{DefaultClassifier, FnClassifier};
use crate::config::ConfigError;
use crate::outcome::Outcome;

/// Unchecked settings of a complete retry policy. Each method states its range and default.
#[derive(Clone)]
#[must_use = "settings do nothing until `build` makes a `RetryPolicy` of them"]
pub struct RetryPolicyBuilder<C = DefaultClassifier, Q = Cloned> {
    classifier: C,
    repeat: Q,
    attempts: u32,
    spacing: Spacing,
    ratio: f32,
    per_second: u32,
    shared: Option<Arc<TpsBudget>>,
}

impl RetryPolicyBuilder {
    pub(super) fn new() -> Self {
        Self {
            classifier: DefaultClassifier,
            repeat: Cloned,
            attempts: 3,
            spacing: Spacing::default(),
            ratio: 0.2,
            per_second: 10,
            shared: None,
        }
    }
}

impl<C, Q> RetryPolicyBuilder<C, Q> {
    /// Sets the maximum number of attempts for one request, including the first. Range: 1 to 100. Default: 3.
    ///
    /// Attempts that the circuit rejects do not count.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the wait before the first retry, and the maximum of the waits. The wait doubles with each retry. Default:
    /// 100 ms and 2 s.
    ///
    /// Range: 1 ms to 1 hour, where `first` must not exceed `max`. If a failure has a `retry_after` of at most `max`,
    /// this time is added to the wait. If the `retry_after` is longer than `max`, there is no retry.
    pub const fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.spacing.first = first;
        self.spacing.max = max;
        self
    }

    /// Sets the largest share of a wait by which the wait is lengthened at random. Range: 0 to 1. Default: 0.5.
    ///
    /// A wait with its jitter never exceeds the maximum of the backoff, so waits that have reached the maximum have no
    /// jitter.
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.spacing.jitter = jitter;
        self
    }

    /// Sets the number of retries that the budget permits for each success of the last 10 s. Range: 0 to 10. Default:
    /// 0.2, which is one retry for five successes.
    pub const fn retry_ratio(mut self, ratio: f32) -> Self {
        self.ratio = ratio;
        self
    }

    /// Sets the number of retries a second that the budget permits without any success, on average over 10 s. Range: 0
    /// to 1 000 000. Default: 10.
    pub const fn min_retries_per_second(mut self, retries: u32) -> Self {
        self.per_second = retries;
        self
    }

    /// Sets a budget that other policies share. The shared budget replaces the policy's own budget, so that
    /// `retry_ratio` and `min_retries_per_second` have no effect.
    pub fn shared_budget(mut self, budget: Arc<TpsBudget>) -> Self {
        self.shared = Some(budget);
        self
    }

    /// Sets the closure that judges each result. Failures of any weight are retried. By default every error is a
    /// failure, except an error that [`outcome_of`](crate::classify::outcome_of) ignores, such as tower's `Overloaded`.
    pub fn classify<Res, Err, F>(self, f: F) -> RetryPolicyBuilder<FnClassifier<F>, Q>
    where
        // The bound must be on this method. From this bound, the compiler infers the reference lifetimes of the
        // closure.
        F: Fn(Result<&Res, &Err>) -> Outcome,
    {
        self.classifier(FnClassifier::new(f))
    }

    /// Sets the classifier that judges each result. Failures of any weight are retried. Use the classifier of the
    /// breaker, if the breaker has one.
    ///
    /// The classifier always sees an `elapsed` of zero, even if
    /// [`NEEDS_ELAPSED`](crate::classify::Classifier::NEEDS_ELAPSED) is true. A late response is no reason to repeat
    /// the call.
    pub fn classifier<C2>(self, classifier: C2) -> RetryPolicyBuilder<C2, Q> {
        let Self { repeat, attempts, spacing, ratio, per_second, shared, .. } = self;
        RetryPolicyBuilder { classifier, repeat, attempts, spacing, ratio, per_second, shared }
    }

    /// Sets the function that copies a request, or returns `None` if the request must not be sent again. Default:
    /// copies every request with `Clone`.
    ///
    /// For requests of `http`, [`idempotent`](fn@super::idempotent) excludes POST and PATCH. For requests of reqwest,
    /// [`idempotent_reqwest`](fn@super::idempotent_reqwest) does the same. `reqwest::Request::try_clone` would repeat a
    /// POST, so that the service could act twice.
    pub fn repeat<Req, Q2>(self, repeat: Q2) -> RetryPolicyBuilder<C, Q2>
    where
        // The bound must be on this method. From this bound, the compiler infers the reference lifetimes of the
        // closure.
        Q2: Fn(&Req) -> Option<Req>,
    {
        let Self { classifier, attempts, spacing, ratio, per_second, shared, .. } = self;
        RetryPolicyBuilder { classifier, repeat, attempts, spacing, ratio, per_second, shared }
    }

    /// Checks the settings and creates the policy, with its own budget unless a shared budget is set.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first setting that is out of its range.
    pub fn build(self) -> Result<RetryPolicy<Attempts<C, Q>>, ConfigError> {
        let Self { classifier, repeat, attempts, spacing, ratio, per_second, shared } = self;
        if !(1..=MOST_ATTEMPTS).contains(&attempts) {
            return Err(ConfigError::new("attempts", attempts, format!("1 to {MOST_ATTEMPTS}")));
        }
        if !(0.0..=10.0).contains(&ratio) {
            return Err(ConfigError::new("retry_ratio", ratio, "0 to 10"));
        }
        if per_second > MOST_PER_SECOND {
            return Err(ConfigError::new("min_retries_per_second", per_second, "0 to 1000000"));
        }
        let spacing = spacing.checked()?;
        let budget = shared.unwrap_or_else(|| Arc::new(TpsBudget::new(BUDGETED, per_second, ratio)));
        let (left, backoff, longest) = (attempts - 1, spacing.start(), spacing.max);
        let policy = Attempts { classifier, repeat, left, backoff, longest, budget };
        Ok(RetryPolicy::with_spacing(policy, spacing))
    }
}

impl<C, Q> fmt::Debug for RetryPolicyBuilder<C, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RetryPolicyBuilder");
        debug.field("attempts", &self.attempts).field("spacing", &self.spacing);
        debug.field("retry_ratio", &self.ratio).field("min_retries_per_second", &self.per_second);
        debug.field("shared_budget", &self.shared).finish_non_exhaustive()
    }
}

const MOST_ATTEMPTS: u32 = 100;
const MOST_PER_SECOND: u32 = 1_000_000;
/// The time for which the budget counts a success or a retry, the same as in tower's default budget.
const BUDGETED: Duration = Duration::from_secs(10);
