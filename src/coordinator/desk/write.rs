//! The writes of a desk, from the desired record to the answer of the store.
//!
//! The desired record is calculated anew each time the store can take a write. Therefore the desk never writes an
//! obsolete change, and needs only one write after an outage of any length.

use std::time::Duration;

use super::fleet::Sent;
use super::known::Stored;
use super::takeover::advice;
use super::{Desk, Now, Report, Ticket, Who};
use crate::clock::Tick;
use crate::coordinator::terms::Ttl;
use crate::random::Dice;
use crate::record::{Command, Effect, InstanceEntry, OperatorCommand, TransitionCommand, apply};
use crate::store::{Etag, Hint, StoreErrorKind, Write};
use crate::telemetry;

/// The next operation on the store for a desk.
#[derive(Debug)]
pub(in crate::coordinator) enum Step {
    /// No operation. There is nothing to write, or the record cannot be written now.
    Nothing,
    /// A load, because the version of the record in the store is unknown.
    Load,
    /// A compare-and-set, which is under way from now on. After the write, the task passes the ticket to
    /// [`Desk::written`].
    Write(Write, Box<Ticket>),
    /// A deletion of this version of the record, which is under way from now on.
    Delete(Etag),
    /// No operation. A pending order to forget has nothing to delete, because the store has no record. The report has
    /// the results of the pending orders to forget.
    Forgotten(Report),
}

impl Desk {
    /// Returns true if a write may begin. No other write may be under way, and the wait for the next write must be
    /// over.
    pub(in crate::coordinator) fn may_write(&self, now: Tick) -> bool {
        self.sending.is_free(now)
    }

    /// Returns the time until which the next write waits. `None` if the next write need not wait, or if a write is
    /// under way.
    pub(in crate::coordinator) fn waits_until(&self, now: Tick) -> Option<Tick> {
        self.sending.waits_until(now)
    }

    /// Returns true if the desk has something to write and the write can begin. Then the desk needs no load, because
    /// the answer to its write has the present record.
    pub(in crate::coordinator) fn is_about_to_write(&self, now: Tick) -> bool {
        self.wants_write(now) && self.may_write(now) && self.is_loaded()
    }

    /// Returns true if the version of the record in the store is known, so that a write can begin without a load.
    pub(in crate::coordinator) fn is_loaded(&self) -> bool {
        *self.known.stored() != Stored::Unknown
    }

    /// Returns true if a write is under way. Then the desk needs no load, because the answer to the write has the
    /// present record.
    pub(in crate::coordinator) const fn is_writing(&self) -> bool {
        self.sending.is_in_flight()
    }

    /// Returns the turn, a number that increases when a write begins and when a write ends. If the turn has increased
    /// since a load began, the answer to that load is old.
    pub(in crate::coordinator) const fn turn(&self) -> u64 {
        self.sending.turn()
    }

    /// Returns the next operation on the store. A returned write or deletion counts as under way from now on. The
    /// caller first checks that [`may_write`](Self::may_write) is true.
    pub(in crate::coordinator) fn begin(&mut self, who: &Who, now: Now, ttl: Ttl) -> Step {
        let stored = match self.known.stored() {
            Stored::Unknown => return Step::Load,
            Stored::Absent => None,
            Stored::At(etag) => Some(etag.clone()),
        };
        let step = match (self.changes.is_forgetting(), stored) {
            (true, None) => return Step::Forgotten(self.forgotten()),
            (true, Some(etag)) => Step::Delete(etag),
            (false, expected) => match self.desired(expected, who, now, ttl) {
                Some((write, ticket)) => Step::Write(write, Box::new(ticket)),
                None => return Step::Nothing,
            },
        };
        self.sending.begin();
        step
    }

