//! The call window, a ring of the last n calls. Each call replaces the call that came n calls earlier, in the slots and
//! in the sums.
//!
//! ```text
//! slot   31..12 era (low 20 bits) | 11 present | 10 slow | 9..0 weight in 1/256
//! ```
//!
//! A thread that replaces a slot adds the difference between the new call and the old call to the sums, unless the era
//! (version of the state) of the new call has ended. Slots of an older era are ignored, so that a new era need not
//! clear a large ring. A thread changes the slot first and the sums afterwards. Between these steps the sums lack the
//! difference. If another thread replaces the slot again meanwhile, a sum can even be below zero, and is then read as
//! zero.

use super::tagged::{self, Tagged};
use super::{Mark, Tally};
use crate::outcome::UNIT;
use crate::sync::{AtomicU32, AtomicU64, Relaxed};

/// The slots, and the sums over the slots that hold a call of the present era.
#[derive(Debug)]
pub(crate) struct CallRing {
    slots: Box<[AtomicU32]>,
    /// The number of outcomes recorded since the circuit was created. The next outcome replaces slot `position %
    /// slots`.
    position: AtomicU64,
    calls: Tagged,
    score: Tagged,
    slow: Tagged,
}

impl CallRing {
    pub(crate) fn new(calls: u32) -> Self {
        Self {
            slots: (0..calls).map(|_| AtomicU32::new(0)).collect(),
            position: AtomicU64::new(0),
            calls: Tagged::new(),
            score: Tagged::new(),
            slow: Tagged::new(),
        }
    }

    /// Replaces the oldest slot with the outcome.
    pub(crate) fn record(&self, era: u64, mark: Mark) {
        // Every ordering in this function is Relaxed, because a slot has its call and its era in one word, and neither
        // the slots nor `position` publish other data. The sums have orderings of their own (`Tagged::try_update`).
        let position = self.position.fetch_add(1, Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "a remainder by a length")]
        let index = (position % self.slots.len() as u64) as usize;
        let slot = &self.slots[index];
        let new = Slot::new(era, mark);
        let mut seen = slot.load(Relaxed);
        let old = loop {
            let old = Slot(seen);
            // In the healthy case a success replaces a success, and nothing has to change. An outcome of an ended era
            // does not replace a call of a later era.
            if old == new || old.is_of_a_later_era_than(new) {
                return;
            }
            match slot.compare_exchange_weak(seen, new.0, Relaxed, Relaxed) {
                Ok(_) => break old,
                Err(now) => seen = now,
            }
        };
        let gone = if old.is_of_the_era_of(new) { old } else { Slot(0) };
        adjust(&self.calls, era, 1, u32::from(gone.present()));
        adjust(&self.score, era, new.units(), gone.units());
        adjust(&self.slow, era, u32::from(new.slow()), u32::from(gone.slow()));
    }

    /// Adds the sums of earlier calls, for example from a stored record. Later calls replace the added calls first, and
    /// the calls of this process afterwards. The caller holds the circuit's cold mutex.
    ///
    /// The position does not change, so that the totals do not count the added calls. If the sums have more calls than
    /// free slots, fewer calls are added, with the same shares of failures and slow calls. The running time grows with
    /// the number of added calls.
    pub(crate) fn seed(&self, era: u64, tally: Tally) {
        let slots = self.slots.len() as u64;
        let own = self.tally(era).calls.min(slots);
        let calls = tally.calls.min(slots - own);
        let Tally { units, slow, .. } = tally.scaled(calls, tally.calls);
        let (units, slow) = (units.min(calls * u64::from(UNIT)), slow.min(calls));
        // `part` divides `sum` among the calls. The parts differ by at most one, and add up to `sum`. The product stays
        // below 2^24 * 2^32, so it does not overflow.
        let part = |sum: u64, call: u64| sum * (call + 1) / calls - sum * call / calls;
        // Every ordering is Relaxed for the reason given in `record`.
        let before_own = self.position.load(Relaxed) % slots + slots - own;
        for call in 0..calls {
            let units = u16::try_from(part(units, call)).unwrap_or(UNIT);
            let new = Slot::new(era, Mark { units, slow: part(slow, call) > 0 });
            #[expect(clippy::cast_possible_truncation, reason = "a remainder by a length")]
            let index = ((before_own + slots - 1 - call) % slots) as usize;
            // Relaxed, because a slot is one word, as in `record`.
            let seen = self.slots[index].load(Relaxed);
            let slot = Slot(seen);
            // If another thread has recorded a call in this slot meanwhile, the added call is left out.
            if slot.present() && slot.is_of_the_era_of(new)
                || self.slots[index].compare_exchange(seen, new.0, Relaxed, Relaxed).is_err()
            {
                continue;
            }
            adjust(&self.calls, era, 1, 0);
            adjust(&self.score, era, new.units(), 0);
            adjust(&self.slow, era, u32::from(new.slow()), 0);
        }
    }

    pub(crate) fn tally(&self, era: u64) -> Tally {
        let read = |sum: &Tagged| sum.get(era).map_or(0, not_below_zero);
        Tally { calls: read(&self.calls), units: read(&self.score), slow: read(&self.slow) }
    }

    pub(crate) fn begin(&self, era: u64) {
        for sum in [&self.calls, &self.score, &self.slow] {
            sum.begin(era, 0);
        }
        // A slot of an older era is ignored because of its tag. When the tag wraps, an old slot with the same tag would
        // become valid again, so the slots are cleared before the tag wraps.
        if era.is_multiple_of(ERAS_KEPT_APART) {
            for slot in &self.slots {
                // Relaxed, because the Release store of the circuit's state word publishes the empty slot with the era.
                // Afterwards a slow thread may still write an outcome of an older era into the slot, but such an
                // outcome is not counted.
                slot.store(0, Relaxed);
            }
        }
    }

    pub(crate) fn recorded(&self) -> u64 {
        // Relaxed, because the count publishes no other data.
        self.position.load(Relaxed)
    }

    /// Returns the sums over the slots themselves, which must equal `tally` while no call completes.
    #[cfg(test)]
    pub(crate) fn recount(&self, era: u64) -> Tally {
        let probe = Slot::new(era, Mark { units: 0, slow: false });
        // Relaxed, because the caller has joined the writing threads.
        let slots = self.slots.iter().map(|slot| Slot(slot.load(Relaxed)));
        slots.filter(|slot| slot.present() && slot.is_of_the_era_of(probe)).fold(Tally::default(), |sum, slot| Tally {
            calls: sum.calls + 1,
            units: sum.units + u64::from(slot.units()),
            slow: sum.slow + u64::from(slot.slow()),
        })
    }
}

