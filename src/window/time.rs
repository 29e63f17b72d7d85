//! The sliding time window, which is a ring of buckets. Each word has a count, and a tag with the era (version of the
//! state) and the time slot of the count.
//!
//! A bucket is not cleared when its time is over. The first outcome of a later slot overtakes the bucket, which means
//! that one exchange replaces tag and count. A reader skips a bucket that is too old. Therefore the window needs no
//! timer, and the window of an idle service expires. No outcome is added to the count of another slot.
//!
//! ```text
//! word   63..32 tag | 31..0 count, saturating
//! slot   now / bucket width; bucket = slot % buckets
//! ```
//!
//! The tags wrap (`window/tag.rs`). The buckets are emptied in every 64th era, so that eras stay apart.
//!
//! Successes that cannot trip the circuit are counted in [`cells`](super::cells), if their thread has a cell.

use std::sync::OnceLock;
use std::time::Duration;

use super::tag::{ERAS_KEPT_APART, Tag, join, split};
use super::{Line, Mark, Stamp, Tally};
use crate::clock::{Tick, nanos};
use crate::sync::{Acquire, AtomicU64, Relaxed, Release};

#[derive(Debug)]
pub(crate) struct TimeWindow {
    /// The words of all buckets. Each bucket has one word for the calls, one for the score and, with a slow-call rule,
    /// one for the slow calls. The words are allocated for the first outcome that is not counted in the cell of a
    /// thread. A circuit that only one thread calls may never need the words.
    lines: OnceLock<Box<[Line]>>,
    buckets: u32,
    width: u64,
    slow: bool,
    /// The number of calls that are in no bucket. Either the bucket of the call was overtaken (reused for a later slot)
    /// or emptied, or the call came too late for its bucket. The totals add this number.
    retired: AtomicU64,
    /// The number of calls that a restore has added. The totals subtract this number, because this process has not made
    /// these calls. The number is written under the circuit's cold mutex.
    seeded: AtomicU64,
}

/// The kinds of sums in a window. Each bucket has a word for each kind that the window counts.
#[derive(Clone, Copy)]
enum Sum {
    Calls = 0,
    Score = 1,
    Slow = 2,
}

impl TimeWindow {
    pub(crate) fn new(length: Duration, buckets: u32, slow: bool) -> Self {
        let window = Self {
            lines: OnceLock::new(),
            buckets,
            width: (nanos(length) / u64::from(buckets)).max(1),
            slow,
            retired: AtomicU64::new(0),
            seeded: AtomicU64::new(0),
        };
        // Loom cannot model the `OnceLock` of `std`, so in a model the lines are allocated at the start.
        if cfg!(breaker_loom) {
            window.lines();
        }
        window
    }

    /// Returns the width of a bucket in nanoseconds, and the number of buckets.
    pub(crate) const fn shape(&self) -> (u64, u32) {
        (self.width, self.buckets)
    }

    fn lines(&self) -> &[Line] {
        let words = self.buckets as usize * if self.slow { 3 } else { 2 };
        self.lines.get_or_init(|| (0..words.div_ceil(8)).map(|_| Line::default()).collect())
    }

    pub(crate) fn record(&self, stamp: Stamp, mark: Mark) {
        let slot = stamp.now.as_nanos() / self.width;
        let tag = Tag::new(stamp.era, slot);
        let bucket = self.bucket(slot);
        match self.add(self.word(Sum::Calls, bucket), tag, 1) {
            Added::Counted => {}
            Added::Overtook(calls) => self.retire(calls),
            // The call came too late for its bucket and is kept only for the totals. The weight is dropped, because the
            // weight of a failure without its call would raise the rate.
            Added::TooLate => {
                self.retire(1);
                return;
            }
        }
        // If `add` replaces an old score or an old count of slow calls, the old value has expired and is dropped. Only
        // the calls are kept for the totals.
        if mark.units > 0 {
            let _added = self.add(self.word(Sum::Score, bucket), tag, u32::from(mark.units));
        }
        if mark.slow && self.slow {
            let _added = self.add(self.word(Sum::Slow, bucket), tag, 1);
        }
    }

