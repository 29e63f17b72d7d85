//! The hints of the watch, which are merged into loads.
//!
//! A hint is the name of a changed record. Other programs can send hints, and can send very many of them. Therefore a
//! hint never changes a circuit, but only causes a load, and the loads for hints are bounded. The first hint causes an
//! immediate load. The hints of the next [`MERGED_WITHIN`] share one load.
//!
//! No record is loaded for a circuit that this registry does not have, or for a version that this process knows
//! already, for example from its own write. A transition of another instance causes no load if the transition can have
//! no effect on the circuit. Otherwise, in an outage, each instance would load the record after each write of each
//! other instance.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::task::Poll;
use std::time::Duration;

use super::jobs::BATCH;
use super::{Ledger, Task};
use crate::clock::{Clock, Tick};
use crate::coordinator::Sharing;
use crate::coordinator::desks::{DeskId, Desks};
use crate::record::Timestamp;
use crate::store::{Etag, Hint, Watch, WatchEvent};

/// The hints that have not caused a load yet.
#[derive(Debug)]
pub(super) struct Hints {
    /// The desks whose records have a hint.
    changed: BTreeMap<DeskId, Hinted>,
    /// True after a gap, in which the watch may have lost hints. A gap counts as a hint for every desk.
    all: bool,
    /// The earliest time of the next load due to hints.
    at: Tick,
}

/// The hints for one desk.
#[derive(Debug)]
struct Hinted {
    /// The version of the record in the hints. `None` if a hint has no version, or if the versions differ.
    etag: Option<Etag>,
    /// The kind of all hints for the desk. [`Hint::Any`] if the kinds differ.
    hint: Hint,
}

impl Hints {
    pub(super) const fn new(now: Tick) -> Self {
        Self { changed: BTreeMap::new(), all: false, at: now }
    }

    fn add(&mut self, at: DeskId, etag: Option<Etag>, hint: Hint) {
        match self.changed.entry(at) {
            Entry::Vacant(first) => drop(first.insert(Hinted { etag, hint })),
            Entry::Occupied(mut merged) => {
                let merged = merged.get_mut();
                merged.etag.take_if(|before| Some(&*before) != etag.as_ref());
                if merged.hint != hint {
                    merged.hint = Hint::Any;
                }
            }
        }
    }

    /// Returns the desks whose records must be loaded because of hints, and removes the hints except those of desks
    /// that are writing. Before the time of the next load, returns no desk and removes no hint. `store` is the present
    /// time by the clock of the store, if that time is known.
    fn take(&mut self, desks: &Desks, sharing: Sharing, now: Tick, store: Option<Timestamp>) -> Vec<DeskId> {
        if self.next(desks).is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all) {
            // Desks that are about to write are left out, because the answer to the write has the present record.
            // Without this rule, a watch with many gaps could keep a slow store so busy with loads that no write
            // begins.
            let all = desks.ids().filter(|at| !desks[*at].is_about_to_write(now));
            changed.extend(all.map(|at| (at, Hinted { etag: None, hint: Hint::Any })));
        }
        for (at, hinted) in changed {
            let Some(desk) = desks.get(at) else { continue };
            if desk.is_writing() {
                // The desk has a write under way, and the answer to this write may be older than the hint. Therefore
                // the hint is kept until the answer, and the versions are compared then.
                self.changed.insert(at, hinted);
            } else if hinted.etag.is_none_or(|etag| !desk.has_version(&etag))
                && desk.follows(hinted.hint, sharing, store)
            {
                due.push(at);
            }
        }
        let batches = u32::try_from(due.len().div_ceil(BATCH)).unwrap_or(u32::MAX);
        self.at = now.saturating_add(MERGED_WITHIN.saturating_mul(batches));
        due
    }

    /// Returns the time at which the next load due to hints begins. `None` if there is no hint, or if all desks with a
    /// hint are writing.
    fn next(&self, desks: &Desks) -> Option<Tick> {
        let is_ready = |at: &DeskId| desks.get(*at).is_none_or(|desk| !desk.is_writing());
        (self.all || self.changed.keys().any(is_ready)).then_some(self.at)
    }
}

impl Task {
    /// Handles an event of the watch, and the events that have already arrived after it, at most [`HANDLED_AT_ONCE`] in
    /// total. `None` is the end of the watch.
    pub(super) fn hinted(&mut self, event: Option<WatchEvent>) {
        self.handle(event);
        for _ in 1..HANDLED_AT_ONCE {
            let Some(Poll::Ready(event)) = self.watch.as_mut().map(Watch::next_ready) else { return };
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Option<WatchEvent>) {
        match event {
            Some(WatchEvent::Changed { name, etag, hint }) => {
                if let Some(at) = self.ledger.index.get(&name) {
                    self.hints.add(*at, etag, hint);
                }
            }
            // The watch may have lost hints for any circuit.
            Some(WatchEvent::Gap) => self.hints.all = true,
            None => {
                let (now, share) = (self.ledger.clock.now(), self.ledger.dice.share());
                self.watch = None;
                self.watch_at = Some(now.saturating_add(WATCH_AGAIN.mul_f64(0.5 + share)));
            }
        }
    }

    /// Plans the loads due to hints. A gap (a time in which the watch may have lost hints) ends the backoff. A gap
    /// often comes from a watch that works again. Then the store probably answers again too.
    pub(super) fn follow_hints(&mut self, now: Tick) {
        let was_gap = self.hints.all;
        let Ledger { desks, who, link, .. } = &self.ledger;
        let due = self.hints.take(desks, who.sharing, now, link.time(now));
        // The backoff ends even if no load is planned. A circuit that is about to write needs no load, but its write
        // also waits for the backoff.
        if was_gap && !self.hints.all {
            self.ledger.link.hurry(now);
        }
        self.to_load.extend(due);
    }

    /// Returns the time of the next load due to hints.
    pub(super) fn next_hint(&self) -> Option<Tick> {
        self.hints.next(&self.ledger.desks)
    }
}

/// Hints that arrive within this time share one load. If the hints cause n loads at once, the next loads for hints wait
/// n times as long.
const MERGED_WITHIN: Duration = Duration::from_millis(50);
/// The largest number of watch events that the task handles before it does its other work.
const HANDLED_AT_ONCE: usize = 1024;
/// The mean time from the end of a watch to the request for a new watch. The actual time is 50 % to 150 % of this time.
const WATCH_AGAIN: Duration = Duration::from_secs(2);