/// One call of the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

impl Slot {
    fn new(era: u64, mark: Mark) -> Self {
        let era = (era & SLOT_ERAS) as u32;
        Self(era << ERA_SHIFT | PRESENT | if mark.slow { SLOW } else { 0 } | u32::from(mark.units))
    }

    fn units(self) -> u32 {
        self.0 & UNITS
    }

    fn slow(self) -> bool {
        self.0 & SLOW != 0
    }

    fn present(self) -> bool {
        self.0 & PRESENT != 0
    }

    fn is_of_the_era_of(self, other: Self) -> bool {
        self.0 >> ERA_SHIFT == other.0 >> ERA_SHIFT
    }

    fn is_of_a_later_era_than(self, other: Self) -> bool {
        let ahead = (self.0 >> ERA_SHIFT).wrapping_sub(other.0 >> ERA_SHIFT) & SLOT_ERAS_U32;
        self.present() && ahead != 0 && ahead <= SLOT_ERAS_U32 / 2
    }
}

/// Adds `gained` to a sum and subtracts `lost`, modulo 2^40.
fn adjust(sum: &Tagged, era: u64, gained: u32, lost: u32) {
    if gained != lost {
        sum.update(era, |sum| sum.wrapping_add(u64::from(gained)).wrapping_sub(u64::from(lost)));
    }
}

/// Returns the sum, or zero if the sum is negative because more was subtracted than added so far.
fn not_below_zero(sum: u64) -> u64 {
    if sum > tagged::MAX / 2 { 0 } else { sum }
}

