//! The slot of a probe, one atomic word. The slot is withheld, free (granted to the next call) or taken. The word of a
//! taken slot has the start time of its probe.
//!
//! ```text
//! slot      63..50 era (low 14 bits) | 49..36 turn | 35..0 holder
//! holder    0: free | all ones: withheld | otherwise the start of the probe, in ms of the clock modulo 2^36 - 2, plus 1
//!
//!           grant              take
//! withheld ───────▶ free ───────────────▶ started
//!   ▲  ▲ │           │                     ▲   │
//!   │  │ └───────────┼── take, not leased ─┘   │
//!   │  └─ withhold ──┘                         │
//!   └───────── give back, with the next turn ──┘
//! ```
//!
//! A slot is withheld at the start of an era, and again after a probe has given the slot back. While probes are leased,
//! a call takes only a free slot, so that each probe needs a grant. Otherwise a call takes a withheld slot as well, so
//! that a grant makes no difference. Every change is one exchange that compares the whole word, and names the era. So
//! no grant reaches a later era, and no two callers take one grant.

use crate::clock::Tick;
use crate::sync::{AtomicU64, Relaxed};

#[derive(Debug)]
pub(super) struct Slot(AtomicU64);

/// The use of a slot at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Withheld,
    /// The slot is granted to the next call.
    Free,
    /// A probe has held the slot since this moment.
    Taken(Moment),
}

/// The start of a probe as the word of a slot holds it, in milliseconds modulo [`PERIOD`], plus 1. The number is at
/// least 1 and less than [`WITHHELD`], so that no start looks free or withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Slot {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Withholds the slot for a new era. The caller holds the cold mutex, and publishes the era afterwards.
    pub(super) fn begin(&self, era: u64) {
        // Relaxed, because the Release store of the circuit's word publishes the slot with the era. A plain store would
        // be correct on hardware. But loom allows the exchange of a late thread to replace the stored value although
        // the exchange has read the earlier value. Loom does not allow this after a `swap`.
        self.0.swap(tag(era) | WITHHELD, Relaxed);
    }

    /// Takes the slot for a probe that starts now, and returns the turn of the slot (the number of times that the slot
    /// was given back in the era, modulo 2^14). A withheld slot is taken too, unless probes are leased. Returns `None`
    /// if the slot cannot be taken or is of another era.
    pub(super) fn take(&self, era: u64, now: Moment, leased: bool) -> Option<u32> {
        let may_take = |holder| holder == FREE || holder == WITHHELD && !leased;
        self.exchange(era, |word| may_take(word & HOLDER).then_some(word & !HOLDER | now.0)).map(turn)
    }

    /// Gives a taken slot back, if `is_meant` accepts the turn of the slot and the start of the probe. Returns true if
    /// the slot was given back.
    pub(super) fn give_back(&self, era: u64, is_meant: impl Fn(u32, Moment) -> bool) -> bool {
        let withheld = |word| {
            let Use::Taken(start) = used(word) else { return None };
            let next_turn = u64::from(turn(word) + 1) & TURN;
            is_meant(turn(word), start).then_some(tag(era) | next_turn << TURN_SHIFT | WITHHELD)
        };
        self.exchange(era, withheld).is_some()
    }

    /// Frees a withheld slot. Returns false if the slot was not withheld, or is of another era.
    #[cfg(any(feature = "store", test))]
    pub(super) fn grant(&self, era: u64) -> bool {
        self.exchange(era, |word| (word & HOLDER == WITHHELD).then_some(word & !HOLDER)).is_some()
    }

    /// Withholds a free slot again. A slot that a probe has taken stays taken.
    #[cfg(any(feature = "store", test))]
    pub(super) fn withhold(&self, era: u64) {
        self.exchange(era, |word| (word & HOLDER == FREE).then_some(word | WITHHELD));
    }

    /// Returns the use of the slot, or `None` if the slot is of another era.
    pub(super) fn get(&self, era: u64) -> Option<Use> {
        // Relaxed, because the load is only a hint and the exchange decides. The start time is in the word itself, so
        // no other data need be visible.
        let word = self.0.load(Relaxed);
        is_of(word, era).then(|| used(word))
    }

    /// Changes the word and returns the previous word. Returns `None` if `change` returns `None`, or if the slot is of
    /// another era.
    fn exchange(&self, era: u64, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        // Relaxed, because the slot publishes no other data. A slot that was given back is visible to the next caller
        // that `Probes::take` counts, because the AcqRel exchanges of the verdict pair with each other. The thread that
        // gives the slot back exchanges first the slot and then the verdict. The next caller exchanges first the
        // verdict and then the slot. A grant is visible to the tasks that `Circuit::grant` wakes, because the AcqRel
        // exchange of the wakers follows the grant.
        let mut seen = self.0.load(Relaxed);
        while is_of(seen, era) {
            let next = change(seen)?;
            match self.0.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return Some(seen),
                Err(now) => seen = now,
            }
        }
        None
    }
}

