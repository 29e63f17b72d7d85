//! The builder of a complete retry policy, and the checks that make it one.

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

/// Settings of a complete retry policy that are not checked yet. Each method says its range and default.
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
    /// Sets how often the service is called for one call at most, the first time included. Range: 1 to 100. Default: 3.
    ///
    /// Calls that the circuit rejected are not among them.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the wait before the first retry, which doubles with each, and its maximum. Default: 100 ms and 2 s.
    ///
    /// Range: 1 ms to 1 hour, `first` not above `max`. What a failure asked for, itself at most `max`, is added to the wait.
    pub const fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.spacing.first = first;
        self.spacing.max = max;
        self
    }

    /// Sets up to which share of itself a wait is lengthened at random. Range: 0 to 1. Default: 0.5.
    ///
    /// It never lengthens one beyond the maximum: waits that have reached it are all alike.
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.spacing.jitter = jitter;
        self
    }

    /// Sets how many retries a success of the last 10 s pays for. Range: 0 to 10. Default: 0.2, one for five.
    pub const fn retry_ratio(mut self, ratio: f32) -> Self {
        self.ratio = ratio;
        self
    }

    /// Sets how many retries a second there are without any success, on an average over 10 s. Range: 0 to 1 000 000.
    /// Default: 10.
    pub const fn min_retries_per_second(mut self, retries: u32) -> Self {
        self.per_second = retries;
        self
    }

    /// Takes a budget that other policies have too, in place of one of its own: the two settings above are not used then.
    pub fn shared_budget(mut self, budget: Arc<TpsBudget>) -> Self {
        self.shared = Some(budget);
        self
    }

    /// Retries what a closure over the result calls a failure, of whatever weight. Default: every error but tower's `Overloaded`.
    pub fn classify<Res, Err, F>(self, f: F) -> RetryPolicyBuilder<FnClassifier<F, Res, Err>, Q>
    where
        // The bound stands here, so that a closure's references are taken as it is written.
        F: Fn(Result<&Res, &Err>) -> Outcome,
    {
        self.classifier(FnClassifier::new(f))
    }

    /// Retries what a classifier calls a failure, of whatever weight: the classifier of the breaker, if it has one.
    ///
    /// It is told that no time has passed, also if it
    /// [needs to know](crate::classify::Classifier::NEEDS_ELAPSED): an answer that is there is not asked for again because
    /// it was late.
    pub fn classifier<C2>(self, classifier: C2) -> RetryPolicyBuilder<C2, Q> {
        let Self { repeat, attempts, spacing, ratio, per_second, shared, .. } = self;
        RetryPolicyBuilder { classifier, repeat, attempts, spacing, ratio, per_second, shared }
    }

    /// Says which requests may be sent again, and copies them. Default: all, by `Clone`.
    ///
    /// For HTTP, [`idempotent`](fn@super::idempotent) leaves out POST and PATCH; for reqwest, give it
    /// `reqwest::Request::try_clone`.
    pub fn repeat<Req, Q2>(self, repeat: Q2) -> RetryPolicyBuilder<C, Q2>
    where
        // As in `classify`.
        Q2: Fn(&Req) -> Option<Req>,
    {
        let Self { classifier, attempts, spacing, ratio, per_second, shared, .. } = self;
        RetryPolicyBuilder { classifier, repeat, attempts, spacing, ratio, per_second, shared }
    }

    /// Checks the settings and makes the policy, with a budget of its own unless it was given one.
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
/// As long as tower's default budget looks back.
const BUDGETED: Duration = Duration::from_secs(10);
