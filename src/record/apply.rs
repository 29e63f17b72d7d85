//! Commands, by which an instance requests changes of a record.
//!
//! A command carries the number of the part on which it was based. If the part in the record has a newer
//! number, the command changes nothing, so that a late write cannot undo a newer write.

use std::time::Duration;

use super::join::{bound, merge};
use super::timestamp::millis;
use super::words;
use super::{CircuitRecord, FUTURE, InstanceEntry, Operated, Timestamp};
use crate::state::order_hash::{Earlier, OrderHash, Repetition};
use crate::state::{Act, By, Generation, Mode, State};

/// A change that an instance requests of a record.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Publishes a transition.
    Transitioned(TransitionCommand),
    /// Replaces the entry of the instance with this id.
    Evidence(String, InstanceEntry),
    /// Records an act of an operator.
    Operated(OperatorCommand),
}

/// A transition of an instance that is to be published.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "test-util", expect(clippy::exhaustive_structs, reason = "a command is made of all its parts"))]
pub struct TransitionCommand {
    /// The generation that the instance knew when the transition happened. Zero if the instance did not know
    /// the record.
    pub on: Generation,
    /// The highest number that the instance has ever proposed. The new number must be higher, because a
    /// proposal that got no answer can still reach a store. The clock of a store alone does not order the
    /// proposals, because the tiers of a tiered store have different clocks.
    pub after: u64,
    /// The new state.
    pub state: State,
    /// The reason of the transition, as a sentence.
    pub reason: String,
    /// The time since the transition happened.
    pub age: Duration,
    /// The whole open duration. `None` if the state is not open, or if only a reset ends the opening.
    pub open_for: Option<Duration>,
    /// The number of openings in a row.
    pub attempt: u32,
    /// The id of the instance whose circuit made the transition.
    pub instance: String,
    /// The id of this start of the instance.
    pub incarnation: String,
    /// The number of the transition, counted since this start of the instance.
    pub era: u64,
}

/// An act of an operator that is to be recorded.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "test-util", expect(clippy::exhaustive_structs, reason = "a command is made of all its parts"))]
pub struct OperatorCommand {
    /// The id of the act. An act whose id is already in the record is not applied again, and another act with that id is
    /// superseded.
    pub id: String,
    /// The ids and the [hashes](Operated::marks) of earlier acts that this act replaced before they were written. These ids
    /// are recorded as done, so that no other instance applies the earlier acts later.
    pub replaced: Vec<(String, String)>,
    /// The act of the operator.
    pub act: Act,
    /// The state of the circuit after the act, if the act is a reset.
    pub to: State,
    /// The duration of a hold. `None` if the hold has no end, or if the act is no hold.
    pub hold: Option<Duration>,
    /// The user and the reason.
    pub by: By,
    /// The time since the act happened.
    pub age: Duration,
    /// The sequence of the last act that the instance knew when this act happened. Zero if the instance knew
    /// no act.
    pub on: u64,
    /// The highest number that the instance has ever proposed, as in [`TransitionCommand`].
    pub after: u64,
    /// The id of the instance on which the operator acted.
    pub instance: String,
    /// The id of the start of the instance on which the operator acted.
    pub incarnation: String,
    /// The number of the transition that the act made, counted since that start of the instance.
    pub era: u64,
}

impl OperatorCommand {
    /// Returns the hash of the order.
    pub(crate) fn order_hash(&self) -> OrderHash {
        OrderHash::new(self.act, self.to, self.hold, &self.by)
    }
}

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a command that was not applied changed nothing"]
pub enum Effect {
    /// The command has changed the record.
    Applied,
    /// The record contained the command already.
    Known,
    /// The part in the record is newer than the number on which the command was based. The record is
    /// unchanged.
    Superseded,
    /// The hold of the command has ended before the command was written. The record is unchanged.
    Expired,
    /// The record is of a later version and must not be overwritten, or the command has no form that a reader accepts, as
    /// a forget order, which deletes the record instead, or a number of the far future. The record is unchanged.
    Unwritable,
}

/// Applies a command to a record. `now` is the time of the store. The function is pure, so that all instances compute
/// the same record.
pub fn apply(record: &mut CircuitRecord, command: &Command, now: Timestamp) -> Effect {
    if !record.is_writable() {
        return Effect::Unwritable;
    }
    let effect = match command {
        Command::Transitioned(transition) => publish(record, transition, now),
        Command::Evidence(id, entry) => take_entry(record, id, entry),
        Command::Operated(operator) => operate(record, operator, now),
    };
    if effect == Effect::Applied {
        record.updated_at = record.updated_at.max(now);
        record.fit();
    }
    effect
}

