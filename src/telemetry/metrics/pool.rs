//! The pool of keyed circuits that share a label. The pool counts the circuits in each standing (state or mode).
//!
//! The gauges of a shared label show these counts. Otherwise each circuit would overwrite the gauges of other circuits.
//! A circuit with its own label does not use this module.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Weak};

use super::handles;
use super::kept::Kept;
use super::last::{Last, STANDINGS};
use crate::sync::{AcqRel, AtomicU64, Mutex, Relaxed};
use crate::telemetry::Label;

/// The numbers of circuits with one label, by standing (state and mode). A label has one pool for all recorders,
/// because nearly every process has one recorder.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) label: Arc<str>,
    /// The number of circuits in each standing (state or mode), in the order of `STANDINGS`.
    standings: [AtomicU64; STANDINGS.len()],
    tripped: AtomicU64,
    /// The number of changes of the counts, by which `show` notices a change by another thread.
    changes: AtomicU64,
    /// The metric handles of the shared label.
    pub(super) kept: Kept,
    /// The number of times that the handles were registered anew.
    renewals: AtomicU64,
}

/// The part of an observer that only keyed circuits need. The observer has a pointer to this part, so that the
/// observers of other circuits stay small.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) label: Arc<Label>,
    pub(super) pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn of(label: &Arc<str>) -> Arc<Self> {
        static POOLS: LazyLock<Mutex<BTreeMap<Arc<str>, Weak<Pool>>>> = LazyLock::new(Mutex::default);
        let mut pools = POOLS.lock();
        if let Some(pool) = pools.get(label).and_then(Weak::upgrade) {
            return pool;
        }
        pools.retain(|_, pool| pool.strong_count() > 0);
        let pool = Arc::new(Self {
            label: Arc::clone(label),
            standings: Default::default(),
            tripped: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            kept: Kept::new(),
            renewals: AtomicU64::new(0),
        });
        pools.insert(Arc::clone(label), Arc::downgrade(&pool));
        pool
    }

    /// Returns true if the refresh of a circuit has to renew (register anew) the handles of the label. `seen` is the
    /// number of renewals at the last refresh of this circuit. When all circuits are refreshed, the first circuit
    /// renews the handles. Each later circuit finds a larger number of renewals than `seen`, and renews nothing.
    pub(super) fn renews(&self, seen: &AtomicU64) -> bool {
        // Relaxed: two threads that refresh at the same time may both renew, which only costs time.
        let renewals = self.renewals.load(Relaxed);
        let is_first = seen.load(Relaxed) == renewals;
        seen.store(if is_first { self.renewals.fetch_add(1, Relaxed) + 1 } else { renewals }, Relaxed);
        is_first
    }

    /// Moves a circuit from the count of its old standing (state and mode) to the count of its new standing. `from` is
    /// `None` for a circuit that enters the pool, and `to` is `None` for a circuit that leaves the pool.
    pub(super) fn moved(&self, from: Option<Last>, to: Option<Last>) {
        // Relaxed for all four changes of counts, because the AcqRel of `changes` at the end publishes them.
        if let Some(to) = to {
            self.standings[to.index()].fetch_add(1, Relaxed);
            self.tripped.fetch_add(u64::from(to.is_tripped()), Relaxed);
        }
        if let Some(from) = from {
            self.standings[from.index()].fetch_sub(1, Relaxed);
            self.tripped.fetch_sub(u64::from(from.is_tripped()), Relaxed);
        }
        // AcqRel: pairs with the AcqRel in `show`, so that a thread that sees the new number sees the new counts.
        self.changes.fetch_add(1, AcqRel);
    }

    /// Sets the gauges to the counts. If another thread changes a count meanwhile, sets the gauges again, so that they
    /// show the newest counts in the end.
    pub(super) fn show(&self) {
        let mut shown = None;
        loop {
            // AcqRel: pairs with the AcqRel in `moved`. A thread that has shown old counts finds another number of
            // changes here and sets the gauges again.
            let changes = self.changes.fetch_add(0, AcqRel);
            if shown == Some(changes) {
                return;
            }
            // Relaxed, because `changes` orders the counts, as `moved` explains.
            let standings = self.standings.each_ref().map(|count| count.load(Relaxed));
            handles::show_counts(&self.label, standings, self.tripped.load(Relaxed));
            shown = Some(changes);
        }
    }
}
