//! The way to the store: the backoff after failures, the log lines about them, and the time of the store.

use std::time::Duration;

use crate::clock::Tick;
use crate::random::Dice;
use crate::record::Timestamp;
use crate::store::StoreError;
use crate::store::health::{Health, doubled};
use crate::telemetry;
use crate::telemetry::store::Rank;

/// The way to the store, shared by all circuits of a registry.
#[derive(Debug)]
pub(super) struct Link {
    kind: &'static str,
    health: Health,
    pub(super) last_error: Option<String>,
    /// The time of the store, at a tick.
    clock: Option<(Tick, Timestamp)>,
}

impl Link {
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, health: Health::default(), last_error: None, clock: None }
    }

    pub(super) const fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) const fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// How many operations may be under way: one, to find out, while it is down.
    pub(super) fn room(&self, now: Tick) -> usize {
        if self.is_up() { CONCURRENT } else { self.health.may_ask(now).into() }
    }

    /// When it may be asked again, if it is down.
    pub(super) fn next(&self) -> Option<Tick> {
        self.health.next()
    }

    /// Lets it be asked at once: somebody waits for the answer.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.health.hurry(now);
    }

    pub(super) fn succeeded(&mut self, now: Tick, store: Option<Timestamp>) {
        if let Some(store) = store {
            self.clock = Some((now, store));
        }
        if !self.is_up() {
            self.last_error = None;
        }
        if let Some(failures) = self.health.succeeded() {
            telemetry::store::recovered(self.kind, failures);
        }
    }

    pub(super) fn failed(&mut self, now: Tick, operation: &'static str, error: &StoreError, dice: &mut Dice) {
        let failures = self.health.failed();
        self.health.pause_until(now.saturating_add(backoff(failures, dice)));
        self.note(now, operation, error);
    }

    /// Tells of a failure: the first at once, then one line a minute.
    pub(super) fn note(&mut self, now: Tick, operation: &'static str, error: &StoreError) {
        self.last_error = Some(error.chain());
        if let Some(unlogged) = self.health.line(now) {
            telemetry::store::failed(Rank::Durable, self.kind, operation, &error.chain(), unlogged);
        }
    }

    /// The time of the store, if it ever told.
    pub(super) fn time(&self, now: Tick) -> Option<Timestamp> {
        self.clock.map(|(tick, time)| time.saturating_add(now.saturating_since(tick)))
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn backoff(failures: u32, dice: &mut Dice) -> Duration {
    let most = doubled(FIRST_WAIT, failures, LONGEST_WAIT);
    // Full jitter, so that instances do not come back in step; but never at once.
    FIRST_WAIT.saturating_add(most.mul_f64(dice.share()))
}

/// How many operations may be under way.
const CONCURRENT: usize = 16;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
