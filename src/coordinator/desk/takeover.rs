//! The steps by which a circuit takes over content from its stored record. The content is the state to restore, acts of
//! operators, and the advice of other instances. The decision of a fleet is taken over later (`fleet/adopt.rs`).
//!
//! The order of the steps matters. The desk first reads the transitions of its circuit (the look), so that no later
//! step replaces a newer state of the circuit by an older state from the record. The restore comes before the acts,
//! because an act applies to the restored state. Acts come before the decision of a fleet, so that a decision that is
//! newer than a reset is applied after the reset. If the circuit makes a transition between the look and the restore,
//! the restore waits for the next answer of the store.
//!
//! The file is longer than others, so that all steps are in one place and in their order.

use std::time::Duration;

use super::adopted::{After, Restore};
use super::{Desk, Now, Report, Who};
use crate::circuit::Adopted;
use crate::clock::Tick;
use crate::coordinator::Sharing;
use crate::coordinator::restore::restoration;
use crate::coordinator::waiters::Fate;
use crate::record::{Command, Effect, InstanceEntry, Operated, Timestamp, apply};
use crate::state::order::{Order, To};
use crate::state::{Act, By, Mode, Reason, State};
use crate::store::AuditRow;
use crate::telemetry;
#[cfg(feature = "keyed")]
use crate::window::Tally;

impl Desk {
    /// Applies to the circuit all content of the known record that is new for the circuit. `corrupt` is true if the
    /// bytes in the store are not a valid record.
    pub(super) fn take_over(&mut self, corrupt: bool, who: &Who, now: Now) -> Report {
        let mut report = self.look(who, now.here);
        let own = self.known.record().instances.get(&who.id);
        if let Some(entry) = own {
            report.clash = self.evidence.is_contested_by(entry, who);
            self.evidence.observed(entry);
        }
        // An instance whose entry is old looks gone to other instances, so the desk writes an old entry again. The age
        // of the entry is measured by the clock of the store, because the clock of this process may have stopped for a
        // time.
        //
        // Another instance may have dropped the entry from a full record. The desk then writes the entry again only
        // when the last entry that it has written is old. An immediate write would drop the entry of another instance
        // from the full record, and the instances would drop each other's entries without end.
        if self.circuit.state() != State::Closed {
            self.evidence.renew(own, now);
        }
        let waiting = self.adopted.is_waiting_for_restore();
        if who.sharing.is_of_fleet() {
            // From here on, each probe of the circuit needs a lease. The restore comes after this line. Otherwise the
            // first call of the restored circuit could be a probe without a lease.
            self.lease_probes(&self.known.record().decision(who.follows()), true, now);
        }
        if waiting {
            self.restore(corrupt, who, now);
        }
        self.judge_pending(who, now, &mut report);
        self.take_over_act(waiting, who, now);
        if waiting {
            // The act above can be a hold. The report of the restore shows the mode and the user of a hold, but was
            // made before the act, so these fields are set again.
            self.adopted.restored_to(self.after_restore(now.store));
        }
        self.owe_after_an_earlier_start(who, now.here);
        match who.sharing {
            Sharing::Quorum | Sharing::Follow => self.row_of_decision(who, &mut report),
            Sharing::Advise => self.apply_advice(who, now),
        }
        report.repeated.extend(self.row_of_act(who, now.store));
        let record = self.known.record();
        self.circuit.stamp(record.generation);
        let orders: Vec<_> = record.operator.iter().flat_map(Operated::orders).collect();
        let tripped_for = record.tripped_at(now.store).map(|at| now.store.since(at));
        self.circuit.observe_record(record.latest(), &orders, tripped_for);
        report
    }

    /// Causes a write of the entry of this instance, if its entry in the record was written by an earlier start and has
    /// another state than the circuit. Otherwise a restart would restore the state of the earlier start. The restore
    /// may have missed that entry, because the entry was written late, or because one tier of the store did not answer.
    fn owe_after_an_earlier_start(&mut self, who: &Who, now: Tick) {
        let standing = self.circuit.standing();
        let own = self.known.record().instances.get(&who.id);
        let is_of_before = own.is_some_and(|own| own.incarnation != who.incarnation && own.state != standing.state);
        if is_of_before && standing.mode == Mode::Automatic && !self.adopted.is_waiting_for_restore() {
            self.evidence.owe(now);
        }
    }

