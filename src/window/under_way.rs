//! The number of calls under way, by the time at which they began. These counts show a hanging call before the call
//! ends.
//!
//! No list of calls and no timer is needed. Each bucket counts the calls that began in its time slot and have not
//! ended. The start of a call adds one to the bucket of the present time slot. The end of the call subtracts one from
//! the same bucket, because the permit has the time of the start. A call *hangs* if it has been under way for
//! `slower_than` or longer. A reader counts the calls of a bucket as hanging once `slower_than`, rounded up to whole
//! buckets, has passed since the end of the bucket's time slot. Then all calls of the bucket hang. Therefore a hanging
//! call is found with a delay of less than two bucket widths.
//!
//! ```text
//! word   63..32 tag | 31..0 calls under way          slot = start / width, bucket = slot % buckets
//! old    calls of overtaken buckets, minus the ends that did not find their bucket, modulo 2^40
//! ```
//!
//! The slow-call rule counts only the calls that have begun to hang *lately*. A hanging call must not count for longer
//! than a call that has ended. Otherwise the long polls of a healthy service would outnumber its other calls.
//!
//! The ring covers a longer time than `slower_than`. Therefore a new call overtakes a bucket (reuses the bucket for a
//! later time slot) only if all calls of the bucket hang. The count of an overtaken bucket moves to `old`. If the end
//! of a call does not find its bucket, the end subtracts one from `old`. While a count moves to `old`, `old` can be too
//! small, and for a moment fewer calls seem to hang. No call is counted twice, because a reader reads `old` before the
//! buckets.
//!
//! The words of the buckets and of `old` have the era (version of the state), so that calls of another era neither
//! count nor change a count. The tags wrap (`window/tag.rs`). If no call overtakes a bucket for 2^23 bucket widths,
//! which are 2.3 hours or more, the calls of the bucket no longer count as hanging.
//!
//! A clock that goes back by less than 2^23 bucket widths makes no call hang. If a new call finds its bucket in use for
//! a later time slot, the bucket counts the call too. The bucket keeps the later time slot, unless that slot is so far
//! ahead that the clock must have gone back. In that case the bucket gets the time slot of the new call, so that all
//! its calls count as begun now.

use std::time::Duration;

use super::tag::{ERAS_KEPT_APART, Tag, join, split};
use super::tagged::{self, Tagged};
use super::{Line, Stamp};
use crate::clock::{Tick, nanos};
use crate::sync::{AtomicU64, Relaxed};

#[derive(Debug)]
pub(crate) struct UnderWay {
    /// The width of a bucket in nanoseconds.
    width: u64,
    /// `u64::MAX` divided by the width, rounded down.
    inverse: u64,
    /// The age, in slots (bucket widths), from which all calls of a bucket hang.
    hangs_after: u32,
    /// The number of slots (bucket widths) for which a hanging call counts for the slow-call rule.
    lately: u32,
    lines: [Line; BUCKETS.div_ceil(8)],
    old: Tagged,
}

impl UnderWay {
    /// Returns empty counts. A call hangs after `slower_than`, and then counts for the slow-call rule during the time
    /// `lately`. A bucket lasts a tenth of `slower_than` or a hundredth of `lately`, whichever is longer, and at least
    /// 1 ms.
    pub(crate) fn new(slower_than: Duration, lately: Duration) -> Self {
        let (slower_than, lately) = (nanos(slower_than), nanos(lately));
        let width = slower_than.div_ceil(PARTS).max(lately.div_ceil(PARTS_LATELY)).max(SHORTEST_WIDTH);
        let slots = |time: u64| u32::try_from(time.div_ceil(width)).expect("at most PARTS or PARTS_LATELY");
        Self {
            width,
            inverse: u64::MAX / width,
            hangs_after: slots(slower_than) + 1,
            lately: slots(lately),
            lines: Default::default(),
            old: Tagged::new(),
        }
    }

