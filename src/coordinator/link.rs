//! Whether the store can be asked now: backoff after failures, and what humans are told of them.

use std::time::Duration;

use crate::clock::Tick;
use crate::random::Dice;
use crate::record::Timestamp;
use crate::store::StoreError;
use crate::telemetry;
use crate::telemetry::store::Rank;

/// The health of a store, as seen from here.
#[derive(Debug)]
pub(super) struct Link {
    kind: &'static str,
    /// Failures since the last success.
    failures: u32,
    /// When it may be asked again.
    next: Tick,
    /// When the next line about failures may be logged, and how many were not.
    next_line: Tick,
    untold: u64,
    /// Whether a failure was told of, and not yet that the store answers again.
    told: bool,
    pub(super) last_error: Option<String>,
    /// The time of the store, at a tick.
    clock: Option<(Tick, Timestamp)>,
}

impl Link {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            failures: 0,
            next: Tick::ZERO,
            next_line: Tick::ZERO,
            untold: 0,
            told: false,
            last_error: None,
            clock: None,
        }
    }

    pub(super) const fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn is_up(&self) -> bool {
        self.failures == 0
    }

    /// How many operations may be under way: one, to find out, while it is down.
    pub(super) fn room(&self, now: Tick) -> usize {
        match self.failures {
            0 => CONCURRENT,
            _ if now >= self.next => 1,
            _ => 0,
        }
    }

    /// When it may be asked again, if it is down.
    pub(super) fn next(&self) -> Option<Tick> {
        (self.failures > 0).then_some(self.next)
    }

    /// Lets it be asked at once: somebody waits for the answer.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.next = self.next.min(now);
    }

    pub(super) fn succeeded(&mut self, now: Tick, store: Option<Timestamp>) {
        if let Some(store) = store {
            self.clock = Some((now, store));
        }
        if self.failures > 0 {
            // The next line still has to wait: what fails half the time would fill the log.
            if std::mem::take(&mut self.told) {
                telemetry::store::recovered(self.kind, self.failures);
            }
            self.failures = 0;
            self.last_error = None;
        }
    }

    pub(super) fn failed(&mut self, now: Tick, operation: &'static str, error: &StoreError, dice: &mut Dice) {
        self.failures = self.failures.saturating_add(1);
        self.next = now.saturating_add(backoff(self.failures, dice));
        self.note(now, operation, error);
    }

    /// Tells of a failure: the first at once, then one line a minute.
    pub(super) fn note(&mut self, now: Tick, operation: &'static str, error: &StoreError) {
        self.last_error = Some(error.chain());
        if now < self.next_line {
            self.untold += 1;
            return;
        }
        self.next_line = now.saturating_add(LINE_EVERY);
        self.told = true;
        telemetry::store::failed(Rank::Durable, self.kind, operation, &error.chain(), std::mem::take(&mut self.untold));
    }

    /// The time of the store, if it ever told.
    pub(super) fn time(&self, now: Tick) -> Option<Timestamp> {
        self.clock.map(|(tick, time)| time.saturating_add(now.saturating_since(tick)))
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn backoff(failures: u32, dice: &mut Dice) -> Duration {
    let most = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
    // Full jitter, so that instances do not come back in step; but never at once.
    FIRST_WAIT.saturating_add(most.mul_f64(dice.share()))
}

/// How many operations may be under way.
const CONCURRENT: usize = 16;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LINE_EVERY: Duration = Duration::from_secs(60);
