//! Counts for the totals, and the summaries of rejections that are told instead of each.

use core::time::Duration;

use super::inner::Inner;
use crate::clock::Tick;
use crate::event::Event;
use crate::sync::{AtomicU64, Relaxed};

/// Counts for the totals. Successes of a closed circuit are not among them: the window has counted them.
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
    pub(super) fn summarise(&self, due: u64, rejected: u64, retry_after: Option<Duration>, now: Tick) {
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
        self.counts.summarised.store(self.counts.rejected.load(Relaxed), Relaxed);
    }
}

const SUMMARY_EVERY: Duration = Duration::from_secs(10);