    /// Returns the write that brings the store to the desired record. Returns `None` if the store has that record
    /// already, or if the record cannot be written now.
    ///
    /// Four changes are applied to the record in this order: the act of an operator, the transition, the entry of this
    /// instance, and the command to the fleet (such as a vote). The transition comes after the act, because a reset is
    /// both an act and a transition, and a transition after the reset must not be overwritten by the state that the
    /// reset publishes. The entry comes after the act, because the entry names the last act. The command comes last,
    /// because it raises the sequence of the entry in the record. After the command, the record could refuse the new
    /// entry as older.
    fn desired(&mut self, expected: Option<Etag>, who: &Who, now: Now, ttl: Ttl) -> Option<(Write, Ticket)> {
        if !self.known.record().is_writable() {
            return self.unwritten(now.here);
        }
        let mut record = self.known.record().clone();
        let mut ticket_act = None;
        let mut ticket_transition = None;
        if let Some(command) = self.act_command() {
            match apply(&mut record, &Command::Operated(command.clone()), now.store) {
                Effect::Applied => ticket_act = Some(command.id),
                Effect::Unwritable => return self.unwritten(now.here),
                Effect::Known => self.changes.drop_act(),
                // The act has expired or was superseded since the last load. The desk loads the record again. After the
                // load, `judge_pending` drops the act and reports its result.
                Effect::Superseded | Effect::Expired => {
                    self.known.unload();
                    // The next answer may bring a time of the store that is earlier than `now`. At that time the act
                    // may be valid again, so that the desk keeps the act and tries the write again. Without this wait,
                    // the desk could load the record again and again in a fast loop.
                    self.sending.wait_until(now.here.saturating_add(LOADED_AGAIN));
                    return None;
                }
            }
        }
        if let Some(command) = self.transition_command() {
            let era = command.era;
            match apply(&mut record, &Command::Transitioned(command), now.store) {
                Effect::Applied => ticket_transition = Some(era),
                // The reset in this write publishes the same state as the transition, so the transition counts as
                // written.
                Effect::Known if ticket_act.is_some() => ticket_transition = Some(era),
                Effect::Unwritable => return self.unwritten(now.here),
                // Another instance has published a newer state, so the transition is dropped. The state of this
                // instance is in its entry, which is written below.
                Effect::Known | Effect::Superseded | Effect::Expired => self.changes.drop_transition(),
            }
        }
        let acts = record
            .operator
            .as_ref()
            .filter(|_| ticket_act.is_some())
            .map_or(self.adopted.act_sequence(), |operated| operated.sequence);
        let mut ticket_entry = None;
        let moved = ticket_act.is_some() || ticket_transition.is_some();
        // A command to the fleet changes only the vote and the lease of an entry. If this start of the instance has no
        // entry in the record yet, the command would create an entry without the state of the circuit. Therefore the
        // first command after a start is written with an entry.
        let is_own = |entry: &InstanceEntry| entry.incarnation == who.incarnation;
        let is_first = self.fleet.wants_write() && !record.instances.get(&who.id).is_some_and(is_own);
        if moved || is_first || self.evidence.is_due(now.here) {
            let owed = self.evidence.owed();
            let own = record.instances.get(&who.id);
            let entry = self.evidence.entry(&self.circuit, own, who, acts, now);
            match apply(&mut record, &Command::Evidence(who.id.clone(), entry.clone()), now.store) {
                Effect::Applied => ticket_entry = Some((entry, owed)),
                Effect::Unwritable => return self.unwritten(now.here),
                Effect::Known | Effect::Superseded | Effect::Expired => self.evidence.refused(now.here),
            }
        }
        let sent = self.command_fleet(&mut record, ticket_entry.is_some(), who, now);
        if !moved && ticket_entry.is_none() && sent.is_none() && !self.known.is_behind() {
            return None;
        }
        let bytes = match record.encode() {
            Ok(bytes) => bytes,
            Err(problem) => {
                telemetry::lines::warn(format_args!("{problem}; the record is not written"));
                return self.unwritten(now.here);
            }
        };
        if moved {
            let sequence = record.operator.as_ref().map_or(0, |operated| operated.sequence);
            self.sending.propose(record.generation.get(), sequence);
        }
        let ttl = record.ttl(ttl.open, ttl.other, now.store);
        let hint = match &ticket_entry {
            _ if ticket_act.is_some() || self.known.is_behind() => Hint::Any,
            _ if ticket_transition.is_some() => Hint::Transition,
            _ if who.sharing.is_of_fleet() => sent.as_ref().map_or(Hint::None, Sent::hint),
            Some((entry, _)) => self.hint_of(entry, who, now),
            None => Hint::Any,
        };
        let write = Write { name: self.name().to_owned(), expected, bytes, ttl, hint };
        let (act, transition, entry, era) = (ticket_act, ticket_transition, ticket_entry, self.circuit_era());
        Some((write, Ticket { record, act, transition, entry, sent, era }))
    }

    /// Delays the next attempt to write, because the record cannot be written. Polls leave out a desk that is about to
    /// write, so without the delay no poll would load the record. Always returns `None`.
    fn unwritten<T>(&mut self, now: Tick) -> Option<T> {
        self.sending.pause(now);
        None
    }

    /// Returns the hint (the notice to other instances) for a write that changes only this entry. The advice of an
    /// entry ends when the open state of the circuit ends. If the advice of this entry ends later than the advice of
    /// the previous entry, the circuit has opened again, or is open without an end and renews its advice. The published
    /// state of the record does not change in this write, so only the hint makes other instances load the record. In
    /// all other cases the entry has only new counts and needs no hint.
    fn hint_of(&self, entry: &InstanceEntry, who: &Who, now: Now) -> Hint {
        let ends = |entry| advice(entry, now).map(|(until, _)| until);
        let before = self.known.record().instances.get(&who.id).and_then(ends);
        if ends(entry) > before { Hint::Transition } else { Hint::None }
    }