    /// Restores the circuit from the first record that the store returns. A circuit that has already made a transition
    /// in this process keeps its newer state, but continues the totals of earlier starts.
    fn restore(&mut self, corrupt: bool, who: &Who, now: Now) {
        let own = self.known.record().instances.get(&who.id).cloned();
        let found = restoration(self.known.record(), who, self.circuit.config(), now.store);
        let restore = match found {
            None if corrupt => Restore::Corrupt,
            None => Restore::Absent,
            Some(_) if self.changes.has_moved() => {
                // The entry in the record has an older state than the circuit, so the desk must write the entry again.
                self.evidence.owe(now.here);
                Restore::Outrun
            }
            Some(mut found) => {
                if self.circuit.totals().successes > 0 {
                    // The record has a run of failures without a success. A success in this process has ended that run.
                    found.snapshot.run = 0.0;
                }
                #[cfg(feature = "keyed")]
                if self.circuit.has_inherited() {
                    // The circuit has inherited the evidence of an evicted circuit with the same key. The record has
                    // the same evidence, which must not count twice.
                    (found.snapshot.run, found.snapshot.tally) = (0.0, Tally::EMPTY);
                }
                let adopted = self.circuit.adopt_at(self.changes.expected_era(), &found.snapshot, Reason::Restored);
                // If the circuit has made a transition since the look, nothing is restored yet. The next look reads the
                // transition, and the next answer of the store completes the restore.
                let Ok(Adopted { edge, is_suppressed }) = adopted else { return };
                self.changes.taken_over(edge);
                if is_suppressed {
                    // The entry in the record is open. The circuit stays closed, because its group allows no more open
                    // circuits. The desk must write the entry again.
                    self.evidence.owe(now.here);
                }
                let after = self.after_restore(now.store);
                // A hold in force is not taken over in this step. `take_over_act` applies the hold later as an act, so
                // that the log names the operator of the hold.
                let operated = self.known.record().operator.as_ref().filter(|operated| !operated.holds(now.store));
                if let Some(operated) = operated
                    && own.as_ref().is_some_and(|own| own.acts < operated.sequence)
                {
                    self.log_act(operated, who);
                }
                let sequence = operated.map_or(0, |operated| operated.sequence);
                self.adopted.act(sequence, operated.and_then(|operated| operated.commands.last().cloned()));
                Restore::From { store: self.known.from(), source: found.whose, after }
            }
        };
        self.adopted.restored(restore);
        if let Some(own) = own.filter(|own| self.evidence.is_of_before(own, who)) {
            self.evidence.continues(&own, !self.adopted.was_outrun());
        }
        self.circuit.restored();
    }

    /// Returns the state and the mode of the circuit, and whether the circuit would admit the next call to the service.
    /// The report of the restore shows these values. If a hold is in force, also returns the user who ordered the hold.
    fn after_restore(&self, now: Timestamp) -> After {
        let status = self.circuit.status_with(0);
        let is_in_force = |operated: &&Operated| operated.mode == status.mode;
        let operated = self.known.record().held(now).filter(is_in_force);
        let held_by = operated.map(|operated| operated.user.clone());
        After { standing: status.standing(), next_call: status.next_call, held_by }
    }

    /// Drops a pending act or transition that was superseded or has expired, and reports the result of the act.
    ///
    /// The function tries the act and the transition on a copy of the known record. It uses `apply`, as the write does.
    fn judge_pending(&mut self, who: &Who, now: Now, report: &mut Report) {
        let mut record = self.known.record().clone();
        if let Some(command) = self.act_command() {
            let verdict = apply(&mut record, &Command::Operated(command.clone()), now.store);
            // The record can have the id of an order that a later order of this process has replaced. Either an
            // operator has given the replaced order to another instance too, and that instance has stored the order, or
            // a write of this process has stored the order, and the answer was lost.
            let operated = self.known.record().operator.as_ref();
            let has = |id: &&String| operated.is_some_and(|operated| operated.commands.contains(id));
            let generation = self.known.record().latest();
            let replaced = || command.replaced.iter().map(|(id, _)| id);
            let stored = replaced().filter(has);
            report.fates.extend(stored.map(|id| (id.clone(), Fate::Stored { generation, lacking: None })));
            let (action, why) = match verdict {
                Effect::Superseded => (telemetry::audit::SUPERSEDED, "the record had a newer act"),
                Effect::Expired => (telemetry::audit::EXPIRED, "the hold ended before the store could be reached"),
                Effect::Applied | Effect::Known | Effect::Unwritable => ("", ""),
            };
            if let Some(fate) = self.fate(verdict) {
                report.fates.push((command.id.clone(), fate));
                let why = format!("{} by {} afterwards: {}", command.act, command.by.user(), command.by.reason());
                report.fates.extend(replaced().map(|id| (id.clone(), Fate::Superseded { why: why.clone() })));
            }
            if verdict == Effect::Known {
                // The record has this act already, so the act is no longer pending. `take_over_act` then notes the
                // sequence number that the act has in the record. The next order names this number in `on`, as the
                // number of the last act that this instance knew. Otherwise the record could refuse the next order as
                // older than this act.
                self.changes.drop_act();
                self.changes.drop_transition_of(command.era);
            }
            if !action.is_empty() {
                let reason = format!("{} \"{}\": {why}", command.act.as_str(), command.by.reason());
                let row = self.row(who, action, reason, Some(command.by.user().to_owned()));
                report.rows.push((Duration::ZERO, row));
                self.changes.drop_act();
                self.adopted.withdrawn();
                // The transition that the act caused is dropped as well. The act has changed the circuit, so the
                // circuit takes over the decision of the fleet again.
                self.changes.drop_transition_of(command.era);
                self.adopted.revert();
            }
        }
        if let Some(command) = self.transition_command()
            // As in the write, the transition is applied after the act.
            && apply(&mut record, &Command::Transitioned(command), now.store) == Effect::Superseded
        {
            self.changes.drop_transition();
        }
    }

