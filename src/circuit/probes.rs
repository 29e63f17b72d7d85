//! The probes of a half-open circuit. Each probe under way has a slot. The *verdict* of the era has the counts of all
//! probes by their results.
//!
//! ```text
//! slot      era | turn | withheld, free, or the start of a probe (`probes/slot.rs`)
//! verdict   number of a `Tagged` word: 39..26 failures | 25..12 successes | 11..2 under way | 1..0 without a verdict
//! ```
//!
//! The verdict also counts the probes under way, so that one exchange decides if the half-open era can use another
//! probe. A slot has the start time of its probe, so that the circuit can reclaim the slot of an overdue probe.
//!
//! Each slot has a *turn*, a number that grows each time the slot is given back. A slot is taken or given back by one
//! exchange that compares era and turn. Therefore no race between callers creates or loses a slot, even if the circuit
//! has become half-open a second time. A late probe cannot give back a slot that another probe has taken since. The
//! number of probes under way is never larger than the number of slots. The number increases before a probe takes its
//! slot, and decreases after the slot is given back. Therefore there is a slot for each counted probe. While the
//! instances of a fleet lease their probes, a call that counts as a probe under way also needs a grant, which is a slot
//! that the coordinator has freed. If the call finds no grant, the number of probes under way decreases again. The file
//! `lease` gives the grants, and the file `verdict` decides if the counts of a verdict close or reopen the circuit.

mod slot;

use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::config::Probing;
use crate::sync::{AtomicU64, Relaxed};
use crate::window::tagged::Tagged;
use slot::{Moment, Slot, Use};

/// The slots and the verdict of a half-open circuit. Each slot and the verdict carry their era, so that an outcome of
/// an earlier era changes nothing.
#[derive(Debug)]
pub(super) struct Probes {
    slots: Box<[Slot]>,
    verdict: Tagged,
    /// The age in nanoseconds at which the era ends if a probe is overdue and no probe has succeeded. The value is
    /// written before the era is published.
    patience: AtomicU64,
}

/// The right to one probe. Contains the index of a slot, and the turn of the slot (the number of times that the slot
/// had been given back in the era, modulo 2^14). The value has 24 bits, so that a probe fits into the mark of a permit.
///
/// ```text
/// probe   23..10 turn | 9..0 slot
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe(u32);

/// A reading of the slots and of the verdict of one half-open era.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Occupancy {
    /// The number of overdue probes that still have their slots.
    pub(super) overdue: u32,
    /// The age of the oldest probe that is not overdue, in nanoseconds but exact to the millisecond. Zero if no such
    /// probe is under way.
    pub(super) oldest: u64,
    /// True if probes are leased and a free slot grants a probe to the next call. Always false if probes are not
    /// leased, because no call needs a grant then.
    pub(super) has_grant: bool,
    pub(super) verdict: Verdict,
}

impl Occupancy {
    /// Returns the slots as they would be after [`Probes::reclaim`] at the same moment.
    pub(super) fn reclaimed(self) -> Self {
        let verdict = (0..self.overdue).fold(self.verdict, |verdict, _| verdict.counted_out(0));
        Self { overdue: 0, verdict, ..self }
    }
}

/// The number of probes of one half-open era, by result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    pub(super) successes: u32,
    pub(super) failures: u32,
    /// The number of probes under way. Overdue probes that have lost their slots are not included.
    under_way: u32,
    /// The number of probes that ended without a verdict (cancelled or ignored), at most [`MANY`]. The number begins
    /// again at zero when the slot of an overdue probe is reclaimed.
    without: u32,
}

