//! One of the two stores: asked with a time limit, counted, and left alone for a while after it has failed.

use std::time::Duration;

use crate::clock::{Clock, Tick, TokioClock};
use crate::store::health::{Health, doubled};
use crate::store::{Etag, Store, StoreError, Versioned, WatchEvent, answer_within};
use crate::sync::Mutex;
use crate::telemetry;
pub(super) use crate::telemetry::store::Rank;

/// A store, what it is here, and how it is.
#[derive(Debug)]
pub(super) struct Tier<S> {
    pub(super) store: S,
    rank: Rank,
    clock: TokioClock,
    health: Mutex<Health>,
}

impl<S: Store> Tier<S> {
    pub(super) fn new(store: S, rank: Rank, clock: TokioClock) -> Self {
        Self { store, rank, clock, health: Mutex::default() }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.store.kind()
    }

    /// Whether it is worth asking: it has not failed, or long enough ago.
    pub(super) fn answers(&self) -> bool {
        self.health.lock().may_ask(self.clock.now())
    }

    /// Waits for the answer of the store, but not longer than `limit`.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, it counts as no answer in time: whoever gave up must not find the store as slow again.
    pub(super) async fn ask<T>(
        &self,
        operation: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut asked = Asked { tier: self, operation, began: self.clock.now(), ended: false };
        let result = answer_within(limit, answer).await;
        asked.end(result.as_ref().err());
        result
    }
}

impl<S> Tier<S> {
    fn ended(&self, operation: &'static str, began: Tick, error: Option<&StoreError>, kind: &'static str) {
        let now = self.clock.now();
        let result = error.map_or("ok", |error| error.kind().as_str());
        telemetry::store::operation(kind, operation, result, now.saturating_since(began));
        let mut health = self.health.lock();
        let Some(error) = error else {
            // A new health, so that the first failure of the next outage is logged at once.
            let recovered = std::mem::take(&mut *health).succeeded();
            drop(health);
            if let Some(failures) = recovered {
                telemetry::store::recovered(kind, failures);
            }
            return;
        };
        let paused = !health.may_ask(now);
        let failures = health.failed();
        // Operations that began before the pause and fail in it do not prolong it.
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

/// An operation that is under way.
struct Asked<'a, S: Store> {
    tier: &'a Tier<S>,
    operation: &'static str,
    began: Tick,
    ended: bool,
}

impl<S: Store> Asked<'_, S> {
    fn end(&mut self, error: Option<&StoreError>) {
        self.ended = true;
        self.tier.ended(self.operation, self.began, error, self.tier.kind());
    }
}

impl<S: Store> Drop for Asked<'_, S> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Some(&StoreError::timed_out("no answer while anybody waited for it")));
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Returns the name of a tier's version outside of the tier: `f:` or `d:`, and the text of the tier itself.
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

pub(super) const FAST: char = 'f';
pub(super) const DURABLE: char = 'd';

pub(super) fn of_fast(event: WatchEvent) -> WatchEvent {
    of(FAST, event)
}

pub(super) fn of_durable(event: WatchEvent) -> WatchEvent {
    of(DURABLE, event)
}

fn of(tier: char, event: WatchEvent) -> WatchEvent {
    match event {
        WatchEvent::Changed { name, current } => {
            WatchEvent::Changed { name, current: current.map(|(current, now)| (tagged(tier, current), now)) }
        }
        WatchEvent::Gap => WatchEvent::Gap,
    }
}