    /// Adds sums to the present bucket, so that all added sums expire together. The caller holds the circuit's cold
    /// mutex.
    pub(crate) fn seed(&self, era: u64, now: Tick, tally: Tally) {
        let slot = now.as_nanos() / self.width;
        let (tag, bucket) = (Tag::new(era, slot), self.bucket(slot));
        // Half of the range of a count stays free for the calls of this process, so that their counts do not saturate.
        let there = self.tally(era, now);
        let room = u64::from(u32::MAX / 2).saturating_sub(there.calls.max(there.units));
        let tally = tally.scaled(room, tally.calls.max(tally.units));
        let count = |sum: u64| u32::try_from(sum).unwrap_or(u32::MAX);
        match self.add(self.word(Sum::Calls, bucket), tag, count(tally.calls)) {
            Added::Counted => {}
            Added::Overtook(before) => self.retire(before),
            // The bucket belongs to a later slot, because the clock has jumped back. The sums are dropped, because a
            // bucket counts only the calls of its own slot.
            Added::TooLate => return,
        }
        // Relaxed, because the count publishes no other data.
        self.seeded.fetch_add(tally.calls, Relaxed);
        let _added = self.add(self.word(Sum::Score, bucket), tag, count(tally.units));
        if self.slow {
            let _added = self.add(self.word(Sum::Slow, bucket), tag, count(tally.slow));
        }
    }

    /// Adds `by` to the count in a word, unless the word belongs to a later slot or era.
    fn add(&self, word: &AtomicU64, tag: Tag, by: u32) -> Added {
        // Every ordering is Relaxed, because tag and count are in one word, which publishes no other data.
        let mut seen = word.load(Relaxed);
        loop {
            let (found, count) = split(seen);
            let (next, added) = if found == tag {
                (join(tag, count.saturating_add(by)), Added::Counted)
            } else if count > 0 && found.is_later_than(tag, self.buckets) {
                return Added::TooLate;
            } else {
                (join(tag, by), Added::Overtook(count))
            };
            // Relaxed, for the reason at the start of this function.
            match word.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return added,
                Err(now) => seen = now,
            }
        }
    }

    pub(crate) fn tally(&self, era: u64, now: Tick) -> Tally {
        let slot = now.as_nanos() / self.width;
        let current = Tag::new(era, slot);
        let mut tally = Tally::default();
        if self.lines.get().is_some() {
            tally.calls = self.sum(Sum::Calls, current);
            tally.units = self.sum(Sum::Score, current);
            if self.slow {
                tally.slow = self.sum(Sum::Slow, current);
            }
        }
        tally
    }

    fn sum(&self, sum: Sum, current: Tag) -> u64 {
        (0..self.buckets as usize)
            .map(|bucket| {
                // Relaxed, because tag and count are in one word.
                let (found, count) = split(self.word(sum, bucket).load(Relaxed));
                if found.counts_at(current, self.buckets) { u64::from(count) } else { 0 }
            })
            .sum()
    }

    pub(crate) fn begin(&self, era: u64) {
        // The counts of older eras are ignored because of their tag. The counts are removed only before the tag wraps.
        if era.is_multiple_of(ERAS_KEPT_APART) && self.lines.get().is_some() {
            for bucket in 0..self.buckets as usize {
                // Relaxed, because the Release store of the circuit's state word publishes the empty buckets with the
                // era. The exchange of a thread that has read the old word fails, because the word has changed.
                let (_, calls) = split(self.word(Sum::Calls, bucket).swap(0, Relaxed));
                self.retire(calls);
                self.word(Sum::Score, bucket).store(0, Relaxed);
                if self.slow {
                    self.word(Sum::Slow, bucket).store(0, Relaxed);
                }
            }
        }
    }

    /// Returns the number of calls recorded since the circuit was created, over all eras.
    pub(crate) fn recorded(&self) -> u64 {
        let used = if self.lines.get().is_some() { self.buckets as usize } else { 0 };
        let mut counted = 0;
        let mut retired = self.retired.load(Acquire);
        for _ in 0..LOOKS {
            // The loads of `retired` are Acquire, which pairs with the Release in `retire`. A thread that sees calls as
            // retired also sees their bucket without the calls, so that no call is counted twice. The loads of the
            // buckets are Acquire too, so that `retired` is read again only after the buckets.
            let words = (0..used).map(|bucket| self.word(Sum::Calls, bucket).load(Acquire));
            let live: u64 = words.map(|word| u64::from(split(word).1)).sum();
            // Relaxed, because `seeded` is written under the circuit's cold mutex. The difference is exact for a caller
            // that holds the mutex.
            counted = (retired + live).saturating_sub(self.seeded.load(Relaxed));
            let before = std::mem::replace(&mut retired, self.retired.load(Acquire));
            // If `retired` has changed, another thread may have reused a bucket during the loop, and the calls of that
            // bucket may be missing. The next pass of the loop reads the buckets again.
            if retired == before {
                break;
            }
        }
        counted
    }

    /// Adds calls to `retired`, so that the totals still count these calls. Their bucket was overtaken (reused for a
    /// later slot) or emptied, or they came too late for their bucket.
    fn retire(&self, calls: u32) {
        // Release, which pairs with the Acquire in `recorded`.
        self.retired.fetch_add(u64::from(calls), Release);
    }

    fn bucket(&self, slot: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder by a u32")]
        let bucket = (slot % u64::from(self.buckets)) as usize;
        bucket
    }

    fn word(&self, sum: Sum, bucket: usize) -> &AtomicU64 {
        let word = sum as usize * self.buckets as usize + bucket;
        &self.lines()[word / 8].0[word % 8]
    }
}

