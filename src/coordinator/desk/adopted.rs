//! The parts of the record that the circuit has already taken over.
//!
//! [`Adopted`] remembers the restore, the last act of an operator, the last decision of the fleet, and the advice of
//! other instances. Therefore the circuit takes over each of these parts only once. `takeover.rs` and `fleet/adopt.rs`
//! decide when and with which effect the circuit takes a part over.

use std::time::Duration;

use crate::circuit::NextCall;
use crate::clock::Tick;
use crate::coordinator::report::{Recovered, Restored};
use crate::record::Timestamp;
use crate::state::Standing;

/// The progress and the result of the restore, which sets the circuit to the stored state.
#[derive(Debug)]
pub(super) enum Restore {
    /// The circuit is not restored yet, usually because the store has not answered. The first calls wait until
    /// `calls_until`, which is `None` if no call waits.
    Waiting { calls_until: Option<Tick> },
    /// The store had no record, or the record had nothing to restore.
    Absent,
    /// The store had bytes that do not decode as a record.
    Corrupt,
    /// The circuit was restored. `store` is the name of the store, or of the tier of a tiered store, that had the
    /// record. `after` describes the circuit after the restore.
    From { store: &'static str, source: Recovered, after: After },
    /// The circuit had made a transition before the store answered, and kept the newer state.
    Outrun,
}

/// A description of the circuit after its restore, for the report of the registry.
#[derive(Debug, Clone)]
pub(super) struct After {
    pub(super) standing: Standing,
    pub(super) next_call: NextCall,
    /// The user who holds the circuit. `None` if there is no hold.
    pub(super) held_by: Option<String>,
}

/// The parts of the record that the circuit has already taken over.
#[derive(Debug)]
pub(super) struct Adopted {
    /// The restore of the circuit. `restored` ends the restore, and `restored_to` corrects the report of the restore.
    /// `let_calls_wait` and `end_wait_of_calls` change the wait of the first calls.
    restore: Restore,
    /// The sequence number of the last act (change by an operator) that the circuit has taken over. Set by `act`, and
    /// cleared by `forget`.
    act_sequence: u64,
    /// The id of the operator's act that is now in effect. The act was ordered in this process, or was taken over from
    /// the record. The sequence number is not enough here, because the same act can reappear with a higher number. If
    /// the two tiers of a store fail one after the other, an act can be written to each of them, and each write gives
    /// the act its own number. Set by `ordered` and `act`, and cleared by `withdrawn` and `forget`.
    act_id: Option<String>,
    /// The id of the act with the sequence `act_sequence`. If the two tiers of a store have failed one after the other,
    /// two different acts can have the same sequence.
    last_act: Option<String>,
    /// The sequence number of the last act (change by an operator) for which the desk has decided whether the audit row
    /// is written again. Set by `repeated`.
    repeated: u64,
    /// The generation (version number) of the last decision of the fleet that the circuit has taken over. Set by
    /// `decided`, and cleared by `revert` and `forget`.
    generation: u64,
    /// The end of the advice of other instances. Advice lowers the trip thresholds of the circuit. `None` if no other
    /// instance advises. Set by `advised`.
    advised_until: Option<Timestamp>,
}

impl Adopted {
    pub(super) const fn new(calls_until: Option<Tick>) -> Self {
        Self {
            restore: Restore::Waiting { calls_until },
            act_sequence: 0,
            act_id: None,
            last_act: None,
            repeated: 0,
            generation: 0,
            advised_until: None,
        }
    }

    pub(super) const fn is_waiting_for_restore(&self) -> bool {
        matches!(self.restore, Restore::Waiting { .. })
    }

    /// Returns the tick until which the first calls wait for the restore. `None` if no call waits.
    pub(super) const fn calls_wait_until(&self) -> Option<Tick> {
        if let Restore::Waiting { calls_until } = self.restore { calls_until } else { None }
    }

    /// Lets the first calls wait for the restore until this tick, unless calls wait already or the restore has ended.
    pub(super) fn let_calls_wait(&mut self, until: Option<Tick>) {
        if let Restore::Waiting { calls_until } = &mut self.restore {
            *calls_until = calls_until.or(until);
        }
    }

    /// Ends the wait of the first calls if the time of the wait is over. Returns true if the wait was ended. The
    /// restore itself continues.
    pub(super) fn end_wait_of_calls(&mut self, now: Tick) -> bool {
        let Restore::Waiting { calls_until } = &mut self.restore else { return false };
        calls_until.take_if(|until| *until <= now).is_some()
    }

