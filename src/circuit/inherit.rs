//! The inheritance of an evicted keyed circuit. The next circuit of the same name takes over its state and its
//! evidence.
//!
//! An evicted circuit may know that its service fails, and calls of that circuit may still be under way. Its successor
//! inherits that knowledge, so that a caller who lets keys be evicted cannot make a circuit forget its failures. The
//! successor also inherits the number of openings in a row, so that its next opening is not too short.

use std::sync::Arc;

use super::Circuit;
use crate::state::{Reason, Snapshot};

impl Circuit {
    /// Returns true if this circuit knows more than a new circuit would. This is so if its state is not closed, its
    /// mode is not the configured mode, its calls are limited, or the circuit has failures or slow calls in its
    /// evidence, openings in a row that still count, or calls under way.
    ///
    /// `handles` is the number of references to the circuit while no call is under way and the application keeps no
    /// handle.
    pub(crate) fn knows_more_than_a_new_one(&self, handles: usize) -> bool {
        let inner = self.inner();
        let word = inner.load();
        if !inner.is_at_rest(word) || word.is_limited() || inner.run.get(word.era()).weight > 0 {
            return true;
        }
        let now = inner.now();
        let tally = inner.tally(word.era(), now);
        tally.units > 0
            || tally.slow > 0
            || inner.openings_that_count(&inner.cold.lock(), word, now) > 0
            || self.has_calls_under_way(handles)
    }

    /// Returns true if the circuit has permits, rejections, or handles that the application keeps. `handles` is the
    /// number of all other references to the circuit.
    pub(crate) fn has_calls_under_way(&self, handles: usize) -> bool {
        Arc::strong_count(&self.root) > handles || self.root.has_permits_of_threads()
    }

    /// Returns the number of calls that ended in this circuit. Rejected calls and cancelled calls do not count, because
    /// such a call costs its caller nothing, and a stranger could make a key look busy with such calls.
    pub(crate) fn ended_calls(&self) -> u64 {
        let totals = self.totals();
        totals.successes.saturating_add(totals.failures).saturating_add(totals.ignored)
    }

    /// Takes over the snapshot of the evicted circuit of the same name. The caller does this before the first call of
    /// this circuit.
    pub(crate) fn inherit(&self, snapshot: &Snapshot) {
        self.inner().cold.lock().has_inherited = true;
        self.adopt(snapshot, Reason::Restored);
    }

    /// Returns true if the circuit has taken over the evidence of an evicted circuit. The record in the store has the
    /// same evidence, which must not be added a second time.
    #[cfg(feature = "store")]
    pub(crate) fn has_inherited(&self) -> bool {
        self.inner().cold.lock().has_inherited
    }
}
