//! The health of a store, with its failures since the last success and the pause after a failure.
//!
//! The module also limits the number of failures that are logged. The caller chooses the length of each pause, because
//! the pauses of a registry have a random part and the pauses of a tier of a store do not. The random part spreads the
//! attempts of the instances.

use std::time::Duration;

use crate::clock::Tick;
use crate::telemetry::lines::Lines;

/// The health of a store, as observed by one registry or by one store of two tiers.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The number of failures since the last success.
    failures: u32,
    /// The end of the pause after the last failure.
    next: Tick,
    lines: Lines,
    /// True if a failure was logged since the last success.
    logged: bool,
}

impl Health {
    /// Returns true if the last operation did not fail.
    pub(crate) const fn is_up(&self) -> bool {
        self.failures == 0
    }

    /// Returns true if the next operation may use the store, because the store is up or its pause is over.
    pub(crate) fn may_ask(&self, now: Tick) -> bool {
        self.is_up() || now >= self.next
    }

    /// Returns the end of the pause if the store is down, and otherwise `None`.
    pub(crate) fn next(&self) -> Option<Tick> {
        (!self.is_up()).then_some(self.next)
    }

    /// Counts a failure, and returns the number of failures since the last success.
    pub(crate) const fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Sets the end of the pause after the last failure.
    pub(crate) const fn pause_until(&mut self, next: Tick) {
        self.next = next;
    }

    /// Ends the pause now, so that the next operation uses the store again.
    pub(crate) fn hurry(&mut self, now: Tick) {
        self.next = self.next.min(now);
    }

    /// Returns the number of unlogged failures since the last log line, if this failure must be logged. Returns `None`
    /// if the last line is less than a minute old.
    #[must_use = "the caller logs the failure"]
    pub(crate) fn line(&mut self, now: Tick) -> Option<u64> {
        let unlogged = self.lines.next(now);
        self.logged |= unlogged.is_some();
        unlogged
    }

    /// Notes a success. Returns the number of failures before the success if the caller must log the recovery.
    ///
    /// The success does not shorten the interval between log lines about failures. Otherwise a store that fails half
    /// the time would fill the log.
    #[must_use = "the caller logs the recovery"]
    pub(crate) fn succeeded(&mut self) -> Option<u32> {
        let (failures, logged) = (std::mem::take(&mut self.failures), std::mem::take(&mut self.logged));
        (failures > 0 && logged).then_some(failures)
    }
}

/// Returns `first` doubled `times` times, but at most `longest`.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::ZERO.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn one_line_a_minute_counts_the_failures_that_were_not_logged() {
        let mut health = Health::default();
        assert_eq!([0, 1, 59, 60, 61].map(|second| health.line(at(second))), [Some(0), None, None, Some(2), None]);
    }

    #[test]
    fn a_recovery_is_logged_only_after_a_logged_failure() {
        let mut health = Health::default();
        assert_eq!(health.succeeded(), None, "nothing has failed");
        assert_eq!([health.failed(), health.failed()], [1, 2]);
        assert_eq!(health.line(at(0)), Some(0));
        assert_eq!(health.succeeded(), Some(2));
        assert_eq!(health.failed(), 1);
        assert_eq!(health.line(at(1)), None, "the minute is not over");
        assert_eq!(health.succeeded(), None);
    }

    #[test]
    fn a_line_without_a_counted_failure_makes_no_later_recovery() {
        let mut health = Health::default();
        assert_eq!(health.line(at(0)), Some(0));
        assert_eq!(health.succeeded(), None);
        health.failed();
        assert_eq!(health.succeeded(), None, "this failure was not logged");
    }

    #[test]
    fn a_store_that_is_down_is_tried_after_its_pause() {
        let mut health = Health::default();
        health.failed();
        health.pause_until(at(5));
        assert_eq!([4, 5].map(|second| health.may_ask(at(second))), [false, true]);
        health.hurry(at(2));
        assert_eq!(health.next(), Some(at(2)));
    }
}