    /// Ends the restore with a result.
    pub(super) fn restored(&mut self, restore: Restore) {
        self.restore = restore;
    }

    /// Corrects the report of a restored circuit. An act that was applied after the restore can have changed the mode.
    pub(super) fn restored_to(&mut self, now: After) {
        if let Restore::From { after, .. } = &mut self.restore {
            *after = now;
        }
    }

    /// Returns the restore for the report of the registry.
    pub(super) fn restore_report(&self) -> Restored {
        match &self.restore {
            Restore::Waiting { .. } => Restored::Waiting,
            Restore::Absent => Restored::Absent,
            Restore::Corrupt => Restored::Corrupt,
            Restore::From { store, source, after } => {
                let After { standing, next_call, held_by } = after.clone();
                Restored::From { store, whose: *source, standing, next_call, held_by }
            }
            Restore::Outrun => Restored::Outrun,
        }
    }

    pub(super) const fn was_outrun(&self) -> bool {
        matches!(self.restore, Restore::Outrun)
    }

    pub(super) const fn act_sequence(&self) -> u64 {
        self.act_sequence
    }

    /// Returns true if the circuit has taken over the act with this sequence and this id, or a later act.
    pub(super) fn has_taken_over(&self, sequence: u64, id: Option<&String>) -> bool {
        let is_another = self.last_act.as_ref().zip(id).is_some_and(|(last, id)| last != id);
        sequence < self.act_sequence || sequence == self.act_sequence && !is_another
    }

    /// Returns true if the desk has already decided, for the act with this sequence number or for a later act, whether
    /// the audit row is written again.
    pub(super) const fn has_repeated(&self, sequence: u64) -> bool {
        sequence <= self.repeated
    }

    pub(super) const fn repeated(&mut self, sequence: u64) {
        self.repeated = sequence;
    }

    pub(super) fn is_in_force(&self, act: &String) -> bool {
        self.act_id.as_ref() == Some(act)
    }

    /// Notes the id of the act that an operator of this process has just ordered.
    pub(super) fn ordered(&mut self, act: String) {
        self.act_id = Some(act);
    }

    /// Forgets the id of the act of this process, because another act has superseded the act, or the hold of the act
    /// has ended before the store had the act. An operator may have given the same id to two different orders. The act
    /// of the other order then has this id too, and without this function the desk would treat that act as already
    /// applied.
    pub(super) fn withdrawn(&mut self) {
        self.act_id = None;
    }

    /// Notes that the circuit has taken over the act with this sequence and this id.
    pub(super) fn act(&mut self, sequence: u64, id: Option<String>) {
        self.last_act.clone_from(&id);
        (self.act_sequence, self.act_id) = (sequence, id);
    }

    /// Returns true if `decided` has noted the decision of the fleet with this generation, or a later decision. The
    /// circuit then need not take over the decision any more.
    pub(super) const fn has_decided(&self, generation: u64) -> bool {
        generation <= self.generation
    }

    /// Notes that the circuit has taken over the decision of the fleet with this generation, or need not change for the
    /// decision.
    pub(super) const fn decided(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Lets the circuit take over the last decision of the fleet again, because an act of this process was dropped, or
    /// because the circuit has applied a reset that is older than the decision.
    pub(super) const fn revert(&mut self) {
        self.generation = 0;
    }

    /// Notes the end of the advice, which is `None` if no other instance advises. Returns true if this end differs from
    /// the last end, so that the caller must pass the new end to the circuit.
    pub(super) fn advised(&mut self, until: Option<Timestamp>) -> bool {
        let differs = match self.advised_until.zip(until) {
            Some((known, until)) => until > known || known.since(until) > SAME_END,
            None => self.advised_until != until,
        };
        if differs {
            self.advised_until = until;
        }
        differs
    }

    /// Returns true if the advice of another instance is still valid at this time.
    pub(super) fn is_advised(&self, now: Timestamp) -> bool {
        self.advised_until.is_some_and(|until| now < until)
    }

    /// Forgets the acts and the decision that the circuit has taken over, because an order deletes the record. The
    /// result of the restore stays for the report. `repeated` stays, because later acts have higher sequence numbers.
    pub(super) fn forget(&mut self) {
        (self.act_sequence, self.act_id, self.last_act) = (0, None, None);
        self.generation = 0;
    }
}

/// The tolerance for the end of advice. If the end moves to an earlier time by at most this duration, the advice counts
/// as the same, because the clocks of two tiers can differ.
const SAME_END: Duration = Duration::from_secs(2);
