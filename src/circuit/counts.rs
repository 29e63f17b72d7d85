//! Counts for the totals, and the reports that replace an event for each call: sums for metrics, summaries of rejections for logs.

use core::time::Duration;

use super::inner::Inner;
use crate::clock::Tick;
use crate::event::Event;
use crate::sync::{AtomicU64, Relaxed, seat};
use crate::window::cells::Sums;

/// Counts for the totals. Successes of a closed circuit are not among them, as cells and window have counted them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Failures that entered the window.
    pub(super) failures: AtomicU64,
    /// Outcomes that did not: of probes, of calls let through uncounted, and stale ones.
    pub(super) other_successes: AtomicU64,
    pub(super) other_failures: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) stale: AtomicU64,
    /// Rejections of threads without a cell.
    pub(super) rejected: AtomicU64,
    pub(super) would_reject: AtomicU64,
    pub(super) load_shed: AtomicU64,
    pub(super) observer_panics: AtomicU64,
    /// When the next summary of rejections is due, and how many it had counted before.
    pub(super) next_summary: AtomicU64,
    summarised: AtomicU64,
}

impl Inner {
    /// Tells of the rejections since the last summary, which was `due`; of several threads that find it so, one does.
    #[cold]
    pub(super) fn summarise(&self, due: u64, retry_after: Option<Duration>, now: Tick) {
        let rejected = self.rejected();
        let next = now.saturating_add(SUMMARY_EVERY).as_nanos();
        // Relaxed: the exchange elects one thread, it publishes nothing.
        if self.counts.next_summary.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        let before = self.counts.summarised.swap(rejected, Relaxed);
        if let Some(rejected) = rejected.checked_sub(before).filter(|count| *count > 0) {
            let over = SUMMARY_EVERY.saturating_add(now.saturating_since(Tick::from_nanos(due)));
            self.tell(&Event::Rejections { rejected, over, retry_after });
        }
    }

    /// Begins the counting of rejections for a new opening: the first summary comes a while after.
    pub(super) fn begin_summaries(&self, now: Tick) {
        // Relaxed: counts, they publish nothing.
        self.counts.next_summary.store(now.saturating_add(SUMMARY_EVERY).as_nanos(), Relaxed);
        self.counts.summarised.store(self.rejected(), Relaxed);
    }

    /// Returns how many calls were rejected since the start.
    pub(super) fn rejected(&self) -> u64 {
        // Relaxed: a count, publishes nothing.
        self.counts.rejected.load(Relaxed) + self.cells.rejections()
    }

    /// Reports the calls of all threads that were not reported yet, to the observers that accept sums.
    pub(super) fn report_sums(&self) {
        self.report(self.cells.take_sums());
    }

    /// Reports the calls of this thread that were not reported yet.
    #[cold]
    #[inline(never)]
    pub(super) fn report_own_sums(&self) {
        self.report(self.cells.take_sums_of(seat()));
    }

    fn report(&self, Sums { successes, tripped, half_open }: Sums) {
        if successes + tripped + half_open > 0 {
            self.tell_call(&Event::Sums { successes, tripped, half_open });
        }
    }
}

const SUMMARY_EVERY: Duration = Duration::from_secs(10);
