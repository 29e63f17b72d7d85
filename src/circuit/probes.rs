//! Probes, the calls that a half-open circuit admits, with a slot for each probe that may
//! be under way, and one verdict.
//!
//! ```text
//! slot      63..50 era (low 14 bits) | 49..36 turn | 35..0 started, in ms of the clock modulo 2^36 - 1, plus 1; 0 is free
//! verdict   number of a `Tagged` word: 39..26 failures | 25..12 successes | 11..2 under way | 1..0 without a verdict
//! ```
//!
//! The verdict also counts the probes under way, so that one exchange decides if the half-open era can use another
//! probe. A slot has the start time of its probe, so that the circuit can take the slot of an overdue probe back.
//!
//! A slot is taken and freed by one exchange that compares era and turn. Therefore no race between callers creates or
//! loses a slot, also if the circuit has become half-open a second time. The turn grows each time a slot is freed, so
//! that a late probe cannot free a slot that another probe has taken since. The count of probes under way increases
//! before a probe takes its slot, and decreases after the slot is free, so that a slot is free for each counted probe.
//! The meaning of a verdict is left to `verdict`.

use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::config::Probing;
use crate::sync::{AtomicU64, Relaxed};
use crate::window::tagged::Tagged;

/// The slots and the verdict of a half-open circuit. Each word carries its era, so that an outcome of
/// an earlier era changes nothing.
#[derive(Debug)]
pub(super) struct Probes {
    slots: Box<[AtomicU64]>,
    verdict: Tagged,
    /// The time in nanoseconds after which the era ends if a probe is overdue and no probe has succeeded. The value is
    /// written before the era is published.
    patience: AtomicU64,
}

/// The right to one probe, which is the index of a slot and the turn in which the slot was taken. The value has 24
/// bits, so that a probe fits into the mark of a permit.
///
/// ```text
/// probe   23..10 turn | 9..0 slot
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe(u32);

/// The slots of an era at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Occupancy {
    /// The number of probes that are overdue and have not lost their slots yet.
    pub(super) overdue: u32,
    /// The age of the oldest probe that is not overdue, in nanoseconds but exact to the millisecond. Zero if no such
    /// probe is under way.
    pub(super) oldest: u64,
    pub(super) verdict: Verdict,
}

impl Occupancy {
    /// Returns the slots as they would be after [`Probes::reclaim`] at the same moment.
    pub(super) fn reclaimed(self) -> Self {
        let verdict = (0..self.overdue).fold(self.verdict, |verdict, _| verdict.counted_out(0));
        Self { overdue: 0, verdict, ..self }
    }
}

/// The counts of the probes that an era has had so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    pub(super) successes: u32,
    pub(super) failures: u32,
    /// The probes under way, without the overdue probes that have lost their slots.
    under_way: u32,
    /// The probes that were cancelled or ignored, up to [`MANY`], since the last time that a probe was overdue.
    without: u32,
}

/// The effect of the end of a probe on the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    Success,
    Failure,
    /// The probe was cancelled, or its result was ignored.
    Without,
}

impl Verdict {
    /// Returns true if the verdict can use another probe.
    ///
    /// More probes than `probes` and the tolerated failures together cannot change the verdict. Once a probe has ended
    /// without a verdict, one more probe may be under way, because of hedges. A hedge sends a request twice, takes the
    /// first answer and cancels the other request. Without the extra probe the rejection of the second request would
    /// always be the first answer, and the hedge would cancel the probe.
    pub(super) fn can_use_another(self, probing: &Probing) -> bool {
        let certain = self.successes >= probing.successes || self.failures > probing.failures_tolerated;
        let extra = self.without.min(EXTRA);
        let at_once = probing.in_flight + extra;
        let useful = probing.successes + probing.failures_tolerated + extra;
        !certain && self.under_way < at_once && self.under_way + self.successes + self.failures < useful
    }

    /// Returns the verdict with one probe fewer under way, and with `without` as the number of probes without a verdict.
    const fn counted_out(self, without: u32) -> Self {
        Self { under_way: self.under_way.saturating_sub(1), without, ..self }
    }