    /// Returns the result of the pending act for the callers that ordered the act. `None` if the act is still to be
    /// written. `verdict` is the effect that the act had on a copy of the record.
    fn fate(&self, verdict: Effect) -> Option<Fate> {
        Some(match verdict {
            Effect::Applied => return None,
            Effect::Known => Fate::Stored { generation: self.known.record().latest(), lacking: None },
            Effect::Superseded => {
                let operated = self.known.record().operator.as_ref()?;
                let Operated { act, user, reason, .. } = operated;
                Fate::Superseded { why: format!("{act} by {user} meanwhile: {reason}") }
            }
            Effect::Expired => Fate::Expired,
            Effect::Unwritable => Fate::Unwritable { version: self.known.record().version },
        })
    }

    /// Applies the last operator act in the record to the circuit, if the circuit has not applied that act yet.
    /// `is_restore` is true if the circuit still waited for its restore when the record came.
    fn take_over_act(&mut self, is_restore: bool, who: &Who, now: Now) {
        let Some(operated) = &self.known.record().operator else { return };
        if self.adopted.has_taken_over(operated.sequence, operated.commands.last()) {
            return;
        }
        // This process has an act that is not written yet. That act is newer than the act in the record, and stays in
        // force.
        if self.changes.has_act() {
            return;
        }
        let known_before = self.adopted.act_sequence();
        let status = self.circuit.status_with(0);
        let is_over = operated.until.is_some() && !operated.holds(now.store);
        let id = operated.commands.last();
        let in_force = id.map_or(operated.incarnation == who.incarnation, |id| self.adopted.is_in_force(id));
        self.adopted.act(operated.sequence, id.cloned());
        if !is_restore && !in_force {
            // The entry names the last act that this instance has taken over. Therefore the desk writes the entry, and
            // an operator can see which instances have taken over the act.
            self.evidence.owe(now.here);
        }
        // An expired hold has no effect on a circuit that is not held. An order to forget deletes the whole record, and
        // leaves nothing to take over.
        if in_force || is_over && !status.mode.is_hold() || operated.act == Act::Forget {
            return;
        }
        // The first act that this process loads may be old. A reset or a resume that is older than the present state of
        // the circuit must not undo that state. If the circuit is held, the hold comes from an act of this process that
        // the act in the record has superseded. Then the act in the record is applied.
        let entered = now.store.saturating_sub(status.since);
        let first = known_before == 0 && operated.mode == Mode::Automatic && !status.mode.is_hold();
        if first && operated.at < entered {
            return;
        }
        let by = operator_of(operated);
        // The hold of this act may be over. The act is then applied with a duration of zero, which ends the present
        // hold of the circuit immediately. The present hold must end, because the act has superseded that hold.
        let order = Order {
            // The log line of a restore also shows a hold. A circuit that kept its newer state has no log line of a
            // restore, so the hold needs its own log line.
            is_restored: is_restore && !self.adopted.was_outrun(),
            to: if operated.to == State::Closed { To::Closed } else { To::HalfOpen },
            hold: operated.held_for(now.store),
            age: now.store.since(operated.at),
            ..Order::direct(operated.act, &by)
        };
        // A circuit that is neither tripped nor held ignores a reset, and keeps the evidence in its window.
        let undisturbed = operated.act == Act::Reset && self.circuit.is_at_rest();
        let edge = if undisturbed { None } else { self.circuit.act(&order).ok().flatten() };
        self.changes.taken_over(edge);
        // The entry of this instance names the last act that an earlier start has applied and logged. After a restore,
        // only a newer act is logged, so that no act is logged twice.
        let acts = self.known.record().instances.get(&who.id).map_or(0, |own| own.acts);
        if !is_restore || acts < operated.sequence {
            self.log_act(operated, who);
        }
        if operated.act == Act::Reset {
            // The reset makes the pending transition obsolete. If the decision of the fleet is newer than the reset,
            // the circuit takes over the decision again.
            self.changes.drop_transition();
            if self.known.record().generation.get() > operated.sequence {
                self.adopted.revert();
            }
        }
    }

