//! Contention: a guess whether several threads share a window so often that each needs a cell.

use crate::clock::Tick;
use crate::sync::{AtomicU64, Relaxed};

/// The uses of the shared window by threads without a cell. Apart from the cells, because
/// many threads write this count.
#[derive(Debug, Default)]
pub(crate) struct Contention {
    count: AtomicU64,
    /// The time of the last check of the count.
    checked: AtomicU64,
}

impl Contention {
    /// Counts a use of the shared window by a thread without a cell, and returns true if that happens often. The clock
    /// is read only once in 256 uses, because every outcome of such a thread comes here.
    #[must_use]
    pub(crate) fn note(&self, now: impl FnOnce() -> Tick) -> bool {
        // Relaxed: hints, which publish nothing.
        if !(self.count.fetch_add(1, Relaxed) + 1).is_multiple_of(OFTEN) {
            return false;
        }
        let now = now().as_nanos();
        now.saturating_sub(self.checked.swap(now, Relaxed)) < SECOND
    }
}

/// Threads without a cell count often if they count this number of times within a second.
const OFTEN: u64 = 256;
const SECOND: u64 = 1_000_000_000;