    /// Counts a call that begins. Returns true if the call is the first of its bucket. Only then does the caller check
    /// the number of hanging calls. This number grows only as time passes, and the first call of a bucket shows that a
    /// new time slot has begun.
    pub(crate) fn start(&self, started: Stamp) -> bool {
        let (word, tag) = self.find(started);
        // Every ordering is Relaxed, because tag and count are in one word. If a bucket is reused for a later time, the
        // AcqRel exchange of `old` follows, so that a reader that sees the exchange also sees the reuse.
        let mut seen = word.load(Relaxed);
        loop {
            let (found, count) = split(seen);
            let (next, overtaken) = match found.place(tag) {
                Place::Same => (join(tag, count.saturating_add(1)), 0),
                _ if count == 0 => (join(tag, 1), 0),
                Place::LaterEra => return false,
                Place::EarlierEra => (join(tag, 1), 0),
                Place::Earlier => (join(tag, 1), count),
                Place::Later => (join(found, count.saturating_add(1)), 0),
                Place::FarAhead => (join(tag, count.saturating_add(1)), 0),
            };
            // Relaxed, for the reason above.
            match word.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => {
                    if overtaken > 0 {
                        self.old.update(started.era, |old| old.wrapping_add(overtaken.into()));
                    }
                    return split(next).0 != found;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Counts the end of a call. `started` is the stamp that was passed to `start` for this call.
    pub(crate) fn end(&self, started: Stamp) {
        let (word, tag) = self.find(started);
        // Relaxed, as in `start`.
        let mut seen = word.load(Relaxed);
        loop {
            let (found, count) = split(seen);
            let Some(less) = count.checked_sub(1).filter(|_| found == tag) else {
                self.old.update(started.era, |old| old.wrapping_sub(1));
                return;
            };
            match word.compare_exchange_weak(seen, join(tag, less), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Returns the number of calls of `era` that hang at the time `now`.
    pub(crate) fn hanging(&self, era: u64, now: Tick) -> u64 {
        // `old` is read first. The Acquire in `get` pairs with the exchange in `start`. Therefore a reader that finds
        // the calls of an overtaken (reused) bucket in `old` does not find these calls in the bucket too.
        let old = self.old.get(era).unwrap_or(0);
        let current = Tag::new(era, self.slot(now));
        // Relaxed, as in `start`.
        let counts = self.words().map(|word| split(word.load(Relaxed)));
        let hanging = counts.filter(|(found, _)| current.age(*found).is_some_and(|age| age >= self.hangs_after));
        let sum = hanging.fold(old, |sum, (_, count)| sum.wrapping_add(count.into()) & tagged::MAX);
        if sum > tagged::MAX / 2 { 0 } else { sum }
    }

    /// Returns the number of calls of `era` that hang at the time `now` and have begun to hang lately.
    pub(crate) fn hanging_lately(&self, era: u64, now: Tick) -> u64 {
        let current = Tag::new(era, self.slot(now));
        let ages = self.hangs_after..self.hangs_after + self.lately;
        // Relaxed, as in `start`. The calls of an overtaken (reused) bucket do not count here, because the ring is so
        // long that such calls have not begun to hang lately.
        let buckets = self.words().map(|word| split(word.load(Relaxed)));
        buckets
            .filter(|(found, _)| current.age(*found).is_some_and(|age| ages.contains(&age)))
            .map(|(_, n)| u64::from(n))
            .sum()
    }

    /// Begins an era without calls. The caller holds the circuit's cold mutex and publishes the era after this call.
    pub(crate) fn begin(&self, era: u64) {
        self.old.begin(era, 0);
        // The counts of older eras are ignored because of their tag. The counts are removed only before the tag wraps.
        if era.is_multiple_of(ERAS_KEPT_APART) {
            for word in self.words() {
                // Relaxed, because the Release store of the circuit's state word publishes the empty buckets with the
                // era. `swap` is used, so that the exchange of a thread that has read the old word fails.
                word.swap(0, Relaxed);
            }
        }
    }

    /// Returns the number of whole bucket widths since the origin of the clock.
    // A division would cost each call 3 ns, so two multiplications replace the division. The product with the inverse
    // is at most 1 too low, which the last line corrects.
    #[inline]
    fn slot(&self, now: Tick) -> u64 {
        let nanos = now.as_nanos();
        let slot = ((u128::from(nanos) * u128::from(self.inverse)) >> 64) as u64;
        slot + u64::from(nanos - slot * self.width >= self.width)
    }

    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        self.lines.iter().flat_map(|line| &line.0).take(BUCKETS)
    }

    fn find(&self, started: Stamp) -> (&AtomicU64, Tag) {
        let slot = self.slot(started.now);
        #[expect(clippy::cast_possible_truncation, reason = "a remainder by a small number")]
        let bucket = (slot % BUCKETS as u64) as usize;
        (&self.lines[bucket / 8].0[bucket % 8], Tag::new(started.era, slot))
    }
}

/// The position of a bucket in era and time, relative to a call that begins.
enum Place {
    Same,
    EarlierEra,
    LaterEra,
    Earlier,
    /// The bucket belongs to a later slot of the same era. Either the thread of the call was interrupted after it read
    /// the clock, or the clock has gone back a little.
    Later,
    /// The bucket belongs to a slot so far ahead that the clock must have gone back.
    FarAhead,
}

impl Tag {
    /// Returns the position of the bucket with this tag, relative to a call with the tag `new`.
    fn place(self, new: Self) -> Place {
        match self.eras_after(new) {
            0 if self == new => Place::Same,
            0 if self.slots_after(new, FAR_AHEAD).is_some() => Place::Later,
            0 if new.slots_after(self, LONGEST_AGE).is_some() => Place::Earlier,
            0 => Place::FarAhead,
            1..128 => Place::LaterEra,
            128.. => Place::EarlierEra,
        }
    }

    /// Returns the number of slots from `earlier` to `self`. Returns `None` if the eras differ, or if `self` is
    /// earlier.
    fn age(self, earlier: Self) -> Option<u32> {
        self.slots_after(earlier, LONGEST_AGE).filter(|_| self.eras_after(earlier) == 0)
    }
}

/// The largest number of buckets in `slower_than`. A loom model has fewer buckets, because each bucket is a step of the
/// model.
const PARTS: u64 = if cfg!(breaker_loom) { 1 } else { 10 };
/// The largest number of buckets in the time for which a hanging call counts for the slow-call rule.
const PARTS_LATELY: u64 = 100;
/// The number of buckets. Except in models, the number exceeds `PARTS + 1 + PARTS_LATELY`, so that the calls of an
/// overtaken (reused) bucket hang, and have not begun to hang lately.
const BUCKETS: usize = if cfg!(breaker_loom) { 3 } else { 128 };
const SHORTEST_WIDTH: u64 = 1_000_000;
/// The largest number of slots by which a bucket can be ahead of the call of a delayed thread. Together these slots
/// last at least a hundred times `slower_than`. A thread is assumed not to be delayed for so long. Therefore a bucket
/// that is further ahead shows that the clock has gone back.
const FAR_AHEAD: u32 = 1 << 10;
/// The largest age of a bucket in slots. The numbers of slots wrap, so a larger difference means that the bucket is
/// later.
const LONGEST_AGE: u32 = (1 << 23) - 1;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    /// Returns a stamp. `tenths` is the time in tenths of a second. The bucket width of `counts` is one tenth of a
    /// second.
    fn at(era: u64, tenths: u64) -> Stamp {
        Stamp { era, now: Tick::from_nanos(tenths * 100_000_000) }
    }

    fn counts() -> UnderWay {
        let counts = UnderWay::new(Duration::from_secs(1), Duration::from_secs(10));
        counts.begin(1);
        counts
    }

    fn hanging(counts: &UnderWay, stamp: Stamp) -> u64 {
        counts.hanging(stamp.era, stamp.now)
    }

    #[test]
    fn a_call_hangs_from_slower_than_and_at_most_one_bucket_later() {
        for nanos in [0, 1, 50_000_000, 99_999_999] {
            for slower_than in [Duration::from_millis(1), Duration::from_millis(7), Duration::from_secs(2)] {
                let counts = UnderWay::new(slower_than, Duration::ZERO);
                counts.begin(1);
                let began = Tick::from_nanos(100_000_000_000 + nanos);
                assert!(counts.start(Stamp { era: 1, now: began }));
                let before = began.saturating_add(slower_than - Duration::from_nanos(1));
                assert_eq!(counts.hanging(1, before), 0, "{slower_than:?}");
                let after = began.saturating_add(slower_than).saturating_add(Duration::from_nanos(counts.width));
                assert_eq!(counts.hanging(1, after), 1, "{slower_than:?}");
            }
        }
    }

    #[test]
    fn the_number_of_a_bucket_is_the_exact_quotient() {
        for slower_than in [1, 7, 10_000_000, 123_456_789, 10 << 30, 1_000_000_000, 3_600_000_000_000, u64::MAX] {
            let counts = UnderWay::new(Duration::from_nanos(slower_than), Duration::ZERO);
            for slot in [0, 1, 2, 999, 1 << 20, u64::MAX / counts.width] {
                let begin = slot.saturating_mul(counts.width);
                for nanos in [begin.saturating_sub(1), begin, begin.saturating_add(1), u64::MAX] {
                    assert_eq!(
                        counts.slot(Tick::from_nanos(nanos)),
                        nanos / counts.width,
                        "{nanos} by {}",
                        counts.width
                    );
                }
            }
        }
    }

    #[test]
    fn a_bucket_that_is_overtaken_keeps_its_calls_until_they_end() {
        let counts = counts();
        for tenths in [1_000, 1_000, 1_003] {
            counts.start(at(1, tenths));
        }
        for tenths in 1_128..1_300 {
            counts.start(at(1, tenths));
            counts.end(at(1, tenths));
        }
        assert_eq!(hanging(&counts, at(1, 1_300)), 3);
        counts.end(at(1, 1_000));
        counts.end(at(1, 1_003));
        assert_eq!(hanging(&counts, at(1, 1_300)), 1);
        counts.end(at(1, 1_000));
        assert_eq!(hanging(&counts, at(1, 1_300)), 0);
    }

    #[test]
    fn a_call_has_begun_to_hang_lately_for_the_length_of_the_window() {
        let counts = counts();
        counts.start(at(1, 1_000));
        let lately = |tenths| counts.hanging_lately(1, at(1, tenths).now);
        assert_eq!([1_010, 1_011, 1_110, 1_111].map(lately), [0, 1, 1, 0]);
        assert_eq!(hanging(&counts, at(1, 1_111)), 1);
        counts.end(at(1, 1_000));
        assert_eq!((lately(1_050), hanging(&counts, at(1, 1_111))), (0, 0));
    }

    #[test]
    fn calls_hang_in_their_own_era_only() {
        let counts = counts();
        counts.start(at(1, 1_000));
        counts.begin(2);
        assert_eq!(hanging(&counts, at(2, 1_100)), 0);
        counts.start(at(2, 1_128));
        counts.start(at(1, 1_128));
        counts.end(at(1, 1_000));
        counts.end(at(1, 1_128));
        assert_eq!((hanging(&counts, at(2, 1_200)), hanging(&counts, at(1, 1_200))), (1, 0));
    }

    #[test]
    fn a_thread_that_is_late_makes_no_call_hang() {
        let counts = counts();
        counts.start(at(1, 1_128));
        assert!(!counts.start(at(1, 1_000)), "the call joins the later bucket");
        assert_eq!(hanging(&counts, at(1, 1_129)), 0);
        assert_eq!(hanging(&counts, at(1, 1_139)), 2);
        counts.end(at(1, 1_000));
        assert_eq!(hanging(&counts, at(1, 1_139)), 1);
    }

    #[test]
    fn a_clock_that_goes_back_makes_no_call_hang_and_loses_no_call() {
        let counts = counts();
        // Two numbers of slots with the same bucket.
        let (before, after) = (50_000 * 128, 128);
        counts.start(at(1, before));
        assert!(counts.start(at(1, after)));
        assert_eq!(hanging(&counts, at(1, after)), 0);
        assert_eq!(hanging(&counts, at(1, after + 11)), 2);
        counts.end(at(1, before));
        counts.end(at(1, after));
        assert_eq!(hanging(&counts, at(1, after + 11)), 0);
    }

    #[test]
    fn eras_are_distinguished_when_their_tags_wrap() {
        let counts = counts();
        for era in 2..=1_000 {
            counts.begin(era);
            counts.start(at(era, 1_000 + era % 3));
            assert_eq!(hanging(&counts, at(era, 1_100)), 1, "era {era}");
        }
    }

    #[test]
    fn the_counts_are_exact_after_a_million_calls_of_two_threads() {
        let counts = counts();
        std::thread::scope(|scope| {
            for thread in 0..2_u64 {
                let counts = &counts;
                scope.spawn(move || {
                    for call in 0..1_000_000 {
                        let began = at(1, 1_000 + call / 100);
                        counts.start(began);
                        // One thread leaves each hundredth call under way, and the other thread leaves each fiftieth
                        // call.
                        if call % (100 / (thread + 1)) != 0 {
                            counts.end(began);
                        }
                    }
                });
            }
        });
        assert_eq!(hanging(&counts, at(1, 100_000)), 10_000 + 20_000);
    }
}