    /// Notes that the store has made the write, and returns a report of the effects. `lacking` is the tier of a tiered
    /// store that does not have the write yet, or `None` if each tier has the write.
    pub(in crate::coordinator) fn written(
        &mut self,
        ticket: Ticket,
        etag: Etag,
        lacking: Option<&'static str>,
        who: &Who,
        now: Now,
        dice: &mut Dice,
    ) -> Report {
        self.sending.end();
        if self.changes.is_forgetting() {
            // The order to forget came after the write began, so the written version is deleted next.
            self.known.written_before_deletion(etag);
            return self.look(who, now.here);
        }
        let was_behind = self.known.is_behind();
        self.known.written(&ticket.record, etag, lacking, now.here);
        self.sending.written();
        self.changes.written(ticket.act.as_ref(), ticket.transition);
        if let Some((entry, owed)) = ticket.entry {
            self.evidence.written(entry, owed, now.here, dice);
        }
        if let Some(sent) = &ticket.sent {
            self.fleet_written(sent);
        }
        let mut report = self.take_over(false, who, now);
        self.end_by_the_store(ticket.era, now);
        if ticket.act.is_some() {
            self.stored(ticket.act.as_ref(), lacking, &mut report);
        } else if was_behind && !self.known.is_behind() {
            self.written_back(lacking, &mut report);
        }
        report
    }

    /// Notes that the write failed because the version in the store has changed. The task then passes the present
    /// record to [`found`](Self::found). The task also calls [`give_way`](Self::give_way), unless the process is about
    /// to end.
    pub(in crate::coordinator) fn conflicted(&mut self) {
        self.sending.end();
    }

    /// Delays the next write after a conflict, if other instances write at present. In an outage all instances write at
    /// the same time, and each conflict transfers a whole record. A write with an order of an operator waits only after
    /// many conflicts. `took` is the time from the write to its answer.
    pub(in crate::coordinator) fn give_way(&mut self, took: Duration, who: &Who, now: Now, dice: &mut Dice) {
        let entries = self.known.record().instances.iter().filter(|(id, _)| **id != who.id);
        let others = || entries.clone().map(|(_, entry)| entry);
        let is_busy = others().any(|entry| now.store.since(entry.updated_at) < BUSY);
        let count =
            if is_busy && !self.has_order() { others().filter(|entry| !entry.is_gone(now.store)).count() } else { 0 };
        self.sending.conflicted(took, u32::try_from(count).unwrap_or(u32::MAX), now.here, dice);
    }

    /// Notes that the write or the deletion has failed. The store may have made the change nevertheless, because an
    /// answer can be lost. Therefore the desk no longer knows the version, and loads the record before the next write.
    pub(in crate::coordinator) fn failed(&mut self, kind: StoreErrorKind, now: Tick, dice: &mut Dice) {
        self.sending.end();
        self.known.unload();
        self.sending.failed(kind, self.has_order(), now, dice);
    }

    /// Notes that the store refuses to load the record. The desk waits as after a refused write.
    pub(in crate::coordinator) fn not_loaded(&mut self, kind: StoreErrorKind, now: Tick, dice: &mut Dice) {
        self.sending.failed(kind, self.has_order(), now, dice);
    }

    /// Lets the next write begin now, because the store answers again.
    pub(in crate::coordinator) fn end_backoff(&mut self, now: Tick) {
        self.sending.hurry(now);
    }

    /// Prepares the desk for a new task, because the previous task has ended and the answers to its operations are
    /// lost. The new task loads the record first.
    pub(in crate::coordinator) fn restart(&mut self) {
        self.sending.abandon();
        self.evidence.go_on();
        self.known.unload();
    }

    /// Notes that the store has deleted the record. Returns the results of the orders to forget.
    pub(in crate::coordinator) fn deleted(&mut self) -> Report {
        self.sending.end();
        self.forgotten()
    }

    /// Notes that the deletion failed because the version in the store has changed. The desk loads the record again
    /// before the next deletion.
    pub(in crate::coordinator) fn delete_missed(&mut self) {
        self.sending.end();
        self.known.unload();
    }

    pub(super) fn act_command(&self) -> Option<OperatorCommand> {
        self.changes.act_command(self.sending.proposed(), self.circuit.now())
    }

    pub(super) fn transition_command(&self) -> Option<TransitionCommand> {
        self.changes.transition_command(self.sending.proposed(), self.circuit.now())
    }
}

/// The wait before the record is loaded again because a pending act has expired or was superseded.
const LOADED_AGAIN: Duration = Duration::from_millis(100);
/// Another instance counts as writing at present if its last write is younger than this time.
const BUSY: Duration = Duration::from_secs(1);
