//! The command that records an act of an operator, such as a trip or a reset.

use std::time::Duration;

use super::{Effect, enter, next};
use crate::record::timestamp::millis;
use crate::record::{CircuitRecord, Operated, Timestamp, fleet, words};
use crate::state::order_hash::{Earlier, OrderHash, Repetition};
use crate::state::{Act, By, Mode, State};

/// An act of an operator that is to be recorded.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "test-util", expect(clippy::exhaustive_structs, reason = "a command is made of all its parts"))]
pub struct OperatorCommand {
    /// The id of the act. An act whose id is already in the record is not applied again. If the recorded act with this
    /// id is a different act, the new act is refused as [`Superseded`](Effect::Superseded).
    pub id: String,
    /// The earlier acts on this instance that this act replaced before they were written, each with its id and its
    /// [hash](Operated::marks). These acts are recorded as done, so that no other instance applies them later.
    pub replaced: Vec<(String, String)>,
    /// The act of the operator.
    pub act: Act,
    /// The state of the circuit after the act, if the act is a reset.
    pub to: State,
    /// The duration of a hold. `None` if the hold has no end, or if the act is no hold.
    pub hold: Option<Duration>,
    /// The user who gave the order, and the reason of the user.
    pub by: By,
    /// The time since the act happened, by the clock of the instance.
    pub age: Duration,
    /// The sequence of the last act that the instance knew when this act happened. Zero if the instance knew
    /// no act.
    pub on: u64,
    /// The highest number that the instance has proposed for this circuit. The number of the act must be higher,
    /// because an earlier proposal that got no answer can still reach a store.
    pub after: u64,
    /// The id of the instance on which the operator acted.
    pub instance: String,
    /// The random id of the run (from start to exit) of the instance on which the operator acted.
    pub incarnation: String,
    /// The number of the transition that the act made, counted since the start of the instance.
    pub era: u64,
    /// True if the instance belongs to a fleet. A reset on this instance is then a decision of the fleet, even if the
    /// record contains no decision. The reason is that the store may have lost an earlier record, whose decision
    /// another instance may still know.
    pub in_fleet: bool,
}

impl OperatorCommand {
    /// Returns the hash of the order.
    pub(crate) fn order_hash(&self) -> OrderHash {
        OrderHash::new(self.act, self.to, self.hold, &self.by)
    }
}

pub(super) fn operate(record: &mut CircuitRecord, command: &OperatorCommand, now: Timestamp) -> Effect {
    if !words::act::WORDS.contains(&command.act) {
        return Effect::Unwritable;
    }
    let last = record.operator.as_ref();
    let hash = command.order_hash();
    match last.map_or(Earlier::None, |last| last.earlier(&command.id)).of(hash) {
        Repetition::New => {}
        Repetition::Same => return Effect::Known,
        // Another order with this id was written first.
        Repetition::Other => return Effect::Superseded,
    }
    let at = now.saturating_sub(command.age);
    let own = |last: &Operated| !command.incarnation.is_empty() && last.incarnation == command.incarnation;
    // If the instance knew no act, the numbers cannot be compared, and the act that happened later wins.
    let newer = |last: &Operated| if command.on == 0 { last.at > at } else { last.sequence > command.on };
    // This act may replace an order that the operator has also given to another instance. If that instance has written
    // the order, this act is written nevertheless, although this instance did not know the sequence of the order.
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
    let decided = record.fleet.as_ref().map_or(record.generation, |fleet| fleet.generation.max(record.generation));
    let generation = next(decided.get().max(command.after), now);
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
        fleet::reset(record, command.to, command.in_fleet, now);
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
