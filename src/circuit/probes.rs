//! The calls that a half-open circuit lets through: as many slots as probes may be under way, and one verdict.
//!
//! ```text
//! slot      63..40 era (low 24 bits) | 39..0 started, in ms of the clock modulo 2^40 - 1, plus 1; 0 is free
//! verdict   number of a `Tagged` word: 39..20 failures | 19..0 successes
//! ```
//!
//! A slot is taken and freed by one exchange that names the era, so no race mints or loses one: not between callers, and not
//! when the circuit has become half-open anew meanwhile. What a verdict means is not decided here.

use core::time::Duration;

use crate::clock::Tick;
use crate::sync::{AtomicU64, Relaxed};
use crate::window::tagged::Tagged;

#[derive(Debug)]
pub(super) struct Probes {
    slots: Box<[AtomicU64]>,
    verdict: Tagged,
}

/// The right to one probe: a slot, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    slot: u32,
    word: u64,
}

/// What the probes of an era have shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    pub(super) successes: u32,
    pub(super) failures: u32,
}

impl Probes {
    pub(super) fn new(in_flight: u32) -> Self {
        Self { slots: (0..in_flight).map(|_| AtomicU64::new(0)).collect(), verdict: Tagged::new() }
    }

    /// Frees every slot for a new era. Under the cold mutex, before the era is published.
    pub(super) fn begin(&self, era: u64, successes: u32) {
        for slot in &self.slots {
            // Relaxed: the Release store of the circuit's word publishes it with the era. No store, as in `Tagged::begin`.
            slot.swap(tag(era), Relaxed);
        }
        self.verdict.begin(era, u64::from(successes).min(COUNT));
    }

    /// Takes a free slot of `era`, if there is one.
    pub(super) fn take(&self, era: u64, now: Tick) -> Option<Probe> {
        let word = tag(era) | started(now);
        // Relaxed: the slot itself is the right; nothing else is published with it.
        let taken = |slot: &AtomicU64| slot.compare_exchange(tag(era), word, Relaxed, Relaxed).is_ok();
        let slot = self.slots.iter().position(taken)?;
        Some(Probe { slot: u32::try_from(slot).ok()?, word })
    }

    /// Gives the slot back. Of another era's probe, nothing is left to give back.
    pub(super) fn free(&self, probe: Probe) {
        let free = probe.word & !STARTED;
        // Relaxed: a waiter is woken through `Wakers`, whose exchanges order this before its next look.
        let _same = self.slots[probe.slot as usize].compare_exchange(probe.word, free, Relaxed, Relaxed);
    }

    /// Whether a slot of `era` is free.
    pub(super) fn any_free(&self, era: u64) -> bool {
        // Relaxed: only a hint; `take` decides.
        self.slots.iter().any(|slot| slot.load(Relaxed) == tag(era))
    }

    /// Returns how many probes of `era` are under way.
    pub(super) fn in_flight(&self, era: u64) -> usize {
        // Relaxed: a number for people.
        self.slots.iter().filter(|slot| is_taken(slot.load(Relaxed), era)).count()
    }

    /// Returns the age of the oldest probe of `era`, to the millisecond.
    pub(super) fn oldest(&self, era: u64, now: Tick) -> Option<Duration> {
        // Relaxed: a start time is part of its slot's word.
        let words = self.slots.iter().map(|slot| slot.load(Relaxed));
        words.filter(|word| is_taken(*word, era)).map(|word| age(word, now)).max()
    }

    /// Counts a success, and returns the verdict so far; `None` if the era is over.
    pub(super) fn success(&self, era: u64) -> Option<Verdict> {
        self.verdict
            .update(era, |verdict| if verdict & COUNT == COUNT { verdict } else { verdict + 1 })
            .map(Verdict::from)
    }

    /// Counts a failure, and returns the verdict so far; `None` if the era is over.
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

fn tag(era: u64) -> u64 {
    era << 40
}

fn started(now: Tick) -> u64 {
    // Modulo 2^40 - 1, 34 years: a clock may count from the epoch.
    now.as_nanos() / NANOS_PER_MILLI % STARTED + 1
}

fn age(word: u64, now: Tick) -> Duration {
    let age = (started(now) + STARTED - (word & STARTED)) % STARTED;
    // More than half way around: the clock has jumped back.
    Duration::from_millis(if age > STARTED / 2 { 0 } else { age })
}

fn is_taken(word: u64, era: u64) -> bool {
    word & !STARTED == tag(era) && word & STARTED != 0
}

const STARTED: u64 = (1 << 40) - 1;
const NANOS_PER_MILLI: u64 = 1_000_000;
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
