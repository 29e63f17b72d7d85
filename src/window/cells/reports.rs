//! The calls in cells (counts with one writing thread) that were not yet reported to observers of sums.
//!
//! A thread reports the new calls of its own cell. Other reports, such as the report before a transition, contain the
//! new calls of all cells. Both kinds of reports update the same reported counts, so that no call is reported twice.

use super::{Block, Cells, HALF_OPEN, SUCCESSES, TRIPPED};
use crate::sync::{AtomicU64, OnceLock, Relaxed, Seat, indices};

/// The reported calls of each cell.
#[derive(Debug, Default)]
pub(super) struct Reports {
    first: Reported,
    spread: OnceLock<Box<[Reported]>>,
}

/// The numbers of successes and of rejections of each kind that were already reported for one cell. `fetch_max` raises
/// each number, because several threads may report the same cell.
#[derive(Debug, Default)]
struct Reported([AtomicU64; SUMS]);

/// Calls that were not reported yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sums {
    pub(crate) successes: u64,
    pub(crate) tripped: u64,
    pub(crate) half_open: u64,
}

impl Cells {
    /// Returns the sums of the calls of one seat (the number of a thread) that no report contains yet, and notes these
    /// calls as reported. The caller must report these calls, because no later report contains them.
    #[must_use]
    pub(crate) fn take_sums_of(&self, seat: Seat) -> Sums {
        let Some((cell, reports)) = self.of(seat).zip(self.reports.as_ref()) else { return Sums::default() };
        // Relaxed, for the reason given in `of`.
        let reported = if self.owner.load(Relaxed) == seat.number() {
            Some(&reports.first)
        } else {
            reports.spread.get().and_then(|reported| reported.get(seat.index()))
        };
        reported.map_or_else(Sums::default, |reported| reported.take(cell))
    }

    /// Returns the sums of the calls that no report contains yet, over all cells, and notes these calls as reported.
    /// The caller must report these calls, because no later report contains them.
    #[must_use]
    pub(crate) fn take_sums(&self) -> Sums {
        let Some(reports) = &self.reports else { return Sums::default() };
        let reported = std::iter::once(&reports.first).chain(reports.spread.get().into_iter().flatten());
        self.all().zip(reported).fold(Sums::default(), |sum, (cell, reported)| {
            let Sums { successes, tripped, half_open } = reported.take(cell);
            Sums {
                successes: sum.successes + successes,
                tripped: sum.tripped + tripped,
                half_open: sum.half_open + half_open,
            }
        })
    }
}

impl Reports {
    /// Allocates the reported counts for the cell of each thread index, unless these counts exist already.
    pub(super) fn spread(&self) {
        self.spread.get_or_init(|| (0..indices()).map(|_| Reported::default()).collect());
    }
}

impl Reported {
    /// Returns the calls of the cell that were not reported yet, and notes these calls as reported. No call is returned
    /// twice, even if several threads run this function at the same time.
    fn take(&self, cell: &[Block]) -> Sums {
        let taken = |sum: usize| {
            // Relaxed, because the counts publish no other data. `fetch_max` keeps the larger count. So a thread that
            // has read an older count of the cell takes no call that another thread has already reported.
            let all = cell[0].0[sum].load(Relaxed);
            if self.0[sum].load(Relaxed) >= all { 0 } else { all.saturating_sub(self.0[sum].fetch_max(all, Relaxed)) }
        };
        Sums { successes: taken(SUCCESSES), tripped: taken(TRIPPED), half_open: taken(HALF_OPEN) }
    }
}

/// The number of words that are reported in sums. These are the first words of a cell.
const SUMS: usize = 3;