    /// Shortens the open state and the hold of the circuit, if they end earlier by the clock of the store. `now` is the
    /// time of an answer of the store, and `era` is the era (the version of the circuit's state) when the operation of
    /// this answer began. An answer to an operation of an earlier era sets no end for the present opening.
    pub(super) fn end_by_the_store(&mut self, era: u64, now: Now) {
        let operated = self.known.record().operator.as_ref();
        let in_force = |operated: &&Operated| operated.commands.last().is_some_and(|act| self.adopted.is_in_force(act));
        self.ends.answered(&self.circuit, era, operated.filter(in_force).filter(|_| !self.changes.has_act()), now);
    }

    /// Returns the audit row of the last act in the record, with the age of the act. `None` if this start of the
    /// instance has ordered the act, if the act is older than [`REPEATED_FOR`], or if an earlier call has handled the
    /// act.
    ///
    /// The instance that ordered the act may have ended before it appended the row to the audit. Therefore other
    /// instances append the row too. All copies of the row have the same id, so the audit keeps only one.
    fn row_of_act(&mut self, who: &Who, now: Timestamp) -> Option<(Duration, AuditRow)> {
        let operated = self.known.record().operator.as_ref()?;
        let (sequence, age) = (operated.sequence, now.since(operated.at));
        if self.adopted.has_repeated(sequence) {
            return None;
        }
        let row = operated.acted_on().filter(|_| operated.incarnation != who.incarnation && age < REPEATED_FOR);
        let row = row.zip(operated.commands.last()).map(|(instance, id)| {
            let by = operator_of(operated);
            let order = Order::direct(operated.act, &by).id(id);
            AuditRow::of_order(self.name(), &order, Timestamp::default(), self.known.record().generation, instance)
        });
        self.adopted.repeated(sequence);
        Some((age, row?))
    }

    /// Logs an act that an operator ordered on another instance or on the command line. The acts of this instance are
    /// logged with their audit rows.
    fn log_act(&self, operated: &Operated, who: &Who) {
        let by = operator_of(operated);
        let (action, generation) = (operated.act.as_str(), operated.sequence);
        telemetry::audit::line(self.name(), action, by.reason(), Some(by.user()), generation, Some(&who.id));
    }

    /// Lowers the thresholds of the circuit while another instance is open because of its own calls. Called only under
    /// `Sharing::Advise`.
    fn apply_advice(&mut self, who: &Who, now: Now) {
        let record = self.known.record();
        let others = record.instances.iter().filter(|(id, entry)| **id != who.id && !record.is_reset_after(entry));
        let advice = others.filter_map(|(_, entry)| advice(entry, now)).max();
        if self.adopted.advised(advice.map(|(until, _)| until)) {
            let lasts = advice.map_or(Duration::ZERO, |(_, lasts)| lasts);
            self.circuit.advise_beside(self.evidence.usual_rate(), lasts);
        }
    }
}

/// Returns the operator of an act. If the stored user or reason is not valid, returns a placeholder, so that the act
/// can still be applied.
fn operator_of(operated: &Operated) -> By {
    operated.by().unwrap_or_else(|| By::new("unknown", "not readable in the store").expect("it is readable"))
}

/// Returns the time when the advice of an entry ends, and the duration until then. `None` if the entry gives no advice.
///
/// An instance that opened because of advice gives no advice. Otherwise two instances could keep each other open
/// without end. An instance that has stopped gives no advice either.
pub(super) fn advice(entry: &InstanceEntry, now: Now) -> Option<(Timestamp, Duration)> {
    if entry.state != State::Open || entry.advised || entry.is_gone(now.store) {
        return None;
    }
    let lasts = match entry.open_for(now.store) {
        Some(left) => left,
        // An open state without an end gives advice only for a minute after each write of the entry. Otherwise an
        // instance that is gone would give advice for ever.
        None if now.store.since(entry.updated_at) < MANUAL_ADVICE => MANUAL_ADVICE,
        None => Duration::ZERO,
    };
    (!lasts.is_zero()).then(|| (now.store.saturating_add(lasts), lasts))
}

/// The age up to which the audit row of an act is appended again. Older rows may have been deleted from the audit on
/// purpose.
const REPEATED_FOR: Duration = Duration::from_secs(24 * 3600);
/// The duration of the advice after each write of an entry whose open state has no end.
const MANUAL_ADVICE: Duration = Duration::from_secs(60);
