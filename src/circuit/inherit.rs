//! The inheritance of an evicted keyed circuit. The next circuit of the same name takes over the state and the evidence
//! of the evicted circuit.
//!
//! The evicted circuit may have seen its service fail. Without inheritance, a client could make the circuit forget
//! these failures by using so many keys that the circuit is evicted. The next circuit also takes over the number of
//! openings in a row, so that its next open duration is not too short.

use std::sync::Arc;

use super::Circuit;
use crate::state::{Reason, Snapshot};

impl Circuit {
    /// Returns true if this circuit has data that a new circuit would not have. These data are a state other than
    /// closed, a mode other than the configured mode, a limit on calls (a ramp or a throttle), evidence with failures
    /// or slow calls, openings in a row that still count, and calls under way.
    ///
    /// `handles` is the number of references that every circuit has, even if no call is under way and the application
    /// keeps no handle.
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

    /// Returns true if the application keeps a handle, or if a permit or an error value of a rejected call still refers
    /// to the circuit. `handles` is the number of all other references to the circuit.
    pub(crate) fn has_calls_under_way(&self, handles: usize) -> bool {
        Arc::strong_count(&self.root) > handles || self.root.has_permits_of_threads()
    }

    /// Returns the number of calls that ended in this circuit. Rejected calls and cancelled calls do not count, because
    /// such calls cost a client nothing. If they counted, a client could make a key look busy.
    pub(crate) fn ended_calls(&self) -> u64 {
        let totals = self.totals();
        totals.successes.saturating_add(totals.failures).saturating_add(totals.ignored)
    }

    /// Takes over the snapshot of the evicted circuit of the same name. Must run before the first call of this circuit.
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
