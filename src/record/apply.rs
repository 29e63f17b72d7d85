//! How a command changes a record.

use std::time::Duration;

use super::join::{bound, merge};
use super::timestamp::millis;
use super::words;
use super::{CircuitRecord, InstanceEntry, Operated, Timestamp};
use crate::state::{Act, By, Generation, Mode, State};

/// What an instance wants of a record.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Publish a transition.
    Transitioned(TransitionCommand),
    /// Take over what the instance of that id knows.
    Evidence(String, InstanceEntry),
    /// Take over an act of an operator.
    Operated(OperatorCommand),
}

/// A transition that an instance made.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a command is made of all its parts")]
pub struct TransitionCommand {
    /// The generation that it was made on. Zero: nothing was known of the record.
    pub on: Generation,
    /// The highest number that the instance has ever proposed. A proposal without an answer may reach a store later, and then
    /// nothing newer must have a smaller one: the stores of a tiered one have clocks of their own.
    pub after: u64,
    /// The new state.
    pub state: State,
    /// Why.
    pub reason: String,
    /// How long ago.
    pub age: Duration,
    /// The whole open duration, if the state is open and ends by itself.
    pub open_for: Option<Duration>,
    /// The openings in a row.
    pub attempt: u32,
    /// The instance.
    pub instance: String,
    /// The start of the instance.
    pub incarnation: String,
    /// The number of the transition there.
    pub era: u64,
}

/// An act of an operator.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a command is made of all its parts")]
pub struct OperatorCommand {
    /// Identifies the act, however often it is delivered.
    pub id: String,
    /// The ids of acts that it has replaced before they could be written: they must not be done later elsewhere.
    pub replaced: Vec<String>,
    /// What was done.
    pub act: Act,
    /// Where a reset leads.
    pub to: State,
    /// How long it lasts, if it is a hold that ends.
    pub hold: Option<Duration>,
    /// Who and why.
    pub by: By,
    /// How long ago.
    pub age: Duration,
    /// The sequence of the act that was known when this one was made. Zero: none.
    pub on: u64,
    /// The highest number that the instance has ever proposed, as for a transition.
    pub after: u64,
    /// The instance that it was made on.
    pub instance: String,
    /// The start of that instance.
    pub incarnation: String,
    /// The number of the transition that it made there.
    pub era: u64,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a command that was not applied changed nothing"]
pub enum Effect {
    /// The record is changed by it.
    Applied,
    /// The record had it already.
    Known,
    /// The record is newer than what it was made on; it changed nothing.
    Superseded,
    /// A hold that would have ended by now; it changed nothing.
    Expired,
    /// The record is of a later version and must not be written.
    Unwritable,
}

/// Applies a command to a record at that time of the store. Pure: the same everywhere.
pub fn apply(record: &mut CircuitRecord, command: &Command, now: Timestamp) -> Effect {
    if !record.is_writable() {
        return Effect::Unwritable;
    }
    let verdict = match command {
        Command::Transitioned(transition) => publish(record, transition, now),
        Command::Evidence(id, entry) => know(record, id, entry),
        Command::Operated(operator) => operate(record, operator, now),
    };
    if verdict == Effect::Applied {
        record.updated_at = record.updated_at.max(now);
    }
    verdict
}

fn publish(record: &mut CircuitRecord, command: &TransitionCommand, now: Timestamp) -> Effect {
    let own = !command.incarnation.is_empty() && record.incarnation == command.incarnation;
    if own && record.era >= command.era {
        return Effect::Known;
    }
    let at = now.saturating_sub(command.age);
    let newer = if command.on == Generation::new(0) {
        // Made before anything was known: then the later one counts.
        record.last_state_change.is_some_and(|change| change > at)
    } else {
        record.generation > command.on
    };
    // Its own earlier transition is no reason to hold back a later one: the answer to that write may have been lost.
    if newer && !own {
        return Effect::Superseded;
    }
    record.generation = next(record.generation.get().max(command.after), now);
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

fn know(record: &mut CircuitRecord, id: &str, entry: &InstanceEntry) -> Effect {
    let before = record.instances.get(id).cloned();
    merge(&mut record.instances, id, entry);
    bound(&mut record.instances);
    record.sum();
    let after = record.instances.get(id);
    if after == before.as_ref() {
        if after == Some(entry) { Effect::Known } else { Effect::Superseded }
    } else {
        Effect::Applied
    }
}

fn operate(record: &mut CircuitRecord, command: &OperatorCommand, now: Timestamp) -> Effect {
    let last = record.operator.as_ref();
    if last.is_some_and(|last| last.commands.contains(&command.id)) {
        return Effect::Known;
    }
    let at = now.saturating_sub(command.age);
    let own = |last: &Operated| !command.incarnation.is_empty() && last.incarnation == command.incarnation;
    // As with transitions: one made before anything was known counts if it is the later one.
    let newer = |last: &Operated| if command.on == 0 { last.at > at } else { last.sequence > command.on };
    if last.is_some_and(|last| newer(last) && !own(last)) {
        return Effect::Superseded;
    }
    let left = command.hold.map(|hold| hold.saturating_sub(command.age));
    if left.is_some_and(|left| left.is_zero()) {
        return Effect::Expired;
    }
    let mut commands = last.map(|last| last.commands.clone()).unwrap_or_default();
    let replaced = command.replaced.iter().filter(|id| !commands.contains(id)).cloned().collect::<Vec<_>>();
    commands.extend(replaced);
    commands.push(command.id.clone());
    let mut operated = Operated {
        sequence: next(last.map_or(0, |last| last.sequence).max(command.after), now).get(),
        act: command.act,
        mode: mode(command.act),
        to: command.to,
        until: left.map(|left| now.saturating_add(left)),
        hold_ms: command.hold.map(millis),
        at,
        user: command.by.user().to_owned(),
        reason: command.by.reason().to_owned(),
        commands,
        incarnation: command.incarnation.clone(),
        extra: last.map(|last| last.extra.clone()).unwrap_or_default(),
    };
    operated.clean();
    if command.act == Act::Reset {
        record.generation = next(record.generation.get().max(command.after), now);
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

/// What lies over the circuit after an act.
const fn mode(act: Act) -> Mode {
    match act {
        Act::Trip => Mode::ForcedOpen,
        Act::Disable => Mode::Disabled,
        Act::Shadow => Mode::Shadow,
        Act::Reset | Act::Resume | Act::Forget => Mode::Automatic,
    }
}

/// Returns the number after `previous`: the time of the store, unless that is not later.
fn next(previous: u64, now: Timestamp) -> Generation {
    Generation::new(previous.saturating_add(1).max(now.as_millis()))
}