/// The effect that the end of a probe has on the verdict.
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
    /// A verdict never needs more probes than the successes that close the circuit (the setting `probes`) and the
    /// tolerated failures together. Once a probe has ended without a verdict, one more probe may be under way, because
    /// of hedges. A hedge sends a request twice, takes the first answer and cancels the other request. Without the
    /// extra probe the rejection of the second request would always be the first answer, and the hedge would cancel the
    /// probe.
    pub(super) fn can_use_another(self, probing: &Probing) -> bool {
        let certain = self.successes >= probing.successes || self.failures > probing.failures_tolerated;
        let extra = self.without.min(EXTRA);
        let at_once = probing.in_flight + extra;
        let useful = probing.successes + probing.failures_tolerated + extra;
        !certain && self.under_way < at_once && self.under_way + self.successes + self.failures < useful
    }

    /// Returns the verdict with one probe fewer under way, and with `without` as the number of probes without a
    /// verdict.
    const fn counted_out(self, without: u32) -> Self {
        Self { under_way: self.under_way.saturating_sub(1), without, ..self }
    }

    /// Returns true if some probes ended without a verdict.
    pub(super) const fn has_gaps(self) -> bool {
        self.without > 0
    }

    /// Returns true if [`MANY`] or more probes ended without a verdict, and no probe succeeded or failed.
    pub(super) const fn says_nothing(self) -> bool {
        self.successes == 0 && self.failures == 0 && self.without == MANY
    }
}

impl Probes {
    pub(super) fn new(probing: &Probing) -> Self {
        Self {
            slots: (0..probing.in_flight + EXTRA).map(|_| Slot::new()).collect(),
            verdict: Tagged::new(),
            patience: AtomicU64::new(0),
        }
    }

    /// Withholds every slot for a new era, so that a leased probe cannot take a slot before a grant. The verdict of the
    /// era begins with `successes`, which are zero unless they come from a snapshot. The caller holds the cold mutex,
    /// and publishes the era afterwards.
    pub(super) fn begin(&self, era: u64, successes: u32, patience: Duration) {
        // Relaxed, because the Release store of the circuit's word publishes the patience with the era.
        self.patience.store(nanos(patience), Relaxed);
        self.slots.iter().for_each(|slot| slot.begin(era));
        self.verdict.begin(era, Verdict { successes, ..Verdict::default() }.into());
    }

    /// Counts a probe and takes a slot of `era`. If probes are `leased`, only a free (granted) slot is taken. Returns
    /// `None` if the verdict cannot use another probe, if no slot can be taken, or if the era is over.
    pub(super) fn take(&self, era: u64, now: Tick, probing: &Probing, leased: bool) -> Option<Probe> {
        self.verdict.try_update(era, |number| {
            let verdict = Verdict::from(number);
            let counted = Verdict { under_way: verdict.under_way + 1, ..verdict };
            verdict.can_use_another(probing).then(|| counted.into())
        })?;
        let now = Moment::at(now);
        let probe = (0..).zip(&self.slots).find_map(|(index, slot)| {
            let turn = slot.take(era, now, leased)?;
            Some(Probe(turn << SLOT_BITS | index))
        });
        if probe.is_none() {
            // No slot could be taken, because a leased probe has no grant, the era is over, or another caller was
            // faster. The probe no longer counts as under way.
            self.count_out(era, |verdict| verdict.without);
        }
        probe
    }