const UNITS: u32 = 0x3FF;
const SLOW: u32 = 1 << 10;
const PRESENT: u32 = 1 << 11;
const ERA_SHIFT: u32 = 12;
const SLOT_ERAS_U32: u32 = (1 << 20) - 1;
const SLOT_ERAS: u64 = SLOT_ERAS_U32 as u64;
/// The number of eras after which old slots are cleared. The number is less than half of the 2^20 eras that a slot can
/// distinguish, so that `is_of_a_later_era_than` is always right.
const ERAS_KEPT_APART: u64 = 1 << 18;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    fn random_mark(state: &mut u64) -> Mark {
        let units = [0, 0, 0, 128, 256][usize::try_from(random(state) % 5).expect("below five")];
        Mark { units, slow: random(state).is_multiple_of(7) }
    }

    /// Records random outcomes in two threads. `era` returns the era of each step.
    fn record_in_two_threads(ring: &CallRing, steps: u64, era: impl Fn(u64) -> u64 + Copy + Send) {
        std::thread::scope(|scope| {
            for seed in 1..=2 {
                scope.spawn(move || {
                    let mut state = seed;
                    for step in 0..steps {
                        ring.record(era(step), random_mark(&mut state));
                    }
                });
            }
        });
    }

    #[test]
    fn the_sums_equal_the_slots_after_a_million_outcomes_of_two_threads() {
        for calls in [3, 64, 100, 10_000] {
            let ring = CallRing::new(calls);
            ring.begin(1);
            record_in_two_threads(&ring, 1_000_000, |_| 1);
            assert_eq!(ring.tally(1), ring.recount(1), "ring of {calls}");
            assert_eq!(ring.tally(1).calls, u64::from(calls), "ring of {calls} is full");
        }
    }

    #[test]
    fn sums_equal_slots_when_eras_change_under_the_writers() {
        let ring = CallRing::new(50);
        ring.begin(1);
        // The two threads do not reach an era at the same time, so a call of one era may end in the next era.
        record_in_two_threads(&ring, 400_000, |step| 1 + step / 100_000);
        ring.begin(9);
        for _ in 0..20 {
            ring.record(9, Mark { units: 256, slow: true });
            ring.record(8, Mark { units: 256, slow: true });
        }
        assert_eq!(ring.tally(9), Tally { calls: 20, units: 20 * 256, slow: 20 });
        assert_eq!(ring.tally(9), ring.recount(9));
    }

    /// Returns the weights of the slots that hold a call of the era, beginning with the slot that is replaced next.
    fn by_age(ring: &CallRing, era: u64) -> Vec<u32> {
        let next = usize::try_from(ring.position.load(Relaxed)).expect("few") % ring.slots.len();
        let (later, earlier) = ring.slots.split_at(next);
        let of_the_era = Slot::new(era, Mark { units: 0, slow: false });
        let slots = earlier.iter().chain(later).map(|slot| Slot(slot.load(Relaxed)));
        slots.filter(|slot| slot.present() && slot.is_of_the_era_of(of_the_era)).map(Slot::units).collect()
    }

    #[test]
    fn restored_sums_spread_evenly_over_the_oldest_calls_outside_the_totals() {
        for own in [0, 1, 5, 6, 13] {
            let ring = CallRing::new(10);
            ring.begin(1);
            for _ in 0..own {
                ring.record(1, Mark { units: 7, slow: false });
            }
            ring.seed(1, Tally { calls: 4, units: 2 * 256 + 1, slow: 1 });
            let room = 4.min(10_usize.saturating_sub(own));
            let found = by_age(&ring, 1);
            assert_eq!((found.len(), ring.recorded()), (room + own.min(10), own as u64), "after {own} of its own");
            assert!(found[room..].iter().all(|units| *units == 7), "{found:?} after {own} of its own");
            assert!(found[..room].iter().all(|units| (128..=129).contains(units)), "{found:?}: even");
            if room == 4 {
                assert_eq!(found[..room].iter().sum::<u32>(), 2 * 256 + 1, "to the last 1/256");
            }
            assert_eq!(ring.tally(1), ring.recount(1));
            for _ in 0..10 {
                ring.record(1, Mark { units: 256, slow: false });
            }
            assert_eq!(ring.tally(1), Tally { calls: 10, units: 2560, slow: 0 }, "all have been replaced");
        }
    }

    #[test]
    fn a_ring_takes_the_same_share_of_sums_over_its_size() {
        let ring = CallRing::new(10);
        ring.begin(1);
        ring.seed(1, Tally { calls: u64::MAX, units: u64::MAX, slow: u64::MAX / 2 });
        assert_eq!(ring.tally(1), Tally { calls: 10, units: 10, slow: 5 });
        ring.seed(1, Tally { calls: 10, units: u64::MAX, slow: 0 });
        assert_eq!(ring.tally(1).calls, 10, "there was no room left");
        ring.begin(2);
        ring.seed(2, Tally { calls: 1, units: u64::MAX, slow: 9 });
        assert_eq!(ring.tally(2), Tally { calls: 1, units: 256, slow: 1 }, "no call weighs more");
        assert_eq!(ring.tally(2), ring.recount(2));
    }

    #[test]
    fn after_a_seed_among_two_threads_the_sums_equal_the_slots() {
        for _ in 0..200 {
            let ring = CallRing::new(100);
            ring.begin(1);
            std::thread::scope(|scope| {
                scope.spawn(|| ring.seed(1, Tally { calls: 90, units: 30 * 256, slow: 9 }));
                record_in_two_threads(&ring, 100, |_| 1);
            });
            assert_eq!(ring.tally(1), ring.recount(1));
        }
    }

    #[test]
    fn eras_are_distinguished_when_their_tags_wrap() {
        let ring = CallRing::new(4);
        for era in [1, 1 << 16, 1 << 18, 1 << 20, (1 << 20) + 1, 1 << 24, (1 << 24) + 1] {
            ring.begin(era);
            assert_eq!(ring.tally(era), Tally::default(), "era {era} begins empty");
            ring.record(era, Mark { units: 256, slow: false });
            assert_eq!(ring.tally(era), Tally { calls: 1, units: 256, slow: 0 }, "era {era}");
        }
    }
}
