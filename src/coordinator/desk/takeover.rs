//! The content that the circuit takes over from its record, which is a restore, acts of operators, and the state or the advice of
//! other instances.

use std::time::Duration;

use super::adopted::Restore;
use super::{Desk, Now, Report, Who};
use crate::coordinator::Sharing;
use crate::coordinator::restore::{published, restoration};
use crate::coordinator::waiters::Fate;
use crate::record::{Command, Effect, InstanceEntry, Operated, apply};
use crate::state::order::{Order, To};
use crate::state::{Act, By, Mode, Reason, State};

impl Desk {
    /// Takes over the content of the record that the circuit does not have yet.
    pub(super) fn take_over(&mut self, corrupt: bool, who: &Who, now: Now) -> Report {
        // The look comes first, because a transition since the last look is newer than the record.
        let mut report = self.look(who, now.here);
        if let Some(entry) = self.known.record().instances.get(&who.id) {
            report.clash = self.evidence.is_contested_by(entry, who);
            self.evidence.observed(entry);
        }
        let waiting = self.adopted.is_waiting_for_restore();
        if waiting {
            self.restore(corrupt, who, now);
        }
        self.judge_pending(who, now, &mut report);
        self.bind(who, now);
        if waiting {
            self.adopted.restored_to(self.circuit.standing());
        }
        match who.sharing {
            Sharing::Follow => self.follow(who, now),
            Sharing::Advise => self.apply_advice(who, now),
        }
        let record = self.known.record();
        self.circuit.stamp(record.generation);
        let orders = record.operator.as_ref().map_or(&[][..], |operated| &operated.commands);
        let tripped_for = record.tripped_at(now.store).map(|at| now.store.since(at));
        self.circuit.observe_record(record.latest(), orders, tripped_for);
        report
    }

    fn restore(&mut self, corrupt: bool, who: &Who, now: Now) {
        let own = self.known.record().instances.get(&who.id).cloned();
        let found = restoration(self.known.record(), &who.id, self.circuit.config(), now.store);
        let restore = match found {
            None if corrupt => Restore::Corrupt,
            None => Restore::Absent,
            Some(_) if self.changes.has_moved() => Restore::Outrun,
            Some(mut found) => {
                if self.circuit.totals().successes > 0 {
                    // A success has ended that run.
                    found.snapshot.run = 0.0;
                }
                let adopted = self.circuit.adopt_at(self.changes.expected_era(), &found.snapshot, Reason::Restored);
                // The circuit has moved since the look, so that the next look knows more.
                let Ok(edge) = adopted else { return };
                self.changes.taken_over(edge);
                let standing = self.circuit.standing();
                // A hold that goes on is applied as an act, so that the log names its operator and not the restore.
                let operated = self.known.record().operator.as_ref().filter(|operated| !operated.holds(now.store));
                let sequence = operated.map_or(0, |operated| operated.sequence);
                self.adopted.act(sequence, operated.and_then(|operated| operated.commands.last().cloned()));
                Restore::From { store: self.known.from(), whose: found.whose, standing }
            }
        };
        self.adopted.restored(restore);
        if let Some(own) = own.filter(|own| self.evidence.is_of_before(own, who)) {
            self.evidence.continues(&own, !self.adopted.was_outrun());
        }
        self.circuit.restored();
    }

    /// Drops a pending act or transition that was superseded or has expired, and reports the result of the act.
    fn judge_pending(&mut self, who: &Who, now: Now, report: &mut Report) {
        let mut record = self.known.record().clone();
        if let Some(command) = self.act_command() {
            let verdict = apply(&mut record, &Command::Operated(command.clone()), now.store);
            let (action, why) = match verdict {
                Effect::Superseded => ("superseded", "a newer act was there"),
                Effect::Expired => ("expired", "its time was over before the store could be reached"),
                Effect::Applied | Effect::Known | Effect::Unwritable => ("", ""),
            };
            if let Some(fate) = self.fate(verdict) {
                report.fates.push((command.id.clone(), fate));
                let why = format!("{} by {} afterwards: {}", command.act, command.by.user(), command.by.reason());
                let replaced = command.replaced.iter();
                report.fates.extend(replaced.map(|id| (id.clone(), Fate::Superseded { why: why.clone() })));
            }
            if !action.is_empty() {
                let reason = format!("{} \"{}\": {why}", command.act.as_str(), command.by.reason());
                let row = self.row(who, action, reason, Some(command.by.user().to_owned()));
                report.rows.push((Duration::ZERO, row));
                self.changes.drop_act();
                // The state that the act led to goes with it, so that an instance that follows takes the published one
                // over again.
                if self.changes.drop_transition_of(command.era) {
                    self.adopted.revert();
                }
            }
        }
        if let Some(command) = self.transition_command()
            // The transition is applied after the act, as in the write.
            && apply(&mut record, &Command::Transitioned(command), now.store) == Effect::Superseded
        {
            self.changes.drop_transition();
        }
    }

