//! The circuit as a member of a [group](crate::Group). A group has a limited number of open slots. An open slot permits
//! one member to be open or half-open. If no slot is free, an opening is suppressed, and the circuit stays closed.
//!
//! A circuit takes its slot under the cold mutex before it opens, and gives the slot back under the mutex after it has
//! closed. There are never more open circuits than slots, with four exceptions. A circuit under the kill switch needs
//! no slot. An operator can open a circuit without a slot. If members leave the group, the number of slots decreases,
//! but open circuits keep their slots. The slots of absent circuits (whose keys no call has used for a minute) do not
//! count as taken, but count again when calls come back to these circuits. Other circuits may have opened by then. The
//! slot is in the cold data, so that a circuit that is dropped gives its slot back.
//!
//! | edge | slot |
//! |---|---|
//! | closed to open by an outcome or by hanging calls; closed to open or half-open by a snapshot | needed. Without a slot the edge is suppressed. |
//! | between open and half-open | kept |
//! | half-open to open | A circuit without a slot, which an operator has tripped or reset, takes a slot if one is free, and opens in any case. |
//! | to closed | given back |
//! | an act of an operator | No slot is needed or taken. A slot that the circuit has is kept until the circuit is closed. |
//!
//! A circuit in shadow takes slots as in automatic mode, so that the trial shows the effect of the group. A circuit
//! under the kill switch needs no slot, because every call passes in any state. A circuit whose key was evicted has
//! left its group.
//!
//! In an outage of all members every failing call meets a trip rule, but no slot is free. A call takes the lock only
//! for the first suppressed opening of an era, for a report, or if a slot seems to be free. The counters of the group
//! show without a lock if a slot is free. An event reports the suppressed openings of a circuit at most every ten
//! seconds, because one line for each failing call would flood a log.

use std::time::Duration;

use super::cold::Cold;
use super::inner::{Inner, taken};
use super::word::Word;
use crate::clock::Tick;
use crate::event::Event;
use crate::group::{Group, Member};
use crate::state::{Reason, State, Suppressed};
use crate::sync::{AtomicU64, Relaxed};

/// The membership of a circuit in a group, and the counters of suppressed openings.
#[derive(Debug)]
pub(super) struct InGroup {
    member: Member,
    /// The number of openings that were suppressed since the circuit was created.
    suppressed: AtomicU64,
    /// The value of `suppressed` when an event last reported suppressed openings.
    reported: AtomicU64,
    /// The time from which the next event may report suppressed openings. In nanoseconds of the clock.
    next_report: AtomicU64,
    /// The time of the last suppressed opening, in nanoseconds of the clock. Zero if no opening was suppressed.
    last: AtomicU64,
    /// The era of the suppressed opening whose reason is stored for the status. Zero if no reason was stored.
    era: AtomicU64,
}

impl InGroup {
    pub(super) fn new(group: &Group) -> Self {
        Self {
            member: group.join(),
            suppressed: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            next_report: AtomicU64::new(0),
            last: AtomicU64::new(0),
            era: AtomicU64::new(0),
        }
    }
}

impl Inner {
    /// Takes an open slot for a circuit that is about to leave the closed state, or to open again. Returns true if the
    /// transition may follow, and false if it must be suppressed. The caller holds the cold mutex.
    pub(super) fn take_slot(&self, cold: &mut Cold, from: Word) -> bool {
        let Some(InGroup { member, .. }) = self.in_group().filter(|group| !group.member.has_left()) else {
            return true;
        };
        if from.bypassed() || cold.grouped().is_some_and(|grouped| grouped.slot.is_some()) {
            return true;
        }
        match member.take() {
            Some(slot) => {
                cold.grouped_mut().slot = Some(slot);
                true
            }
            // No slot is free, so a closed circuit stays closed. A circuit that is not closed and has no slot was
            // tripped or reset by an operator. This circuit may open without a slot, because it rejects calls already.
            None => from.state() != State::Closed,
        }
    }

    /// Counts the absent circuits of the group, at most once a second. A circuit is absent if no call has used its key
    /// for a minute. The caller holds no lock.
    #[cfg(feature = "keyed")]
    pub(super) fn count_absent(&self) {
        if let Some(group) = self.in_group() {
            group.member.group().count_absent();
        }
    }

    /// Does nothing. Only layers of keys have absent circuits, and this build has no layers of keys.
    #[cfg(not(feature = "keyed"))]
    #[expect(clippy::unused_self, reason = "as with layers of keys")]
    pub(super) fn count_absent(&self) {}

    /// Returns true if the circuit holds an open slot of the group. `None` if the circuit is no member of this group.
    #[cfg(feature = "keyed")]
    pub(super) fn holds_slot_of(&self, group: &Group) -> Option<bool> {
        let member = &self.in_group()?.member;
        let is_member = !member.has_left() && member.group().is(group);
        // A closed circuit holds no slot, so the lock is not needed.
        let holds = || {
            self.load().state() != State::Closed && self.cold.lock().grouped().is_some_and(|held| held.slot.is_some())
        };
        is_member.then(holds)
    }

