//! Probes: the calls that a half-open circuit admits, with a slot for each probe that may
//! be under way, and one verdict.
//!
//! ```text
//! slot      63..50 era (low 14 bits) | 49..36 turn | 35..0 started, in ms of the clock modulo 2^36 - 1, plus 1; 0 is free
//! verdict   number of a `Tagged` word: 39..20 failures | 19..0 successes
//! ```
//!
//! A slot is taken and freed by one exchange that compares era and turn. So no race creates or loses a slot, neither
//! between callers nor if the circuit has become half-open again meanwhile. The turn grows each time a slot is freed,
//! so that a probe can free only the slot that it has. The meaning of a verdict is left to `outcomes`.

use crate::clock::Tick;
use crate::sync::{AtomicU64, Relaxed};
use crate::window::tagged::Tagged;

/// The slots and the verdict of a half-open circuit. Each word carries its era, so that an outcome of
/// an earlier era changes nothing.
#[derive(Debug)]
pub(super) struct Probes {
    slots: Box<[AtomicU64]>,
    verdict: Tagged,
}

/// The right to one probe: the index of a slot, and the turn in which the slot was taken. 24 bits, so that a probe
/// fits into the mark of a permit.
///
/// ```text
/// probe   23..10 turn | 9..0 slot
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe(u32);

/// The slots of an era at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub(super) any_free: bool,
    /// The age of the oldest probe under way, in nanoseconds but exact to the millisecond.
    /// Zero if no probe is under way.
    pub(super) oldest: u64,
}

/// The successes and failures of the probes of an era so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    pub(super) successes: u32,
    pub(super) failures: u32,
}

impl Probes {
    pub(super) fn new(in_flight: u32) -> Self {
        Self { slots: (0..in_flight).map(|_| AtomicU64::new(0)).collect(), verdict: Tagged::new() }
    }

    /// Frees every slot for a new era, whose verdict begins with `successes`, which a restore brings along. To be
    /// called under the cold mutex, before the era is published.
    pub(super) fn begin(&self, era: u64, successes: u32) {
        for slot in &self.slots {
            // Relaxed: the Release store of the circuit's word publishes the slot with the era. An exchange for the
            // reason given in `Tagged::begin`.
            slot.swap(tag(era), Relaxed);
        }
        self.verdict.begin(era, u64::from(successes).min(COUNT));
    }

    /// Takes a free slot of `era`. Returns `None` if all slots are taken, or if the era is over.
    pub(super) fn take(&self, era: u64, now: Tick) -> Option<Probe> {
        let started = started(now);
        (0..).zip(&self.slots).find_map(|(index, slot)| {
            // Relaxed: the slot itself is the right, and nothing else is published with it.
            let mut seen = tag(era);
            while is_free(seen, era) {
                match slot.compare_exchange_weak(seen, seen | started, Relaxed, Relaxed) {
                    Ok(_) => return Some(Probe(turn(seen) << SLOT_BITS | index)),
                    Err(now) => seen = now,
                }
            }
            None
        })
    }

    /// Frees the slot of a probe, if the probe still has the slot. After the end of `era` there is nothing to free.
    pub(super) fn free(&self, era: u64, probe: Probe) {
        let (slot, probe_turn) = (&self.slots[probe.0 as usize & MOST_SLOTS], probe.0 >> SLOT_BITS);
        // Relaxed: a waiter is woken through `Wakers`, whose exchanges order this change
        // before the next check of the waiter.
        let mut seen = slot.load(Relaxed);
        while is_taken(seen, era) && turn(seen) == probe_turn {
            let next_turn = u64::from(probe_turn + 1) & TURN;
            match slot.compare_exchange_weak(seen, tag(era) | next_turn << TURN_SHIFT, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Reads each slot of `era` once. The answer is a hint, because slots may be taken meanwhile.
    pub(super) fn occupancy(&self, era: u64, now: Tick) -> Occupancy {
        let now = started(now);
        let mut slots = Occupancy { any_free: false, oldest: 0 };
        for slot in &self.slots {
            // Relaxed: only a hint, because `take` decides. The start time is part of the word of its slot.
            let word = slot.load(Relaxed);
            if is_of(word, era) {
                match word & STARTED {
                    0 => slots.any_free = true,
                    began => slots.oldest = slots.oldest.max(age(began, now)),
                }
            }
        }
        slots
    }

    /// Returns the number of probes of `era` that are under way.
    pub(super) fn in_flight(&self, era: u64) -> usize {
        // Relaxed: a number for people.
        self.slots.iter().filter(|slot| is_taken(slot.load(Relaxed), era)).count()
    }

    /// Counts a success, and returns the verdict so far. Returns `None` if the era is over. A full count stays full.
    pub(super) fn success(&self, era: u64) -> Option<Verdict> {
        self.verdict
            .update(era, |verdict| if verdict & COUNT == COUNT { verdict } else { verdict + 1 })
            .map(Verdict::from)
    }

    /// Counts a failure, and returns the verdict so far. Returns `None` if the era is over. A full count stays full.
    pub(super) fn failure(&self, era: u64) -> Option<Verdict> {
        let full = |verdict: u64| verdict >> COUNT_BITS == COUNT;
        let count = |verdict| if full(verdict) { verdict } else { verdict + (1 << COUNT_BITS) };
        self.verdict.update(era, count).map(Verdict::from)
    }

    pub(super) fn verdict(&self, era: u64) -> Verdict {
        self.verdict.get(era).map(Verdict::from).unwrap_or_default()
    }
}

impl From<u64> for Verdict {
    fn from(number: u64) -> Self {
        let count = |bits: u64| u32::try_from(bits & COUNT).expect("20 bits");
        Self { successes: count(number), failures: count(number >> COUNT_BITS) }
    }
}

impl Probe {
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

const fn tag(era: u64) -> u64 {
    era << ERA_SHIFT
}

fn turn(word: u64) -> u32 {
    u32::try_from(word >> TURN_SHIFT & TURN).expect("14 bits")
}

fn started(now: Tick) -> u64 {
    // Modulo 2^36 - 1 ms, which are 2.1 years, because a user's clock may count from 1970. An
    // age is known up to half of that.
    now.as_nanos() / NANOS_PER_MILLI % STARTED + 1
}

/// Returns the nanoseconds between two values of [`started`].
fn age(began: u64, now: u64) -> u64 {
    let age = if now >= began { now - began } else { now + STARTED - began };
    // An age of more than half of the range means that the clock has jumped back.
    if age > STARTED / 2 { 0 } else { age * NANOS_PER_MILLI }
}

fn is_of(word: u64, era: u64) -> bool {
    word >> ERA_SHIFT << ERA_SHIFT == tag(era)
}

fn is_taken(word: u64, era: u64) -> bool {
    is_of(word, era) && word & STARTED != 0
}

fn is_free(word: u64, era: u64) -> bool {
    is_of(word, era) && word & STARTED == 0
}

const SLOT_BITS: u32 = 10;
const MOST_SLOTS: usize = (1 << SLOT_BITS) - 1;
const STARTED: u64 = (1 << TURN_SHIFT) - 1;
const TURN_SHIFT: u32 = 36;
const TURN: u64 = (1 << (ERA_SHIFT - TURN_SHIFT)) - 1;
const ERA_SHIFT: u32 = 50;
const NANOS_PER_MILLI: u64 = 1_000_000;
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