/// The result of adding to a word.
#[must_use]
enum Added {
    Counted,
    /// The new count has replaced the count of an earlier slot or era. The number is the replaced count.
    Overtook(u32),
    /// The bucket belongs to a later slot or era, so the outcome counts only in the totals.
    TooLate,
}

/// The largest number of times that one call of `recorded` reads all buckets. The buckets are read again if another
/// thread has reused a bucket meanwhile. The limit makes sure that `recorded` ends.
const LOOKS: usize = 16;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    const HARD: Mark = Mark { units: 256, slow: false };

    fn stamp(era: u64, seconds: u64) -> Stamp {
        Stamp { era, now: Tick::from_nanos(seconds * 1_000_000_000) }
    }

    fn window() -> TimeWindow {
        TimeWindow::new(Duration::from_secs(10), 10, false)
    }

    #[test]
    fn a_window_expires_when_only_read() {
        let window = window();
        window.record(stamp(1, 100), HARD);
        assert_eq!(window.tally(1, stamp(1, 109).now).calls, 1, "in its tenth second");
        assert_eq!(window.tally(1, stamp(1, 110).now).calls, 0, "ten seconds later");
    }

    #[test]
    fn an_outcome_of_an_older_era_neither_shows_nor_overtakes() {
        let window = window();
        window.record(stamp(2, 100), HARD);
        window.record(stamp(1, 100), HARD);
        assert_eq!(window.tally(2, stamp(2, 100).now).calls, 1);
        assert_eq!(window.tally(1, stamp(1, 100).now).calls, 0);
    }

    #[test]
    fn eras_are_distinguished_when_their_tags_wrap() {
        let window = window();
        for era in 1..=1_000 {
            window.begin(era);
            window.record(stamp(era, 100 + era % 3), HARD);
            assert_eq!(window.tally(era, stamp(era, 100 + era % 3).now).calls, 1, "era {era}");
        }
        assert_eq!(window.recorded(), 1_000, "the totals forget nothing");
    }

    #[test]
    fn restored_sums_count_at_once_expire_together_and_stay_outside_the_totals() {
        let window = TimeWindow::new(Duration::from_secs(10), 10, true);
        let brought = Tally { calls: 50, units: 20 * 256, slow: 3 };
        window.record(stamp(1, 100), HARD);
        window.seed(1, stamp(1, 100).now, brought);
        let both = Tally { calls: 51, units: 21 * 256, slow: 3 };
        assert_eq!((window.tally(1, stamp(1, 109).now), window.recorded()), (both, 1));
        assert_eq!(window.tally(2, stamp(2, 100).now), Tally::EMPTY, "they are of their era");
        assert_eq!(window.tally(1, stamp(1, 110).now), Tally::EMPTY);
        // This outcome reuses the bucket of second 100, whose count is kept for the totals.
        window.record(stamp(1, 110), HARD);
        assert_eq!(window.recorded(), 2);
    }

    #[test]
    fn oversized_sums_keep_their_shares_and_leave_room_for_calls() {
        let window = window();
        for _ in 0..3 {
            window.seed(1, stamp(1, 100).now, Tally { calls: u64::MAX, units: u64::MAX / 2, slow: 0 });
        }
        for _ in 0..10 {
            window.record(stamp(1, 100), HARD);
        }
        let Tally { calls, units, .. } = window.tally(1, stamp(1, 100).now);
        assert_eq!(window.recorded(), 10, "of {calls} calls");
        assert!((calls / 2).abs_diff(units) < 10 * 256, "{units} of {calls}");
    }

    #[test]
    fn a_clock_that_jumps_back_loses_evidence_but_recovers() {
        let window = window();
        window.record(stamp(1, 1_000_000), HARD);
        window.record(stamp(1, 50), HARD);
        assert_eq!(window.tally(1, stamp(1, 50).now).calls, 1, "the bucket of the future was overtaken");
    }
}
