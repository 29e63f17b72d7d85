//! Cells, in which each thread counts its successes and rejections without contention. Each cell has one writing
//! thread.
//!
//! A success that cannot trip the circuit must be counted, but its order among the outcomes does not matter. Therefore
//! each thread counts such successes in a cell of its own, with a load and a store, and no thread waits for another
//! thread. Outcomes that may trip the circuit enter the shared window, because the atomic exchanges of the window order
//! the outcomes.
//!
//! A circuit begins with one cell, which belongs to the first thread that counts. All other threads count in the shared
//! window, and in a shared counter of rejections. If the other threads count often, the circuit is spread, which means
//! that each thread index (`sync/seat.rs`) gets a cell. A thread has no index if other threads have taken all indices,
//! or if the thread is ending. Such a thread still uses the shared counts.
//!
//! ```text
//! cell   0 successes | 1 tripped, 2 half-open rejections | 3 spot | 4 begin | 5 span | 6.. buckets, as of a `TimeWindow`
//! spot   63..7 era | 6..0 place of the bucket in use
//! ```
//!
//! The spot names the bucket in use and the era (version of the state) of this bucket. The thread adds a success to
//! this bucket if the success has the same era and ends less than `span` after `begin`.
//!
//! The tag of a bucket has only 8 bits of its era, but the spot has the whole era. Every 64 eras form a block. Before a
//! thread writes an era of another block into its spot, the thread empties its buckets. A reader skips each cell whose
//! spot has an era of another block. Therefore the counts of different eras stay apart, although the tags wrap.
//!
//! The module `circuit` decides when a circuit is spread, and reports the sums. `cells/reports.rs` finds the calls that
//! were not reported yet.

mod reports;

use self::reports::Reports;
pub(crate) use self::reports::Sums;
use super::tag::{ERAS_KEPT_APART, Tag, join, split};
use crate::clock::Tick;
use crate::sync::{Acquire, AtomicU32, AtomicU64, MOST_INDICES, OnceLock, Relaxed, Release, Seat, indices};

/// The cells of one circuit.
#[derive(Debug)]
pub(crate) struct Cells {
    /// The seat number of the thread that owns the first cell.
    owner: AtomicU32,
    /// The number of buckets in each cell.
    buckets: u32,
    /// The duration of a bucket in nanoseconds.
    width: u64,
    /// The cell of the first thread that counts.
    first: Box<[Block]>,
    /// One cell for each thread index. These cells exist only after the circuit was spread, which happens if several
    /// threads call the circuit often.
    spread: OnceLock<Box<[Block]>>,
    /// The number of calls of each cell that were already reported. `None` if no observer receives sums.
    reports: Option<Box<Reports>>,
}

/// A block of memory, which has two cache lines, because a processor fetches cache lines in pairs. A cell has one
/// block, or several blocks if it has many buckets.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Block([AtomicU64; WORDS]);

/// The result of counting in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Counted {
    /// The thread has no cell, so nothing was counted.
    No,
    /// The call was counted.
    Yes,
    /// The call was counted, and the caller must report the sums of the cell now.
    Due,
}

/// The kind of a rejection. The value of a variant is the index of the word in a cell that counts these rejections.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Tripped = 1,
    HalfOpen = 2,
}

impl Cells {
    /// Creates the cell of the first thread. `shape` is the width in nanoseconds and the number of the buckets of the
    /// window, or `None` if calls are counted without a time.
    pub(crate) fn new(shape: Option<(u64, u32)>, reports_sums: bool) -> Self {
        let (width, buckets) = shape.unwrap_or((u64::MAX, 1));
        Self {
            owner: AtomicU32::new(UNOWNED),
            buckets,
            width,
            first: blocks(buckets, 1),
            spread: OnceLock::new(),
            reports: reports_sums.then(Box::default),
        }
    }

    /// Returns true if the counts of the cells are reported to observers in sums.
    #[inline]
    pub(crate) const fn report_sums(&self) -> bool {
        self.reports.is_some()
    }

    /// Allocates a cell for each thread index, unless the cells exist already.
    pub(crate) fn spread(&self) {
        if let Some(reports) = &self.reports {
            reports.spread();
        }
        self.spread.get_or_init(|| blocks(self.buckets, indices()));
    }

    /// Counts a success that cannot trip the circuit, in the cell of the thread with this seat (numbers of a thread).
    /// Used for circuits without a time window.
    #[inline]
    pub(crate) fn success(&self, seat: Seat) -> Counted {
        let Some(cell) = self.of(seat) else { return Counted::No };
        self.counted(bump(&cell[0].0[SUCCESSES]), false)
    }

