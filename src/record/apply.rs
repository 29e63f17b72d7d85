//! Commands, with which an instance changes a record, and the function that applies a command.
//!
//! Each part of a record has a number, which increases with each change of the part. A command contains the last number
//! that its instance knew. If another writer has increased the number in the record since then, the command changes
//! nothing, so that a late command cannot undo a newer change. If the instance knew no number, the change that happened
//! later wins.

mod evidence;
mod operate;
mod transition;

use super::{CircuitRecord, FUTURE, FleetCommand, InstanceEntry, Timestamp, fleet};
use crate::state::{Generation, State};
pub use operate::OperatorCommand;
pub use transition::TransitionCommand;

/// A change of a record, as requested by an instance.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a command lives as long as its call")]
#[non_exhaustive]
pub enum Command {
    /// Publishes a transition.
    Transitioned(TransitionCommand),
    /// Replaces the entry of the instance with this id. The entry contains the state of the circuit on the instance and
    /// its counts of calls.
    Evidence(String, InstanceEntry),
    /// Records an order of an operator.
    Operated(OperatorCommand),
    /// Votes, probes or decides for the fleet.
    Fleet(FleetCommand),
}

/// The effect of a command on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a command that was not applied changed nothing"]
pub enum Effect {
    /// The command has changed the record.
    Applied,
    /// The record already contained the change of the command, and is unchanged.
    Known,
    /// The record is unchanged, because it contains a newer change of the same part, or another order with the same id.
    /// A command for a fleet also has this effect if one of its conditions is not met.
    Superseded,
    /// The record is unchanged, because the hold that the command sets has already ended.
    Expired,
    /// The record is unchanged, because it cannot be written. One cause is that a later version of this crate has
    /// written the record. A second cause is that readers would refuse the changed record, for example because a number
    /// would be more than a year in the future. A forget order also has this effect, because its record is deleted and
    /// not changed.
    Unwritable,
}

/// Changes a record as the command requests, and returns the effect. `now` is the time of the store. The function is
/// pure, so that all instances compute the same record.
pub fn apply(record: &mut CircuitRecord, command: &Command, now: Timestamp) -> Effect {
    if !record.is_writable() {
        return Effect::Unwritable;
    }
    let effect = match command {
        Command::Transitioned(transition) => transition::publish(record, transition, now),
        Command::Evidence(id, entry) => evidence::take_entry(record, id, entry),
        Command::Operated(operator) => operate::operate(record, operator, now),
        Command::Fleet(command) => fleet::command(record, command, now),
    };
    if effect == Effect::Applied {
        record.updated_at = record.updated_at.max(now);
        record.fit();
    }
    effect
}

/// Sets the published state, and the time `at` when the circuit entered the state. Removes the deadline of the previous
/// state.
pub(super) fn enter(record: &mut CircuitRecord, state: State, at: Timestamp) {
    let since_closed = if record.state == State::Closed { Some(at) } else { record.left_closed_at.or(Some(at)) };
    record.left_closed_at = since_closed.filter(|_| state != State::Closed);
    record.state = state;
    record.last_state_change = Some(at);
    (record.until, record.open_ms) = (None, None);
    match state {
        State::Open => record.opened_at = Some(at),
        State::Closed => record.opened_at = None,
        State::HalfOpen => {}
    }
}

/// Returns the next number of a part of a record, which is the larger of `previous + 1` and the time of the store in
/// milliseconds. Returns `None` if the number is so far in the future that readers would refuse the record.
pub(super) fn next(previous: u64, now: Timestamp) -> Option<Generation> {
    let next = previous.saturating_add(1).max(now.as_millis());
    (next <= now.saturating_add(FUTURE).as_millis()).then(|| Generation::new(next))
}
