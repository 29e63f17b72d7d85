//! The link to the store, with the backoff after failures, the log lines about failures, and the clock of the store.
//!
//! All circuits of a registry share one link. During an outage, a thousand circuits therefore do not cause a thousand
//! attempts and log lines.

use std::time::Duration;

use crate::clock::Tick;
use crate::random::Dice;
use crate::record::Timestamp;
use crate::store::health::{Health, doubled};
use crate::store::{StoreError, StoreErrorKind};
use crate::telemetry;
use crate::telemetry::store::Rank;

/// The link to the store, shared by all circuits of a registry.
#[derive(Debug)]
pub(super) struct Link {
    kind: &'static str,
    health: Health,
    /// True if the store has answered at least once. A refusal counts as an answer.
    has_answered: bool,
    /// True if a write has failed, and no write has succeeded since then.
    write_failed: bool,
    /// The number of past failures that the next log line about a recovery will report.
    failures: u32,
    /// The last error, with its kind.
    pub(super) last_error: Option<(StoreErrorKind, String)>,
    /// A tick of the local clock, and the time of the store at that tick. The present time of the store is estimated
    /// from this pair.
    clock: Option<(Tick, Timestamp)>,
    /// The time of the last failure that lengthened the backoff.
    counted: Tick,
}

impl Link {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            health: Health::default(),
            has_answered: false,
            write_failed: false,
            failures: 0,
            last_error: None,
            clock: None,
            counted: Tick::ZERO,
        }
    }

    pub(super) const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns true while the store is up. The store is down from a failure to answer until its next answer. Returns
    /// true before the first operation too, so that operations begin.
    pub(super) const fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// Returns true if the store has answered at least once and is up.
    pub(super) const fn answers(&self) -> bool {
        self.has_answered && self.is_up()
    }

    /// Returns the number of operations that may run at the same time. While the store is down, no operation runs
    /// during the backoff. After the backoff, one operation tries the store.
    pub(super) fn room(&self, now: Tick) -> usize {
        if self.is_up() { CONCURRENT } else { self.health.may_ask(now).into() }
    }

    /// Returns the time of the next attempt while the store is down. `None` while the store is up.
    pub(super) fn next(&self) -> Option<Tick> {
        self.health.next()
    }

    /// Ends the backoff, because a caller waits for an answer, or because the store may answer again.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.health.hurry(now);
    }

    /// Ends the backoff after a success, and logs the recovery if a failure was logged. `store` is the time of the
    /// store, or `None` if the operation returns no time.
    ///
    /// After a failed write, `last_error` stays, and the recovery is not logged until a write succeeds. A successful
    /// load is not enough, because a store that is full or read-only still answers loads.
    pub(super) fn succeeded(&mut self, now: Tick, operation: &'static str, store: Option<Timestamp>) {
        if let Some(store) = store {
            self.clock = Some((now, store));
        }
        self.has_answered = true;
        let was_down = !self.is_up() || self.write_failed;
        self.failures = self.failures.saturating_add(self.health.succeeded().unwrap_or(0));
        if self.write_failed && !writes(operation) {
            return;
        }
        self.write_failed = false;
        if was_down {
            self.last_error = None;
        }
        if self.failures > 0 {
            telemetry::store::recovered(self.kind, std::mem::take(&mut self.failures));
        }
    }

    /// Logs a failure and begins a backoff, which grows with the failures in a row. The operation began at `began`.
    /// Operations that ran at the same time and failed together count as one failure.
    pub(super) fn failed(
        &mut self,
        began: Tick,
        now: Tick,
        operation: &'static str,
        error: &StoreError,
        dice: &mut Dice,
    ) {
        if self.is_up() || began >= self.counted {
            let failures = self.health.failed();
            self.health.pause_until(now.saturating_add(backoff(failures, dice)));
            self.counted = now;
        }
        self.write_failed |= writes(operation);
        self.note(now, operation, error);
    }

    /// Logs the failure. The first failure is logged immediately, and later failures share one line a minute. Unlike
    /// [`failed`](Self::failed), this function begins no backoff, because a store that refuses one write can take other
    /// writes.
    pub(super) fn note(&mut self, now: Tick, operation: &'static str, error: &StoreError) {
        self.last_error = Some((error.kind(), error.chain()));
        self.has_answered |= error.kind().is_lasting();
        if let Some(unlogged) = self.health.line(now) {
            telemetry::store::failed(Rank::Durable, self.kind, operation, &error.chain(), unlogged);
        }
    }

    /// Forgets the estimated time of the store. The estimate depends on the local clock, which may have stopped during
    /// a suspend of the machine.
    pub(super) fn forget_time(&mut self) {
        self.clock = None;
    }

    /// Returns the estimated time of the store. `None` before the first answer of the store, and after a suspend of the
    /// machine until the next answer.
    pub(super) fn time(&self, now: Tick) -> Option<Timestamp> {
        self.clock.map(|(tick, time)| time.saturating_add(now.saturating_since(tick)))
    }
}

/// Returns true if the operation of this name changes the store.
fn writes(operation: &str) -> bool {
    !matches!(operation, "load" | "list" | "watch" | "audit")
}

/// Returns a random wait after `failures` failures in a row. After more failures, the wait is longer on average.
pub(super) fn backoff(failures: u32, dice: &mut Dice) -> Duration {
    let most = doubled(FIRST_WAIT, failures, LONGEST_WAIT);
    // The random part spreads the attempts of all instances after an outage. The constant part prevents an immediate
    // attempt.
    FIRST_WAIT.saturating_add(most.mul_f64(dice.share()))
}

/// The largest number of operations at the same time while the store is up. The limit protects a store that has just
/// recovered from an outage.
const CONCURRENT: usize = 16;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn operations_that_fail_together_lengthen_the_backoff_once() {
        let (mut link, mut dice) = (Link::new("memory"), Dice::new(Some(1)));
        let at = |millis| Tick::ZERO.saturating_add(Duration::from_millis(millis));
        let mut fail = |began, now| {
            link.failed(at(began), at(now), "load", &StoreError::timed_out("no answer"), &mut dice);
            link.next().unwrap().saturating_since(at(now))
        };
        for number in 0..12 {
            assert!(fail(number, 2_000 + number) <= Duration::from_millis(150), "operation {number}");
        }
        assert!(fail(2_500, 4_500) <= Duration::from_millis(250), "the next attempt counts as the second failure");
        assert!(
            (0..8).map(|number| fail(5_000 + number * 3_000, 7_000 + number * 3_000)).max().unwrap() > FIRST_WAIT * 10
        );
    }

    #[test]
    fn the_error_of_a_failed_write_stays_until_a_write_succeeds() {
        let (mut link, mut dice) = (Link::new("memory"), Dice::new(Some(1)));
        // The second failure is not logged, because the first line is less than a minute old.
        for second in [0_u64, 1] {
            let at = |millis: u64| Tick::ZERO.saturating_add(Duration::from_millis(second * 1_000 + millis));
            link.failed(at(0), at(1), "compare_and_set", &StoreError::timed_out("no answer"), &mut dice);
            link.succeeded(at(2), "load", None);
            assert!(link.is_up() && link.last_error.is_some(), "a load shows only that the store reads");
            link.succeeded(at(3), "compare_and_set", None);
            assert!(link.last_error.is_none(), "after {second} s");
        }
    }
}