    /// Returns true if an opening in this era was suppressed before, and the group still has no free slot. The next
    /// opening would be suppressed too, so the caller need not take the lock.
    pub(super) fn finds_no_slot(&self, expected: Word) -> bool {
        self.in_group().is_some_and(|group| {
            // Relaxed, because the era publishes no other data. A thread that reads an earlier era takes the lock
            // needlessly.
            group.era.load(Relaxed) == expected.era() && !group.member.has_left() && group.member.finds_no_slot()
            // Another thread may have opened this circuit meanwhile with the last slot. The era then differs, and no
            // opening is suppressed.
                && self.load().era() == expected.era()
        })
    }

    /// Returns true if an opening by hanging calls is suppressed again in this era, and no report is due. The caller
    /// then does not count the opening, because each check finds the same hanging calls. In this case the function
    /// stores `now` as the time of the last suppressed opening, for the status.
    pub(super) fn is_suppressed_again(&self, word: Word, now: Tick) -> bool {
        let Some(group) = self.in_group().filter(|_| self.finds_no_slot(word)) else { return false };
        // Relaxed, because the times publish no other data.
        let is_again = now.as_nanos() < group.next_report.load(Relaxed);
        if is_again {
            group.last.store(taken(now).as_nanos(), Relaxed);
        }
        is_again
    }

    /// Counts a suppressed opening. If a report is due, notifies the observers of all openings suppressed since the
    /// last report. The caller holds no lock.
    #[cold]
    pub(super) fn suppress(&self, era: u64, now: Tick, reason: &Reason) {
        let Some(group) = self.in_group() else { return };
        // Relaxed for all these numbers, because they publish no other data. The exchange only chooses the thread that
        // reports.
        group.suppressed.fetch_add(1, Relaxed);
        group.last.store(taken(now).as_nanos(), Relaxed);
        let due = group.next_report.load(Relaxed);
        let next = now.saturating_add(REPORT_EVERY).as_nanos();
        let reports = now.as_nanos() >= due && group.next_report.compare_exchange(due, next, Relaxed, Relaxed).is_ok();
        if reports || group.era.load(Relaxed) != era {
            self.cold.lock().grouped_mut().suppressed = Some(reason.clone());
            // Relaxed, as the other numbers.
            group.era.store(era, Relaxed);
        }
        if reports {
            // Relaxed, as the other numbers.
            let total = group.suppressed.load(Relaxed);
            let number = total.saturating_sub(group.reported.swap(total, Relaxed));
            let (open, members) = group.member.group().open_of();
            let name = group.member.group().name();
            self.notify(&Event::Suppressed { group: name, reason, number, total, open, members });
        }
    }

    /// Returns the last suppressed opening of the era of `word`, if the opening was suppressed within the last minute.
    pub(super) fn suppressed(&self, cold: &Cold, word: Word, now: Tick) -> Option<Suppressed> {
        let group = self.in_group()?;
        // Relaxed, because the times and counts publish no other data.
        let (last, era) = (Tick::from_nanos(group.last.load(Relaxed)), group.era.load(Relaxed));
        let ago = now.saturating_since(last);
        if last == Tick::ZERO || era != word.era() || word.state() != State::Closed || ago > PRESENT {
            return None;
        }
        let reason = cold.grouped()?.suppressed.clone()?;
        let (open, members) = group.member.group().open_of();
        let name = group.member.group().shared_name();
        // Relaxed, as the other counts.
        Some(Suppressed { group: name, open, members, openings: group.suppressed.load(Relaxed), ago, reason })
    }

    /// Returns the number of suppressed openings since the circuit was created.
    pub(super) fn suppressed_openings(&self) -> u64 {
        // Relaxed, because the count publishes no other data.
        self.in_group().map_or(0, |group| group.suppressed.load(Relaxed))
    }

    /// Removes the circuit from its group, and gives the slot of the circuit back. Runs when the circuit is dropped. If
    /// the key of the circuit is evicted, runs at the eviction, because the evicted circuit can stay in memory for
    /// calls under way, or for the next circuit of the key, which inherits its evidence.
    pub(super) fn leave_group(&self) {
        let Some(group) = self.in_group() else { return };
        let mut cold = self.cold.lock();
        // A trip takes a slot under the same lock. Therefore a later trip finds that the circuit has left, and takes no
        // slot.
        group.member.leave();
        drop(cold.slot_back());
    }
}

/// The shortest time between two events of suppressed openings of one circuit.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// The time for which a status shows a suppressed opening.
const PRESENT: Duration = Duration::from_secs(60);