    /// Counts a success that cannot trip the circuit, in the cell of the thread with this seat (numbers of a thread).
    /// Adds one to the sum of the cell and to its bucket for `era` and `now`.
    #[inline(always)]
    pub(crate) fn success_at(&self, seat: Seat, era: u64, now: Tick) -> Counted {
        let Some(cell) = self.of(seat) else { return Counted::No };
        let head = &cell[0].0;
        let successes = bump(&head[SUCCESSES]);
        // Relaxed, in this function and in `turn`, because only this thread writes the cell, and tag and count are in
        // one word.
        let spot = head[SPOT].load(Relaxed);
        let in_time = is_in_time(head, now);
        match head.get(FIRST_BUCKET + place_of(spot)) {
            Some(bucket) if in_time && era_of(spot) == era => {
                let seen = bucket.load(Relaxed);
                // A count at its maximum does not change, because an overflow would change the tag.
                if seen & COUNT != COUNT {
                    bucket.store(seen + 1, Relaxed);
                }
            }
            // No bucket is in use, or the bucket in use is of another time or era, or is outside the first block of the
            // cell.
            Some(_) | None => self.turn(cell, era, now),
        }
        self.counted(successes, !in_time)
    }

    /// Counts a rejection in the cell of the seat.
    #[inline]
    pub(crate) fn rejection(&self, seat: Seat, kind: Kind, now: Tick) -> Counted {
        let Some(cell) = self.of(seat) else { return Counted::No };
        let head = &cell[0].0;
        let rejections = bump(&head[kind as usize]);
        let in_time = self.reports.is_none() || is_in_time(head, now);
        if !in_time {
            // From now on, `begin` and `span` are only the time of the next report, and not the time of a bucket. A
            // success must not enter a bucket of unknown time. Therefore no bucket is in use until `turn` sets the
            // bucket of the next success.
            head[BEGIN].store(now.as_nanos(), Relaxed);
            head[SPAN].store(REPORT_EVERY, Relaxed);
            // Release, for the reason given in `turn`.
            head[SPOT].store(head[SPOT].load(Relaxed) | PLACE, Release);
        }
        self.counted(rejections, !in_time)
    }

    #[inline(always)]
    fn counted(&self, count: u64, time_is_over: bool) -> Counted {
        if (time_is_over || count.is_multiple_of(REPORT_AFTER)) && self.reports.is_some() {
            Counted::Due
        } else {
            Counted::Yes
        }
    }

    /// Returns the cell of the thread with this seat (numbers of a thread), or `None` if the thread has no cell.
    #[inline(always)]
    fn of(&self, seat: Seat) -> Option<&[Block]> {
        // Relaxed, because only the owner has to know that it owns the first cell.
        if self.owner.load(Relaxed) == seat.number() {
            return Some(&self.first);
        }
        match self.spread.get() {
            Some(cells) if seat.index() < MOST_INDICES => {
                let blocks = self.first.len();
                cells.get(seat.index() * blocks..)?.get(..blocks)
            }
            Some(_) | None => self.claim(seat),
        }
    }

    /// Makes the thread with this seat (numbers of a thread) the owner of the first cell, and returns this cell.
    /// Returns `None` if the cell has an owner already, or if the thread has no seat.
    #[cold]
    fn claim(&self, seat: Seat) -> Option<&[Block]> {
        // Relaxed, for the reason given in `of`. A cell without an owner holds zeros, so the exchange publishes no
        // other data.
        let free = seat != Seat::NONE && self.owner.load(Relaxed) == UNOWNED;
        (free && self.owner.compare_exchange(UNOWNED, seat.number(), Relaxed, Relaxed).is_ok()).then_some(&self.first)
    }

    /// Changes the bucket in use to the bucket of `era` and `now`, and counts the success in this bucket.
    #[cold]
    #[inline(never)]
    fn turn(&self, cell: &[Block], era: u64, now: Tick) {
        let head = &cell[0].0;
        let before = era_of(head[SPOT].load(Relaxed));
        if before > era {
            // The era of the success has ended, so no bucket counts the success.
            return;
        }
        if before / ERAS_KEPT_APART != era / ERAS_KEPT_APART {
            buckets(cell, self.buckets).for_each(|bucket| bucket.store(0, Relaxed));
        }
        let slot = now.as_nanos() / self.width;
        let tag = Tag::new(era, slot);
        #[expect(clippy::cast_possible_truncation, reason = "a remainder by a u32")]
        let place = (slot % u64::from(self.buckets)) as usize;
        let bucket = bucket(cell, place);
        // Relaxed, because only this thread writes the cell, as in `success_at`.
        let (found, count) = split(bucket.load(Relaxed));
        if found == tag {
            bucket.store(join(tag, count.saturating_add(1)), Relaxed);
        } else if count > 0 && found.is_later_than(tag, self.buckets) {
            // The bucket belongs to a later time slot, because the clock has jumped back. The success counts only for
            // the totals.
            return;
        } else {
            bucket.store(join(tag, 1), Relaxed);
        }
        let begin = slot * self.width;
        let span = match self.reports {
            Some(_) => self.width.min((now.as_nanos() - begin).saturating_add(REPORT_EVERY)),
            None => self.width,
        };
        head[BEGIN].store(begin, Relaxed);
        head[SPAN].store(span, Relaxed);
        // Release, which pairs with the Acquire in `calls`. A reader that sees the new era also sees that the buckets
        // have no counts of an earlier block of 64 eras.
        head[SPOT].store(era << PLACE_BITS | place as u64, Release);
    }