fn publish(record: &mut CircuitRecord, command: &TransitionCommand, now: Timestamp) -> Effect {
    let own = !command.incarnation.is_empty() && record.incarnation == command.incarnation;
    if own && record.era >= command.era {
        return Effect::Known;
    }
    let at = now.saturating_sub(command.age);
    let newer = if command.on == Generation::new(0) {
        // The instance did not know the record at the time of its transition, for example because the store
        // was down. The generations cannot be compared, so the later transition wins.
        record.last_state_change.is_some_and(|change| change > at)
    } else {
        record.generation > command.on
    };
    // An earlier transition of the same start of the instance must not block a later transition. The instance
    // may not know its earlier write, because the answer to that write may have been lost.
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

fn enter(record: &mut CircuitRecord, state: State, at: Timestamp) {
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

fn take_entry(record: &mut CircuitRecord, id: &str, entry: &InstanceEntry) -> Effect {
    let before = record.instances.get(id).cloned();
    if !entry.has_form() {
        return Effect::Unwritable;
    }
    // JSON has no form for a weight that is not a number, and the whole record could not be decoded again.
    let entry = &entry.cleaned();
    merge(&mut record.instances, id, entry);
    bound(&mut record.instances);
    let after = record.instances.get(id);
    if after == before.as_ref() {
        if after == Some(entry) { Effect::Known } else { Effect::Superseded }
    } else {
        Effect::Applied
    }
}

fn operate(record: &mut CircuitRecord, command: &OperatorCommand, now: Timestamp) -> Effect {
    if !words::act::WORDS.contains(&command.act) {
        return Effect::Unwritable;
    }
    let last = record.operator.as_ref();
    let hash = command.order_hash();
    match last.map_or(Earlier::None, |last| last.earlier(&command.id)).of(hash) {
        Repetition::New => {}
        Repetition::Same => return Effect::Known,
        // The other order came first.
        Repetition::Other => return Effect::Superseded,
    }
    let at = now.saturating_sub(command.age);
    let own = |last: &Operated| !command.incarnation.is_empty() && last.incarnation == command.incarnation;
    // As for a transition, an act of an instance that did not know the record wins if the act is later.
    let newer = |last: &Operated| if command.on == 0 { last.at > at } else { last.sequence > command.on };
    // An order that was also given to another instance is the same order, so that a later order of its operator follows it.
    let follows = |last: &Operated| {
        last.commands.last().is_some_and(|id| command.replaced.iter().any(|(replaced, _)| replaced == id))
    };
    if last.is_some_and(|last| newer(last) && !own(last) && !follows(last)) {
        return Effect::Superseded;
    }
    let left = command.hold.map(|hold| hold.saturating_sub(command.age));
    if left.is_some_and(|left| left.is_zero()) {
        return Effect::Expired;
    }
    let mut commands = last.map(|last| last.commands.clone()).unwrap_or_default();
    let mut marks = last.map(|last| last.marks.clone()).unwrap_or_default();
    for (id, hash) in command.replaced.iter().cloned().chain([(command.id.clone(), hash.to_string())]) {
        if !commands.contains(&id) {
            commands.push(id.clone());
            marks.insert(id, hash);
        }
    }
    let sequence = next(last.map_or(0, |last| last.sequence).max(command.after), now);
    let generation = next(record.generation.get().max(command.after), now);
    let (Some(sequence), Some(generation)) = (sequence, generation) else { return Effect::Unwritable };
    let mut operated = Operated {
        sequence: sequence.get(),
        act: command.act,
        mode: mode(command.act),
        to: command.to,
        until: left.map(|left| now.saturating_add(left)),
        hold_ms: command.hold.map(millis),
        at,
        user: command.by.user().to_owned(),
        reason: command.by.reason().to_owned(),
        commands,
        marks,
        incarnation: command.incarnation.clone(),
        instance: command.instance.clone(),
        instance_of: command.incarnation.clone(),
        extra: last.map(|last| last.extra.clone()).unwrap_or_default(),
    };
    operated.clean();
    if command.act == Act::Reset {
        record.generation = generation;
        enter(record, command.to, at);
        record.reason = words::clean(&format!("{} by {}", command.act, command.by), 300);
        record.half_open_attempts = 0;
        record.instance.clone_from(&command.instance);
        record.incarnation.clone_from(&command.incarnation);
        record.era = command.era;
    }
    record.operator = Some(operated);
    Effect::Applied
}

/// Returns the mode of the circuit after an act.
const fn mode(act: Act) -> Mode {
    match act {
        Act::Trip => Mode::ForcedOpen,
        Act::Disable => Mode::Disabled,
        Act::Shadow => Mode::Shadow,
        Act::Reset | Act::Resume | Act::Forget => Mode::Automatic,
    }
}

/// Returns the time of the store as a number, or `previous + 1` if `previous + 1` is higher. Returns `None` for a number
/// that no reader accepts.
fn next(previous: u64, now: Timestamp) -> Option<Generation> {
    let next = previous.saturating_add(1).max(now.as_millis());
    (next <= now.saturating_add(FUTURE).as_millis()).then(|| Generation::new(next))
}
