//! The command that records an order of an operator, such as a trip or a reset.

use std::time::Duration;

use super::{Effect, enter, next};
use crate::record::timestamp::millis;
use crate::record::{CircuitRecord, Operated, Timestamp, fleet, words};
use crate::state::order_hash::{Earlier, OrderHash, Repetition};
use crate::state::{Act, By, Mode, State};

/// A command that records an act of an operator, such as a trip or a reset.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "test-util", expect(clippy::exhaustive_structs, reason = "a command is made of all its parts"))]
pub struct OperatorCommand {
    /// The id of the act. If the record already contains the same act with this id, the act is not applied again. If
    /// the record contains a different act with this id, the new act is refused as [`Superseded`](Effect::Superseded).
    pub id: String,
    /// Earlier acts that were never written, because this act replaced them on the instance. Each has its id and its
    /// [hash](Operated::marks). These acts are recorded as done, so that no instance applies them later.
    pub replaced: Vec<(String, String)>,
    /// The kind of act, such as a trip or a reset.
    pub act: Act,
    /// The new state of the circuit, if the act is a reset.
    pub to: State,
    /// The duration for which the act holds the circuit. `None` if the hold has no end, or if the act does not hold the
    /// circuit.
    pub hold: Option<Duration>,
    /// The user who gave the order, and the reason that the user gave.
    pub by: By,
    /// The time since the act was carried out on the instance, by the clock of the instance.
    pub age: Duration,
    /// The sequence of the previous act that the instance knew when this act was carried out. Zero if the instance knew
    /// no previous act.
    pub on: u64,
    /// The highest number that the instance has sent to the store in a command for this circuit, since the instance
    /// added the circuit to its registry. The number of this act must be higher, because an earlier command that timed
    /// out can still reach the store.
    pub after: u64,
    /// The id of the instance on which the act was carried out.
    pub instance: String,
    /// The random id of the run (from start to exit) of the instance on which the act was carried out.
    pub incarnation: String,
    /// The number of the transition that the act caused, counted from the start of the instance.
    pub era: u64,
    /// True if the instance belongs to a fleet. A reset is then recorded as a decision of the fleet, even if the record
    /// contains no earlier decision. The store may have lost an earlier decision that other instances still know, and
    /// the reset must replace this decision.
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
    // If the instance knew no previous act, the numbers cannot be compared. Then the act that happened later wins.
    let newer = |last: &Operated| if command.on == 0 { last.at > at } else { last.sequence > command.on };
    // On this instance, the new order may have replaced an earlier order that was not written yet. If the operator also
    // gave the earlier order to another instance, the other instance may have written the earlier order. The sequence
    // in the record is then higher than the sequence that this instance knew. The new order is written nevertheless,
    // because the operator gave the new order after the earlier order.
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

/// Returns the mode that an act sets.
const fn mode(act: Act) -> Mode {
    match act {
        Act::Trip => Mode::ForcedOpen,
        Act::Disable => Mode::Disabled,
        Act::Shadow => Mode::Shadow,
        Act::Reset | Act::Resume | Act::Forget => Mode::Automatic,
    }
}