    /// Returns the number of calls of `era` that all cells have counted, without the calls that have expired at `now`.
    pub(crate) fn calls(&self, era: u64, now: Tick) -> u64 {
        let current = Tag::new(era, now.as_nanos() / self.width);
        let of_this_block = |cell: &&[Block]| {
            // Acquire, which pairs with the Release in `turn`.
            era_of(cell[0].0[SPOT].load(Acquire)) / ERAS_KEPT_APART == era / ERAS_KEPT_APART
        };
        self.all()
            .filter(of_this_block)
            .flat_map(|cell| buckets(cell, self.buckets))
            // Relaxed, because tag and count are in one word.
            .map(|bucket| split(bucket.load(Relaxed)))
            .filter(|(found, _)| found.counts_at(current, self.buckets))
            .map(|(_, count)| u64::from(count))
            .sum()
    }

    /// Returns the number of successes that the cells have counted since the circuit was created.
    pub(crate) fn successes(&self) -> u64 {
        // Relaxed, in this function and in `rejections`, because the counts publish no other data.
        self.all().map(|cell| cell[0].0[SUCCESSES].load(Relaxed)).sum()
    }

    /// Returns the number of rejections that the cells have counted since the circuit was created.
    pub(crate) fn rejections(&self) -> u64 {
        self.all().map(|cell| cell[0].0[TRIPPED].load(Relaxed) + cell[0].0[HALF_OPEN].load(Relaxed)).sum()
    }

    fn all(&self) -> impl Iterator<Item = &[Block]> {
        let spread = self.spread.get().map_or(&[][..], |cells| cells);
        std::iter::once(&*self.first).chain(spread.chunks(self.first.len()))
    }
}

/// Adds one, and returns the new count. No exchange is needed, because only one thread writes the word.
#[inline(always)]
fn bump(word: &AtomicU64) -> u64 {
    // Relaxed, because the count publishes no other data.
    let count = word.load(Relaxed) + 1;
    word.store(count, Relaxed);
    count
}

#[inline(always)]
fn is_in_time(head: &[AtomicU64; WORDS], now: Tick) -> bool {
    // Relaxed, because only this thread writes these words. If the time is before `begin`, the difference wraps to a
    // number that is larger than any span.
    now.as_nanos().wrapping_sub(head[BEGIN].load(Relaxed)) < head[SPAN].load(Relaxed)
}

fn bucket(cell: &[Block], place: usize) -> &AtomicU64 {
    let word = FIRST_BUCKET + place;
    &cell[word / WORDS].0[word % WORDS]
}

fn buckets(cell: &[Block], count: u32) -> impl Iterator<Item = &AtomicU64> {
    (0..count as usize).map(|place| bucket(cell, place))
}

#[inline(always)]
const fn era_of(spot: u64) -> u64 {
    spot >> PLACE_BITS
}

#[inline(always)]
const fn place_of(spot: u64) -> usize {
    (spot & PLACE) as usize
}

fn blocks(buckets: u32, cells: usize) -> Box<[Block]> {
    let blocks = (FIRST_BUCKET + buckets as usize).div_ceil(WORDS);
    (0..blocks * cells).map(|_| Block::default()).collect()
}

/// The owner of a cell that no thread has claimed. The value differs from [`Seat::NONE`], so that a thread without a
/// seat does not own the cell.
const UNOWNED: u32 = u32::MAX - 2;
const WORDS: usize = 16;
const SUCCESSES: usize = 0;
const TRIPPED: usize = 1;
const HALF_OPEN: usize = 2;
const SPOT: usize = 3;
const BEGIN: usize = 4;
const SPAN: usize = 5;
const FIRST_BUCKET: usize = 6;
const PLACE_BITS: u32 = 7;
/// The mask of the bits in a spot that hold the place of the bucket in use. If all these bits are set, no bucket is in
/// use. No bucket has this place, because a window has at most 60 buckets.
const PLACE: u64 = (1 << PLACE_BITS) - 1;
const COUNT: u64 = u32::MAX as u64;
/// The number of successes or rejections in a cell after which the thread reports the sums of the cell. If a thread has
/// made no report for `REPORT_EVERY` nanoseconds, its next call reports too.
const REPORT_AFTER: u64 = 256;
const REPORT_EVERY: u64 = 1_000_000;