    /// Returns the result of the pending act, if it has one.
    fn fate(&self, verdict: Effect) -> Option<Fate> {
        Some(match verdict {
            Effect::Applied => return None,
            Effect::Known => Fate::Stored { generation: self.known.record().latest() },
            Effect::Superseded => {
                let operated = self.known.record().operator.as_ref()?;
                let Operated { act, user, reason, .. } = operated;
                Fate::Superseded { why: format!("{act} by {user} meanwhile: {reason}") }
            }
            Effect::Expired => Fate::Expired,
            Effect::Unwritable => Fate::Unwritable { version: self.known.record().version },
        })
    }

    /// Does here what an operator did elsewhere.
    fn bind(&mut self, who: &Who, now: Now) {
        let Some(operated) = &self.known.record().operator else { return };
        if operated.sequence <= self.adopted.act_sequence() {
            return;
        }
        // While an act of here waits to be written over it, that one binds.
        if self.changes.has_act() {
            return;
        }
        let known_before = self.adopted.act_sequence();
        let status = self.circuit.status();
        let is_over = operated.until.is_some() && !operated.holds(now.store);
        let id = operated.commands.last();
        let binds = id.map_or(operated.incarnation == who.incarnation, |id| self.adopted.is_in_force(id));
        self.adopted.act(operated.sequence, id.cloned());
        // Where nothing is held, nothing needs to end. A forgotten circuit has no record that could say so.
        if binds || is_over && !status.mode.is_hold() || operated.act == Act::Forget {
            return;
        }
        // The first act that is heard of may be of long ago: what the circuit has become since, it does not undo. But a hold of
        // here that it has overtaken, it ends.
        let entered = now.store.saturating_sub(status.since);
        let first = known_before == 0 && operated.mode == Mode::Automatic && !status.mode.is_hold();
        if first && operated.at < entered {
            return;
        }
        // That nobody can read who it was must not undo it.
        let by =
            operated.by().unwrap_or_else(|| By::new("unknown", "not readable in the store").expect("it is readable"));
        // A hold that is over, over one that it replaced elsewhere, ends it here too: at once.
        let order = Order {
            to: if operated.to == State::Closed { To::Closed } else { To::HalfOpen },
            hold: operated.held_for(now.store),
            age: now.store.since(operated.at),
            ..Order::direct(operated.act, &by)
        };
        // A reset is for the instances whose circuits are tripped or held.
        let undisturbed = operated.act == Act::Reset && self.circuit.is_at_rest();
        let edge = if undisturbed { None } else { self.circuit.act(&order).ok().flatten() };
        self.changes.taken_over(edge);
        if operated.act == Act::Reset {
            // What the circuit was before need not be published any more; what others published since is newer than that.
            self.changes.drop_transition();
            if self.known.record().generation.get() > operated.sequence {
                self.adopted.revert();
            }
        }
    }

    /// Takes over the newest published state from other instances.
    fn follow(&mut self, who: &Who, now: Now) {
        let record = self.known.record();
        let (generation, is_own) = (record.generation.get(), record.incarnation == who.incarnation);
        // A pending reset or transition is newer than the published state. Any other was dropped before.
        let resets = self.changes.has_reset();
        if resets || self.changes.has_transition() || self.adopted.has_followed(generation) {
            return;
        }
        // A state of this instance is adopted, too, if the circuit has followed another state since.
        if self.adopted.must_adopt(is_own) {
            let mut snapshot = self.circuit.snapshot();
            let newer = published(record, now.store);
            let run = if snapshot.state == newer.state { snapshot.run } else { 0.0 };
            (snapshot.state, snapshot.generation, snapshot.attempt) = (newer.state, newer.generation, newer.attempt);
            (snapshot.open_for, snapshot.run, snapshot.tripped_for) = (newer.open_for, run, newer.tripped_for);
            let Ok(edge) = self.circuit.adopt_at(self.changes.expected_era(), &snapshot, Reason::Followed) else {
                // The circuit has moved since the look, so that the next look knows more.
                return;
            };
            self.changes.taken_over(edge);
        }
        self.adopted.followed(generation, is_own);
    }

    /// Applies the advice of other instances whose circuits opened on evidence of their own.
    fn apply_advice(&mut self, who: &Who, now: Now) {
        let others = self.known.record().instances.iter().filter(|(id, _)| **id != who.id);
        let Some((until, lasts)) = others.filter_map(|(_, entry)| advice(entry, now)).max() else {
            self.adopted.unadvised();
            return;
        };
        if self.adopted.advised(until) {
            self.circuit.advise(lasts);
        }
    }
}

/// Returns the end of the advice of an entry, and the time until then, if the entry advises.
fn advice(entry: &InstanceEntry, now: Now) -> Option<(crate::record::Timestamp, Duration)> {
    if entry.state != State::Open || entry.advised {
        return None;
    }
    let lasts = match entry.open_for(now.store) {
        Some(left) => left,
        // An opening without an end advises for a while after each write of the entry.
        None if now.store.since(entry.updated_at) < MANUAL_ADVICE => MANUAL_ADVICE,
        None => Duration::ZERO,
    };
    (!lasts.is_zero()).then(|| (now.store.saturating_add(lasts), lasts))
}

/// The time for which an opening without an end advises after a write.
const MANUAL_ADVICE: Duration = Duration::from_secs(60);
