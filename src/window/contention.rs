//! Contention, which is the use of a shared window or a shared counter by threads without a cell (counts of their own).
//! If contention is frequent, each thread needs a cell.

use crate::clock::Tick;
use crate::sync::{AtomicU64, Relaxed};

/// The number of successes and rejections that threads without a cell have counted in the shared window or the shared
/// counter. This number is outside the cells, because a cell has only one writing thread.
#[derive(Debug, Default)]
pub(crate) struct Contention {
    count: AtomicU64,
    /// The time of the last check of the count.
    checked: AtomicU64,
}

impl Contention {
    /// Counts one use of the shared window or counter by a thread without a cell, and returns true if such uses are
    /// frequent. Every success and rejection of such a thread calls this function. Therefore the clock is read only
    /// once in 256 uses.
    #[must_use]
    pub(crate) fn note(&self, now: impl FnOnce() -> Tick) -> bool {
        // Relaxed, because count and time are hints and publish no other data.
        if !(self.count.fetch_add(1, Relaxed) + 1).is_multiple_of(OFTEN) {
            return false;
        }
        let now = now().as_nanos();
        now.saturating_sub(self.checked.swap(now, Relaxed)) < SECOND
    }
}

/// The number of uses of the shared window or counter after which the clock is read. Contention is frequent if so many
/// uses come within a second.
const OFTEN: u64 = 256;
const SECOND: u64 = 1_000_000_000;
