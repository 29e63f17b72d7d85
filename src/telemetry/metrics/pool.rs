//! Circuits that share a label: their gauges are numbers of circuits, so that none overwrites another's.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Weak};

use super::{Last, STANDINGS, handles};
use crate::sync::{AcqRel, AtomicU64, Mutex, Relaxed};

/// How many circuits with that label are what. One for each label in the process, as there is one recorder.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) label: Arc<str>,
    /// In the order of `STANDINGS`.
    standings: [AtomicU64; STANDINGS.len()],
    tripped: AtomicU64,
    /// Grows with every change.
    changes: AtomicU64,
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
        });
        pools.insert(Arc::clone(label), Arc::downgrade(&pool));
        pool
    }

    /// Counts a circuit as what it is now, and no longer as what it was.
    pub(super) fn moved(&self, from: Option<Last>, to: Option<Last>) {
        // Relaxed: published by the AcqRel of `changes`.
        if let Some(to) = to {
            self.standings[to.index()].fetch_add(1, Relaxed);
            self.tripped.fetch_add(u64::from(to.is_tripped()), Relaxed);
        }
        if let Some(from) = from {
            self.standings[from.index()].fetch_sub(1, Relaxed);
            self.tripped.fetch_sub(u64::from(from.is_tripped()), Relaxed);
        }
        // AcqRel: pairs with itself in `show`; whoever sees the number sees the counts.
        self.changes.fetch_add(1, AcqRel);
    }

    /// Shows the counts, also where another thread shows others meanwhile.
    pub(super) fn show(&self) {
        let mut shown = None;
        loop {
            // AcqRel: pairs with `moved`. Whoever shows something old finds another number afterwards, and shows again.
            let changes = self.changes.fetch_add(0, AcqRel);
            if shown == Some(changes) {
                return;
            }
            // Relaxed: as said in `moved`.
            let standings = self.standings.each_ref().map(|count| count.load(Relaxed));
            handles::show_counts(&self.label, standings, self.tripped.load(Relaxed));
            shown = Some(changes);
        }
    }
}
