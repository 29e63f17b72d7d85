//! The commands by which an instance requests changes of a record, and the function that applies them.
//!
//! Each part of a record has a number, which increases with each change of the part. A command carries the number that
//! its instance last knew. If the number in the store is larger, the command changes nothing, so that a late write
//! cannot undo a newer write. If the instance knew no number, the change that happened later wins.

mod evidence;
mod operate;
mod transition;

use super::{CircuitRecord, FUTURE, FleetCommand, InstanceEntry, Timestamp, fleet};
use crate::state::{Generation, State};
pub use operate::OperatorCommand;
pub use transition::TransitionCommand;

/// A change that an instance requests of a record.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a command lives as long as its call")]
#[non_exhaustive]
pub enum Command {
    /// Publishes a transition.
    Transitioned(TransitionCommand),
    /// Replaces the entry of the instance with this id. The entry has the state and the counts of the instance.
    Evidence(String, InstanceEntry),
    /// Records an act of an operator.
    Operated(OperatorCommand),
    /// Votes, probes or decides for the fleet.
    Fleet(FleetCommand),
}

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a command that was not applied changed nothing"]
pub enum Effect {
    /// The command has changed the record.
    Applied,
    /// The record contained the effect of the command already.
    Known,
    /// The part in the record is newer than the number on which the command was based, or another order has the id of
    /// the command. A command to a fleet also has this effect if one of its conditions is not met. The record is
    /// unchanged.
    Superseded,
    /// The hold of the command has ended before the command was written. The record is unchanged.
    Expired,
    /// A later version of this crate has written the record, which must not be overwritten. Or no reader would accept
    /// the record after the command, for example because the next number would be more than a year in the future. A
    /// forget order has this effect too, because it deletes the record instead. The record is unchanged.
    Unwritable,
}

/// Applies a command to a record, and returns the effect of the command. `now` is the time of the store. The function
/// is pure, so that all instances compute the same record.
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

/// Sets the published state and the time `at` when the circuit entered the state. The new state has no deadline yet.
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

/// Returns the number after `previous`, which is the larger of `previous + 1` and the time of the store in
/// milliseconds. Returns `None` if the number is so far in the future that no reader accepts it.
pub(super) fn next(previous: u64, now: Timestamp) -> Option<Generation> {
    let next = previous.saturating_add(1).max(now.as_millis());
    (next <= now.saturating_add(FUTURE).as_millis()).then(|| Generation::new(next))
}