    /// Returns true if some probes ended without a verdict.
    pub(super) const fn has_gaps(self) -> bool {
        self.without > 0
    }

    /// Returns true if many probes ended without a verdict, and no probe succeeded or failed.
    pub(super) const fn says_nothing(self) -> bool {
        self.successes == 0 && self.failures == 0 && self.without == MANY
    }
}

impl Probes {
    pub(super) fn new(probing: &Probing) -> Self {
        Self {
            slots: (0..probing.in_flight + EXTRA).map(|_| AtomicU64::new(0)).collect(),
            verdict: Tagged::new(),
            patience: AtomicU64::new(0),
        }
    }

    /// Frees every slot for a new era. The verdict of the era begins with the `successes` of a restore. The caller
    /// holds the cold mutex and publishes the era after this call.
    pub(super) fn begin(&self, era: u64, successes: u32, patience: Duration) {
        // Relaxed, because the Release store of the circuit's word publishes the patience with the era.
        self.patience.store(nanos(patience), Relaxed);
        for slot in &self.slots {
            // Relaxed, because the Release store of the circuit's word publishes the slot with the era. `swap` is used
            // instead of `store` for the reason given in `Tagged::begin`.
            slot.swap(tag(era), Relaxed);
        }
        self.verdict.begin(era, Verdict { successes, ..Verdict::default() }.into());
    }

    /// Counts a probe and takes a free slot of `era`. Returns `None` if the verdict cannot use another probe, if other
    /// callers have taken the free slots, or if the era is over.
    pub(super) fn take(&self, era: u64, now: Tick, probing: &Probing) -> Option<Probe> {
        self.verdict.try_update(era, |number| {
            let verdict = Verdict::from(number);
            let counted = Verdict { under_way: verdict.under_way + 1, ..verdict };
            verdict.can_use_another(probing).then(|| counted.into())
        })?;
        let probe = self.take_slot(era, now);
        if probe.is_none() {
            // A slot was free, but another caller has taken the slot. A slot that this caller had already checked may
            // have been freed since.
            self.count_out(era, |verdict| verdict.without);
        }
        probe
    }