impl Moment {
    pub(super) fn at(now: Tick) -> Self {
        // The clock of a user may count from 1970, and the word has no room for so many milliseconds. Therefore the
        // time is taken modulo 2^36 - 2 ms, which are 2.2 years. An age is known up to half of that range, because a
        // larger difference means that the clock has jumped back.
        Self(now.as_nanos() / NANOS_PER_MILLI % PERIOD + 1)
    }

    /// Returns the nanoseconds from this moment until `now`.
    pub(super) fn age(self, now: Self) -> u64 {
        let age = if now.0 >= self.0 { now.0 - self.0 } else { now.0 + PERIOD - self.0 };
        // An age of more than half of the range means that the clock has jumped back.
        if age > PERIOD / 2 { 0 } else { age * NANOS_PER_MILLI }
    }
}

fn used(word: u64) -> Use {
    match word & HOLDER {
        FREE => Use::Free,
        WITHHELD => Use::Withheld,
        start => Use::Taken(Moment(start)),
    }
}

const fn tag(era: u64) -> u64 {
    era << ERA_SHIFT
}

fn is_of(word: u64, era: u64) -> bool {
    word >> ERA_SHIFT << ERA_SHIFT == tag(era)
}

fn turn(word: u64) -> u32 {
    u32::try_from(word >> TURN_SHIFT & TURN).expect("14 bits")
}

const ERA_SHIFT: u32 = 50;
const TURN_SHIFT: u32 = 36;
const TURN: u64 = (1 << (ERA_SHIFT - TURN_SHIFT)) - 1;
const HOLDER: u64 = (1 << TURN_SHIFT) - 1;
const FREE: u64 = 0;
const WITHHELD: u64 = HOLDER;
/// The number of different moments, which is the number of values of `holder` that mean neither free nor withheld.
const PERIOD: u64 = HOLDER - 1;
const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Moment {
        Moment::at(Tick::from_nanos(millis * NANOS_PER_MILLI))
    }

    #[test]
    fn no_start_of_a_probe_looks_free_or_withheld() {
        for at in [0, 1, PERIOD - 2, PERIOD - 1, PERIOD, PERIOD + 1, 2 * PERIOD - 1, 2 * PERIOD] {
            let slot = Slot::new();
            slot.begin(7);
            assert_eq!(slot.take(7, millis(at), false), Some(0));
            assert_eq!(slot.get(7), Some(Use::Taken(millis(at))), "started at {at} ms");
            assert!(!slot.grant(7), "the slot is taken");
            assert_eq!(millis(at).age(millis(at + 5)), 5 * NANOS_PER_MILLI, "also across the end of the range");
            assert_eq!(millis(at + 5).age(millis(at)), 0, "the clock has jumped back");
        }
    }

    #[test]
    fn a_leased_slot_is_taken_once_for_each_grant() {
        let (slot, now) = (Slot::new(), millis(1));
        slot.begin(7);
        assert_eq!((slot.get(7), slot.take(7, now, true)), (Some(Use::Withheld), None));
        assert!(slot.grant(7) && !slot.grant(7), "a free slot cannot be freed again");
        assert_eq!((slot.take(7, now, true), slot.take(7, now, true)), (Some(0), None));
        assert!(!slot.give_back(7, |turn, _| turn == 1) && slot.give_back(7, |turn, _| turn == 0));
        assert_eq!((slot.get(7), slot.take(7, now, true)), (Some(Use::Withheld), None), "withheld again");
        assert!(slot.grant(7));
        assert_eq!(slot.take(7, now, true), Some(1), "the turn has grown once");
    }

    #[test]
    fn a_slot_ignores_every_change_of_another_era() {
        let (slot, now) = (Slot::new(), millis(1));
        slot.begin(8);
        assert!(!slot.grant(7) && !slot.grant(9));
        assert_eq!((slot.get(8), slot.get(7)), (Some(Use::Withheld), None));
        assert!(slot.grant(8));
        slot.withhold(7);
        assert_eq!((slot.get(8), slot.take(7, now, false)), (Some(Use::Free), None));
        slot.withhold(8);
        assert_eq!(slot.get(8), Some(Use::Withheld));
        assert_eq!(slot.take(8, now, false), Some(0), "without leases a withheld slot is as good as a free slot");
        slot.withhold(8);
        assert_eq!(slot.get(8), Some(Use::Taken(now)), "a probe keeps its slot");
    }
}