    /// Ends a probe. Gives the slot back if the probe still has the slot. Returns the verdict, which now counts this
    /// probe. Returns `None` if the era is over. A count at its maximum does not wrap.
    ///
    /// An overdue probe that has lost its slot still counts if the probe succeeded or failed.
    pub(super) fn end(&self, era: u64, probe: Probe, judged: Judged) -> Option<Verdict> {
        let (slot, probe_turn) = (&self.slots[probe.0 as usize & MOST_SLOTS], probe.0 >> SLOT_BITS);
        let had_slot = slot.give_back(era, |turn, _| turn == probe_turn);
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

    /// Reclaims the slots whose probes have been under way for `deadline` or longer.
    pub(super) fn reclaim(&self, era: u64, now: Tick, deadline: Duration) {
        let now = Moment::at(now);
        for slot in &self.slots {
            if slot.give_back(era, |_, start| start.age(now) >= nanos(deadline)) {
                // An overdue probe is a sign of a slow service. Therefore the number of probes without a verdict
                // returns to zero, so that these probes do not close the circuit without a proof of health.
                self.count_out(era, |_| 0);
            }
        }
    }

    /// Frees a withheld slot of `era`. If a probe ended without a verdict, frees one more slot for the second request
    /// of a hedge (one request that is sent twice). This second slot is not freed if a slot of an earlier grant is
    /// still free. Returns true if a slot was freed.
    #[cfg(any(feature = "store", test))]
    pub(super) fn grant(&self, era: u64) -> bool {
        let left = self.slots.iter().any(|slot| slot.get(era) == Some(Use::Free));
        let extra = if self.verdict(era).has_gaps() && !left { EXTRA } else { 0 };
        let mut granted = false;
        for _ in 0..=extra {
            granted |= self.slots.iter().any(|slot| slot.grant(era));
        }
        granted
    }

    /// Withholds the free slots of `era`.
    #[cfg(any(feature = "store", test))]
    pub(super) fn withhold(&self, era: u64) {
        self.slots.iter().for_each(|slot| slot.withhold(era));
    }

    /// Returns three numbers for `era`, which are the number of free slots, the number of probes that have a slot, and
    /// the age of the oldest such probe in nanoseconds.
    #[cfg(any(feature = "store", test))]
    pub(super) fn grants_and_probes(&self, era: u64, now: Tick) -> (u32, u32, u64) {
        let now = Moment::at(now);
        self.slots.iter().fold((0, 0, 0), |(free, taken, oldest), slot| match slot.get(era) {
            Some(Use::Free) => (free + 1, taken, oldest),
            Some(Use::Taken(start)) => (free, taken + 1, oldest.max(start.age(now))),
            Some(Use::Withheld) | None => (free, taken, oldest),
        })
    }

    /// Reduces the number of probes under way by one, for a probe that has no slot or has lost its slot. `without`
    /// returns the new number of probes without a verdict.
    fn count_out(&self, era: u64, without: impl Fn(Verdict) -> u32) {
        self.verdict.update(era, |number| {
            let verdict = Verdict::from(number);
            verdict.counted_out(without(verdict)).into()
        });
    }

    /// Reads verdict and slots of `era` once. The answer is only a hint, because other threads may take slots during
    /// the read.
    pub(super) fn occupancy(&self, era: u64, now: Tick, deadline: Duration, leased: bool) -> Occupancy {
        let (now, deadline) = (Moment::at(now), nanos(deadline));
        // If the era has ended, the verdict is empty. The caller notices the end at its next load of the word.
        let verdict = self.verdict(era);
        let (mut overdue, mut oldest, mut left, mut has_grant) = (0, 0, verdict.under_way, false);
        for slot in &self.slots {
            // A probe is counted before it takes a slot. Therefore the loop stops once all counted probes are found. If
            // probes are leased, the loop goes on until it finds a grant.
            if left == 0 && (has_grant || !leased) {
                break;
            }
            match slot.get(era) {
                Some(Use::Taken(start)) if left > 0 => {
                    let age = start.age(now);
                    (overdue, oldest) =
                        if age >= deadline { (overdue + 1, oldest) } else { (overdue, oldest.max(age)) };
                    left -= 1;
                }
                Some(Use::Free) => has_grant = leased,
                Some(Use::Taken(_) | Use::Withheld) | None => {}
            }
        }
        Occupancy { overdue, oldest, has_grant, verdict }
    }

    /// Returns the age at which the era ends if a probe is overdue and no probe has succeeded.
    pub(super) fn patience(&self) -> Duration {
        // Relaxed, because the Acquire load of the word came before this load, and the word published the patience.
        Duration::from_nanos(self.patience.load(Relaxed))
    }

    /// Returns the number of probes of `era` that are under way.
    pub(super) fn in_flight(&self, era: u64) -> usize {
        self.slots.iter().filter(|slot| matches!(slot.get(era), Some(Use::Taken(_)))).count()
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

impl Probe {
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

const SLOT_BITS: u32 = 10;
const MOST_SLOTS: usize = (1 << SLOT_BITS) - 1;
/// The largest count of successes or of failures. The settings allow at most 10 000 successes and 10 001 failures.
const MOST_COUNTED: u32 = (1 << 14) - 1;
/// The largest count of probes under way. The settings allow at most 1 000, to which [`EXTRA`] is added.
const MOST_UNDER_WAY: u32 = (1 << 10) - 1;
/// The number of probes without a verdict that [`Verdict::says_nothing`] requires. Further such probes are not counted,
/// because the word has only two bits for their number.
const MANY: u32 = 3;
/// The number of probes that may be under way beyond `probes_in_flight` once a probe has ended without a verdict. With
/// this extra probe, both requests of a hedged call can be probes.
const EXTRA: u32 = 1;
