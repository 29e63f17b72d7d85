//! The command that publishes a transition of a circuit. The command writes the new state into the record.

use std::time::Duration;

use super::{Effect, enter, next};
use crate::record::timestamp::millis;
use crate::record::{CircuitRecord, Timestamp, words};
use crate::state::{Generation, State};

/// A command that publishes a transition of a circuit on one instance.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "test-util", expect(clippy::exhaustive_structs, reason = "a command is made of all its parts"))]
pub struct TransitionCommand {
    /// The generation of the record that the instance knew when the transition happened. Zero if the instance did not
    /// know the record.
    pub on: Generation,
    /// The highest number that the instance has sent to the store in a command for this circuit, since the instance
    /// added the circuit to its registry. The new number must be higher, because an earlier command that timed out can
    /// still reach the store. A number from the clock of the store is not always higher, because the tiers of a tiered
    /// store have different clocks.
    pub after: u64,
    /// The state of the circuit after the transition.
    pub state: State,
    /// The reason of the transition, as a sentence.
    pub reason: String,
    /// The time since the transition happened, by the clock of the instance.
    pub age: Duration,
    /// The open duration. `None` if the new state is not open, or if the circuit stays open until a reset.
    pub open_for: Option<Duration>,
    /// The number of openings in a row.
    pub attempt: u32,
    /// The id of the instance whose circuit made the transition.
    pub instance: String,
    /// The random id of the run (from start to exit) of the instance whose circuit made the transition.
    pub incarnation: String,
    /// The number of the transition, counted from the start of the instance.
    pub era: u64,
}

pub(super) fn publish(record: &mut CircuitRecord, command: &TransitionCommand, now: Timestamp) -> Effect {
    let own = !command.incarnation.is_empty() && record.incarnation == command.incarnation;
    if own && record.era >= command.era {
        return Effect::Known;
    }
    let at = now.saturating_sub(command.age);
    let newer = if command.on == Generation::new(0) {
        // The instance did not know the record when the transition happened, for example because the store was down.
        // Then the generations cannot be compared, and the later transition wins.
        record.last_state_change.is_some_and(|change| change > at)
    } else {
        record.generation > command.on
    };
    // A newer state in the record supersedes this transition, unless the same run of this instance has published the
    // newer state. The instance may not know that its write succeeded, because the store's response may have been lost.
    if newer && !own {
        return Effect::Superseded;
    }
    let Some(generation) = next(record.generation.get().max(command.after), now) else { return Effect::Unwritable };
    record.generation = generation;
    enter(record, command.state, at);
    record.reason = words::clean(&command.reason, 300);
    record.half_open_attempts = command.attempt;
    if command.state == State::Open {
        record.open_ms = command.open_for.map(millis);
        record.until = command.open_for.map(|whole| now.saturating_add(whole.saturating_sub(command.age)));
    }
    record.instance.clone_from(&command.instance);
    record.incarnation.clone_from(&command.incarnation);
    record.era = command.era;
    Effect::Applied
}
