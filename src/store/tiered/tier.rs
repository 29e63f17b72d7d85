//! One of the two stores, with a time limit, metrics, log lines, and a pause after each failure.
//!
//! Without the pause, each operation on a store that hangs would wait for its whole time limit.

use std::time::Duration;

use crate::clock::{Clock, Tick, TokioClock};
use crate::store::health::{Health, doubled};
use crate::store::{Etag, Store, StoreError, Versioned, WatchEvent, answer_within};
use crate::sync::Mutex;
use crate::telemetry;
pub(super) use crate::telemetry::store::Rank;

/// A store with its rank and its health.
#[derive(Debug)]
pub(super) struct Tier<S> {
    pub(super) store: S,
    rank: Rank,
    clock: TokioClock,
    health: Mutex<Health>,
}

impl<S: Store> Tier<S> {
    pub(super) fn new(store: S, rank: Rank, clock: TokioClock) -> Self {
        telemetry::store::begin(store.kind());
        Self { store, rank, clock, health: Mutex::default() }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.store.kind()
    }

    /// Returns true if the store may be used now. The result is false only during the pause after a failure.
    pub(super) fn answers(&self) -> bool {
        self.health.lock().may_ask(self.clock.now())
    }

    /// Runs an operation of the store, but not longer than `limit`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the operation counts as a failure, because the next operation must not wait for the
    /// same slow store again.
    pub(super) async fn run<T>(
        &self,
        operation: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut running = Running { tier: self, operation, began: self.clock.now(), ended: false };
        let result = answer_within(limit, answer).await;
        running.end(result.as_ref().err());
        result
    }
}

impl<S> Tier<S> {
    /// Records the result of an operation in the metrics and in the health of the tier. Logs a failure or a recovery
    /// after the lock was released.
    fn ended(&self, operation: &'static str, began: Tick, error: Option<&StoreError>, kind: &'static str) {
        let now = self.clock.now();
        let result = error.map_or("ok", |error| error.kind().as_str());
        telemetry::store::operation(kind, operation, result, now.saturating_since(began));
        let mut health = self.health.lock();
        let Some(error) = error else {
            // A success does not reset the limit of the log lines. Otherwise a tier that fails every second time would
            // fill the log.
            let recovered = health.succeeded();
            drop(health);
            if let Some(failures) = recovered {
                telemetry::store::recovered(kind, failures);
            }
            return;
        };
        if error.is_of_one_part() || error.kind().is_lasting() && !CONCERN_ALL.contains(&operation) {
            // The tier has refused one record or one row, or only one part of the tier has failed, such as one node of
            // a cluster. Operations on other records can still succeed, so the tier gets no pause.
            let line = health.line(now);
            drop(health);
            if let Some(unlogged) = line {
                telemetry::store::failed(self.rank, kind, operation, &error.chain(), unlogged);
            }
            return;
        }
        let paused = !health.may_ask(now);
        let failures = health.failed();
        // An operation that began before the pause and fails during the pause does not extend the pause.
        if !paused {
            health.pause_until(now.saturating_add(doubled(FIRST_PAUSE, failures - 1, LONGEST_PAUSE)));
        }
        let line = health.line(now);
        drop(health);
        if let Some(unlogged) = line {
            telemetry::store::failed(self.rank, kind, operation, &error.chain(), unlogged);
        }
    }
}

/// An operation under way. An operation that is dropped before its end counts as a failure of the tier.
struct Running<'a, S: Store> {
    tier: &'a Tier<S>,
    operation: &'static str,
    began: Tick,
    ended: bool,
}

impl<S: Store> Running<'_, S> {
    fn end(&mut self, error: Option<&StoreError>) {
        self.ended = true;
        self.tier.ended(self.operation, self.began, error, self.tier.kind());
    }
}

impl<S: Store> Drop for Running<'_, S> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Some(&StoreError::timed_out("no answer before the caller gave up")));
        }
    }
}

/// The operations whose refusal concerns all records. These operations send no record that could be the cause, so the
/// tier gets a pause after such a refusal.
const CONCERN_ALL: [&str; 3] = ["load", "list", "watch"];
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Adds the prefix `f:`, `c:` or `d:` to an etag of one tier, and returns the etag for users of the tiered store. `d:`
/// names the durable tier, and `f:` the fast tier. `c:` names the fast tier too, but the durable tier lacks the
/// version. The prefix is needed, because an etag of one tier means nothing to the other tier.
pub(super) fn tag(tier: char, etag: &Etag) -> Etag {
    Etag::new(format!("{tier}:{}", etag.as_str()))
}

pub(super) fn tagged(tier: char, kept: Versioned) -> Versioned {
    Versioned { etag: tag(tier, &kept.etag), ..kept }
}

pub(super) fn untagged(etag: &Etag) -> (char, Etag) {
    let (tier, own) = etag.as_str().split_once(':').unwrap_or(("", etag.as_str()));
    (if tier == "d" { DURABLE } else { FAST }, Etag::new(own))
}

/// Returns true if the etag has the prefix `c:`, which means that the durable tier lacks this version.
pub(super) fn is_cached(etag: &Etag) -> bool {
    etag.as_str().starts_with("c:")
}

pub(super) const FAST: char = 'f';
pub(super) const DURABLE: char = 'd';
/// The prefix for a version in the fast tier that the durable tier should have too, but lacks.
pub(super) const CACHED: char = 'c';

pub(super) fn of_fast(event: WatchEvent) -> WatchEvent {
    of(FAST, event)
}

pub(super) fn of_durable(event: WatchEvent) -> WatchEvent {
    of(DURABLE, event)
}

fn of(tier: char, event: WatchEvent) -> WatchEvent {
    match event {
        WatchEvent::Changed { name, etag, hint } => {
            WatchEvent::Changed { name, etag: etag.map(|etag| tag(tier, &etag)), hint }
        }
        WatchEvent::Gap => WatchEvent::Gap,
    }
}