    fn take_slot(&self, era: u64, now: Tick) -> Option<Probe> {
        let started = started(now);
        (0..).zip(&self.slots).find_map(|(index, slot)| {
            // Relaxed, because the slot publishes no other data.
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

    /// Ends a probe. Frees the slot if the probe still has the slot, and returns the verdict with this probe. Returns
    /// `None` if the era is over. A count at its maximum does not wrap.
    ///
    /// An overdue probe that has lost its slot still counts if the probe succeeded or failed.
    pub(super) fn end(&self, era: u64, probe: Probe, judged: Judged) -> Option<Verdict> {
        let (slot, probe_turn) = (&self.slots[probe.0 as usize & MOST_SLOTS], probe.0 >> SLOT_BITS);
        let had_slot = free(slot, era, |word| turn(word) == probe_turn);
        let count = |number| {
            let mut verdict = Verdict::from(number);
            verdict.under_way = verdict.under_way.saturating_sub(u32::from(had_slot));
            match judged {
                Judged::Success => verdict.successes += 1,
                Judged::Failure => verdict.failures += 1,
                Judged::Without => verdict.without += u32::from(had_slot),
            }
            verdict.into()
        };
        self.verdict.update(era, count).map(Verdict::from)
    }

    /// Takes the slots back whose probes have been under way for `deadline` or longer.
    pub(super) fn reclaim(&self, era: u64, now: Tick, deadline: Duration) {
        let now = started(now);
        for slot in &self.slots {
            if free(slot, era, |word| age(word & STARTED, now) >= nanos(deadline)) {
                // An overdue probe is a sign of a slow service, so the number of probes without a verdict returns to
                // zero.
                self.count_out(era, |_| 0);
            }
        }
    }

    /// Removes a probe that has no slot from the count of probes under way. `without` returns the new number of probes
    /// without a verdict.
    fn count_out(&self, era: u64, without: impl Fn(Verdict) -> u32) {
        self.verdict.update(era, |number| {
            let verdict = Verdict::from(number);
            verdict.counted_out(without(verdict)).into()
        });
    }

    /// Reads verdict and slots of `era` once. The answer is only a hint, because other threads may take slots during
    /// the read.
    pub(super) fn occupancy(&self, era: u64, now: Tick, deadline: Duration) -> Occupancy {
        let now = started(now);
        // If the era has ended, the verdict is empty. The caller notices the end at its next load of the word.
        let verdict = self.verdict(era);
        let (mut overdue, mut oldest, mut left) = (0, 0, verdict.under_way);
        for slot in &self.slots {
            // The loop stops once all counted probes are found, because no slot is taken without a count.
            if left == 0 {
                break;
            }
            // Relaxed, because the load is only a hint and `take` decides. The word of the slot contains the start
            // time.
            let word = slot.load(Relaxed);
            if is_taken(word, era) {
                let age = age(word & STARTED, now);
                (overdue, oldest) =
                    if age >= nanos(deadline) { (overdue + 1, oldest) } else { (overdue, oldest.max(age)) };
                left -= 1;
            }
        }
        Occupancy { overdue, oldest, verdict }
    }

    /// Returns the time after which the era ends if a probe is overdue and no probe has succeeded.
    pub(super) fn patience(&self) -> Duration {
        // Relaxed, because the Acquire load of the word came before this load, and the word published the patience.
        Duration::from_nanos(self.patience.load(Relaxed))
    }

    /// Returns the number of probes of `era` that are under way.
    pub(super) fn in_flight(&self, era: u64) -> usize {
        // Relaxed, because the number is only shown to people.
        self.slots.iter().filter(|slot| is_taken(slot.load(Relaxed), era)).count()
    }

    pub(super) fn verdict(&self, era: u64) -> Verdict {
        self.verdict.get(era).map(Verdict::from).unwrap_or_default()
    }
}

impl From<u64> for Verdict {
    fn from(number: u64) -> Self {
        let part = |shift: u32, most: u32| u32::try_from(number >> shift & u64::from(most)).expect("masked by a u32");
        Self {
            failures: part(26, MOST_COUNTED),
            successes: part(12, MOST_COUNTED),
            under_way: part(2, MOST_UNDER_WAY),
            without: part(0, MANY),
        }
    }
}

impl From<Verdict> for u64 {
    fn from(verdict: Verdict) -> Self {
        let part = |count: u32, shift: u32, most: u32| Self::from(count.min(most)) << shift;
        part(verdict.failures, 26, MOST_COUNTED)
            | part(verdict.successes, 12, MOST_COUNTED)
            | part(verdict.under_way, 2, MOST_UNDER_WAY)
            | part(verdict.without, 0, MANY)
    }
}

/// Frees a taken slot of `era` if `expected` accepts the word of the slot. Returns true if this call has freed the
/// slot.
fn free(slot: &AtomicU64, era: u64, expected: impl Fn(u64) -> bool) -> bool {
    // Relaxed, because the caller updates the verdict after this call, and the exchange of the verdict publishes the
    // free slot to the next counted caller.
    let mut seen = slot.load(Relaxed);
    while is_taken(seen, era) && expected(seen) {
        let next_turn = u64::from(turn(seen) + 1) & TURN;
        match slot.compare_exchange_weak(seen, tag(era) | next_turn << TURN_SHIFT, Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
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
    // The time is taken modulo 2^36 - 1 ms, which are 2.2 years, because the clock of a user may count from 1970. An
    // age is known up to half of that range.
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
/// The largest count of successes or of failures. The settings allow at most 10 000 successes and 10 001 failures.
const MOST_COUNTED: u32 = (1 << 14) - 1;
/// The largest count of probes under way. The settings allow at most 1 000, to which [`EXTRA`] is added.
const MOST_UNDER_WAY: u32 = (1 << 10) - 1;
/// The number of probes without a verdict from which [`Verdict::says_nothing`] can be true. The count stops at this
/// number, because the word has two bits for the count.
const MANY: u32 = 3;
/// The number of probes that may be under way beyond `probes_in_flight` once a probe has ended without a verdict. The
/// extra probe is the second request of a hedge.
const EXTRA: u32 = 1;
