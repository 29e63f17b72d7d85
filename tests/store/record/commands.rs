//! What commands make of a record, and how long a store must remember it.
//!
//! The file is longer than others, because all tests share the commands that its top defines.

use std::time::Duration;

use serde_json::json;
use tower_circuit_breaker::State;
use tower_circuit_breaker::record::{
    CircuitRecord, Command, Effect, InstanceEntry, OperatorCommand, Timestamp, TransitionCommand, apply,
};
use tower_circuit_breaker::state::{Act, By, Generation, Mode};

use super::garbage::GOLDEN;
use super::{NOW, read};
use crate::rig::secs;

fn transition(on: u64, state: State, incarnation: &str, era: u64) -> TransitionCommand {
    TransitionCommand {
        on: Generation::new(on),
        after: 0,
        state,
        reason: "a test".to_owned(),
        age: Duration::ZERO,
        open_for: (state == State::Open).then_some(secs(5)),
        attempt: 1,
        instance: incarnation.to_owned(),
        incarnation: incarnation.to_owned(),
        era,
    }
}

fn act(id: &str, act: Act, hold: Option<Duration>, on: u64) -> OperatorCommand {
    OperatorCommand {
        id: id.to_owned(),
        replaced: Vec::new(),
        act,
        to: State::HalfOpen,
        hold,
        by: By::new("alice", "maintenance").unwrap(),
        age: Duration::ZERO,
        on,
        after: 0,
        instance: "node-1".to_owned(),
        incarnation: "one".to_owned(),
        era: 3,
        in_fleet: false,
    }
}

fn later(by: u64) -> Timestamp {
    NOW.saturating_add(secs(by))
}

fn publish(record: &mut CircuitRecord, command: TransitionCommand, now: Timestamp) -> Effect {
    apply(record, &Command::Transitioned(command), now)
}

fn operate(record: &mut CircuitRecord, command: OperatorCommand, now: Timestamp) -> Effect {
    apply(record, &Command::Operated(command), now)
}

#[test]
fn a_generation_is_the_time_of_the_store_but_always_one_more() {
    let mut record = CircuitRecord::unknown("payments");
    assert_eq!(publish(&mut record, transition(0, State::Open, "one", 2), NOW), Effect::Applied);
    assert_eq!(record.generation.get(), NOW.as_millis());
    let on = record.generation.get();
    // The clock was set back.
    let back = NOW.saturating_sub(secs(3600));
    assert_eq!(publish(&mut record, transition(on, State::HalfOpen, "one", 3), back), Effect::Applied);
    assert_eq!(record.generation.get(), NOW.as_millis() + 1);
}

#[test]
fn a_transition_on_an_older_generation_applies_only_for_its_author() {
    let mut record = CircuitRecord::unknown("payments");
    assert_eq!(publish(&mut record, transition(0, State::Open, "one", 2), NOW), Effect::Applied);
    let before = record.clone();
    for on in [1, NOW.as_millis() - 1] {
        assert_eq!(publish(&mut record, transition(on, State::Closed, "two", 9), later(9)), Effect::Superseded);
    }
    for era in [1, 2] {
        let duplicate = transition(0, State::Open, "one", era);
        assert_eq!(publish(&mut record, duplicate, later(9)), Effect::Known, "delivered twice, or late");
    }
    assert_eq!(record, before);
    // The answer to its first transition was lost, so that the author bases the next one on what it knew before.
    for on in [0, 1, NOW.as_millis() - 1] {
        let mut record = before.clone();
        assert_eq!(publish(&mut record, transition(on, State::HalfOpen, "one", 3), later(9)), Effect::Applied, "{on}");
    }
}

#[test]
fn a_number_is_higher_than_any_that_its_instance_has_proposed() {
    // It was proposed to a store whose clock is ahead; it may still arrive there.
    let after = later(5).as_millis();
    let mut record = CircuitRecord::unknown("payments");
    let command = TransitionCommand { after, ..transition(0, State::Open, "one", 2) };
    assert_eq!(publish(&mut record, command, NOW), Effect::Applied);
    assert_eq!(record.generation.get(), after + 1);
    let reset = OperatorCommand { after: after + 1, ..act("one-3", Act::Reset, None, 0) };
    assert_eq!(operate(&mut record, reset, NOW), Effect::Applied);
    assert_eq!(record.generation.get(), after + 2);
    assert_eq!(record.operator.unwrap().sequence, after + 2);
}

#[test]
fn of_transitions_made_before_anything_was_known_the_later_one_counts() {
    for (age, verdict) in [(1, Effect::Applied), (20, Effect::Superseded)] {
        let mut record = CircuitRecord::unknown("payments");
        assert_eq!(publish(&mut record, transition(0, State::Closed, "one", 2), NOW), Effect::Applied);
        let mut second = transition(0, State::Open, "two", 2);
        second.age = secs(age);
        assert_eq!(publish(&mut record, second, later(10)), verdict);
    }
}

#[test]
fn an_opening_carries_its_age() {
    let mut record = CircuitRecord::unknown("payments");
    let mut command = transition(0, State::Open, "one", 2);
    command.age = secs(2);
    assert_eq!(publish(&mut record, command, NOW), Effect::Applied);
    assert_eq!((record.opened_at, record.until), (Some(NOW.saturating_sub(secs(2))), Some(later(3))));
    assert_eq!((record.open_ms, record.open_for(NOW)), (Some(5_000), Some(secs(3))));
    let early = NOW.saturating_sub(secs(1_000));
    assert_eq!(record.open_for(early), Some(secs(5)), "never more than the whole, whatever the clocks say");
}

#[test]
fn an_act_applies_once_in_order_and_before_its_expiry() {
    let mut record = CircuitRecord::unknown("payments");
    let trip = act("one-3", Act::Trip, Some(secs(60)), 0);
    assert_eq!(operate(&mut record, trip.clone(), NOW), Effect::Applied);
    assert_eq!(operate(&mut record, trip.clone(), later(1)), Effect::Known);
    let sequence = record.operator.as_ref().unwrap().sequence;
    assert_eq!(sequence, NOW.as_millis());
    let other = |on, age| {
        let mut command = act(&format!("two-{on}-{age}"), Act::Disable, Some(secs(10)), on);
        (command.incarnation, command.age) = ("two".to_owned(), secs(age));
        command
    };
    assert_eq!(operate(&mut record, other(sequence - 1, 0), later(2)), Effect::Superseded);
    assert_eq!(operate(&mut record, other(0, 9), later(2)), Effect::Superseded, "made before, with nothing known");
    assert_eq!(operate(&mut record, other(sequence, 10), later(20)), Effect::Expired);
    assert_eq!(record.operator.as_ref().unwrap().mode, Mode::ForcedOpen, "none of them changed it");
    assert_eq!(operate(&mut record, other(sequence, 4), later(20)), Effect::Applied);
    let operated = record.operator.clone().unwrap();
    assert_eq!((operated.until, operated.at), (Some(later(26)), later(16)));
    assert_eq!(operated.held_for(later(20)), Some(secs(6)));
    assert!(operated.holds(later(25)) && !operated.holds(later(26)));
    assert_eq!(operate(&mut record, trip, later(30)), Effect::Known, "the ids before it are remembered");
    for n in 0..20 {
        let on = record.operator.as_ref().unwrap().sequence;
        assert_eq!(operate(&mut record, act(&n.to_string(), Act::Resume, None, on), later(30)), Effect::Applied);
    }
    assert_eq!(record.operator.unwrap().commands.len(), 8);
}

#[test]
fn a_reset_is_a_state_of_its_own_generation() {
    let mut record = CircuitRecord::unknown("payments");
    assert_eq!(publish(&mut record, transition(0, State::Open, "two", 2), NOW), Effect::Applied);
    assert_eq!(operate(&mut record, act("one-3", Act::Reset, None, 0), later(1)), Effect::Applied);
    assert_eq!((record.state, record.until, record.generation.get()), (State::HalfOpen, None, later(1).as_millis()));
    assert_eq!(record.reason, "reset by alice: maintenance");
    let same = transition(0, State::HalfOpen, "one", 3);
    assert_eq!(publish(&mut record, same, later(2)), Effect::Known, "the transition that the reset was");
}

#[test]
fn an_entry_replaces_only_an_older_one_of_its_id() {
    let mut record = CircuitRecord::unknown("payments");
    let entry = |sequence, failures| {
        let mut entry = InstanceEntry::closed("one");
        (entry.sequence, entry.total_failures) = (sequence, failures);
        Command::Evidence("a".to_owned(), entry)
    };
    let verdicts = [(5, 1), (5, 1), (4, 9), (6, 2)].map(|(s, f)| apply(&mut record, &entry(s, f), NOW));
    assert_eq!(verdicts, [Effect::Applied, Effect::Known, Effect::Superseded, Effect::Applied]);
    assert_eq!(record.total_failures, 2);
}

#[test]
fn fields_of_a_later_version_survive_every_command_at_every_level() {
    let mut record = CircuitRecord::decode("payments", GOLDEN.as_bytes(), NOW).unwrap();
    let (on, acts) = (record.generation.get(), record.operator.as_ref().unwrap().sequence);
    assert_eq!(publish(&mut record, transition(on, State::HalfOpen, "x", 5), later(5)), Effect::Applied);
    assert_eq!(operate(&mut record, act("x-6", Act::Trip, None, acts), later(5)), Effect::Applied);
    let read = CircuitRecord::decode("payments", &record.encode().unwrap(), later(5)).unwrap();
    assert_eq!(read, record);
    let kept = [&read.extra, &read.operator.as_ref().unwrap().extra, &read.instances["node-1"].extra];
    assert!(kept.iter().all(|extra| extra.contains_key("of_a_later_version")), "{kept:?}");
}

#[test]
fn a_later_version_takes_no_command() {
    let mut record = read(&json!({"version": 2, "state": "open"}));
    let before = record.clone();
    let evidence = Command::Evidence("a".to_owned(), InstanceEntry::closed("one"));
    let commands = [
        Command::Transitioned(transition(0, State::Closed, "one", 2)),
        Command::Operated(act("one-3", Act::Reset, None, 0)),
        evidence,
    ];
    assert!(commands.iter().all(|command| apply(&mut record, command, NOW) == Effect::Unwritable));
    assert_eq!(record, before);
}

#[test]
fn a_store_that_forgets_remembers_as_long_as_is_wished_and_needed() {
    // The wishes are 24 h for an open circuit and 1 h for any other.
    let hour = 3600;
    let ttl = |record: &CircuitRecord| record.ttl(secs(24 * hour), secs(hour), NOW).map(|ttl| ttl.as_secs() / hour);
    let of = |state: &str, until: Option<u64>| {
        let until = until.map(|hours| later(hours * hour));
        read(&json!({"state": state, "until": until, "open_ms": until.map(|_| 5_000)}))
    };
    assert_eq!(ttl(&of("closed", None)), Some(1));
    assert_eq!(ttl(&of("half_open", None)), Some(1));
    assert_eq!(ttl(&of("open", Some(1))), Some(24));
    assert_eq!(ttl(&of("open", Some(100))), Some(101), "never shorter than the deadline");
    assert_eq!(ttl(&of("open", None)), None, "only a human closes it");
    for (act_, hold, expected) in [
        (Act::Trip, None, None),
        (Act::Disable, None, None),
        (Act::Shadow, None, None),
        (Act::Reset, None, Some(1)),
        (Act::Trip, Some(1), Some(24)),
        (Act::Trip, Some(200), Some(201)),
        (Act::Trip, Some(u64::MAX / 8000), Some(u64::MAX / 8000 / hour + 1)),
    ] {
        let mut record = CircuitRecord::unknown("payments");
        let command =
            act("one-3", act_, hold.map(|hours| secs(hours.saturating_mul(if hours < 1000 { hour } else { 1 }))), 0);
        assert_eq!(operate(&mut record, command, NOW), Effect::Applied);
        assert_eq!(ttl(&record), expected, "{act_:?} {hold:?}");
    }
    let entries = read(&json!({"state": "closed", "instances":
        {"a": {"sequence": 1, "state": "open", "until": later(50 * hour)}}}));
    assert_eq!(ttl(&entries), Some(51), "nor than that of any instance");
    // With manual recovery under `Sharing::Quorum`, only the entry has the opening of one instance.
    let mut entries = read(&json!({"state": "closed", "instances": {"a": {"sequence": 1, "state": "open"}}}));
    assert_eq!(ttl(&entries), None, "only a human closes the instance");
    let closed_by_fleet =
        read(&json!({"state": "closed", "fleet": {"state": "closed", "generation": 1, "since": later(1)},
        "instances": {"a": {"sequence": 1, "state": "open", "updated_at": later(0)}}}));
    assert_eq!(ttl(&closed_by_fleet), Some(1), "the fleet has closed the instance");
    assert_eq!(operate(&mut entries, act("one-3", Act::Reset, None, 0), NOW), Effect::Applied);
    assert_eq!(ttl(&entries), Some(1), "the reset has ended the opening of the instance");
}

#[test]
fn leaving_closed_is_dated_once_until_the_next_close() {
    let mut record = CircuitRecord::unknown("payments");
    let states = [State::Open, State::HalfOpen, State::Open, State::Closed, State::Open];
    let mut told = Vec::new();
    for (era, state) in (2_u64..).zip(states) {
        let on = record.generation.get();
        let at = later(10 * era);
        assert_eq!(publish(&mut record, transition(on, state, "one", era), at), Effect::Applied);
        told.push(record.tripped_at(at));
    }
    let first = Some(later(20));
    assert_eq!(told, [first, first, first, None, Some(later(60))]);
    // An earlier version wrote only when it opened last.
    record.left_closed_at = None;
    assert_eq!(record.tripped_at(later(70)), record.opened_at);
    let text = String::from_utf8(record.encode().unwrap()).unwrap();
    assert!(!text.contains("left_closed_at"), "it says nothing that it does not know");
}

#[test]
fn a_trip_by_hand_dates_the_trip_while_the_hold_lasts() {
    let mut record = CircuitRecord::unknown("payments");
    assert_eq!(publish(&mut record, transition(0, State::Open, "one", 2), NOW), Effect::Applied);
    let before = record.latest();
    assert_eq!(operate(&mut record, act("x", Act::Trip, Some(secs(60)), 0), later(30)), Effect::Applied);
    assert_eq!(record.tripped_at(later(31)), Some(later(30)));
    assert_eq!(record.tripped_at(later(91)), Some(NOW), "the hold is over");
    assert!(record.latest() > before, "an act is news, although no state was published");
}

#[test]
fn an_act_names_the_acts_replaced_before_their_write() {
    let mut record = CircuitRecord::unknown("payments");
    let second =
        OperatorCommand { replaced: vec![("first".to_owned(), "1".to_owned())], ..act("second", Act::Trip, None, 0) };
    assert_eq!(operate(&mut record, second, NOW), Effect::Applied);
    let before = record.clone();
    for (id, act_of_id, effect) in [
        ("first", Act::Disable, Effect::Superseded),
        ("second", Act::Disable, Effect::Superseded),
        ("second", Act::Trip, Effect::Known),
    ] {
        let on = record.operator.as_ref().unwrap().sequence;
        assert_eq!(operate(&mut record, act(id, act_of_id, None, on), later(9)), effect, "{id} {act_of_id:?}");
    }
    assert_eq!(record, before);
    // A proposal without an answer was written after all.
    let third =
        OperatorCommand { replaced: vec![("second".to_owned(), "2".to_owned())], ..act("third", Act::Trip, None, 0) };
    assert_eq!(operate(&mut record, third, later(9)), Effect::Applied);
    assert_eq!(record.operator.unwrap().commands, ["first", "second", "third"]);
}

#[test]
fn an_act_whose_id_has_no_hash_in_the_record_is_superseded() {
    let mut record = CircuitRecord::unknown("payments");
    assert_eq!(operate(&mut record, act("OPS-12", Act::Trip, None, 0), NOW), Effect::Applied);
    record.operator.as_mut().unwrap().marks.clear();
    let before = record.clone();
    for act_of_id in [Act::Trip, Act::Resume] {
        let on = record.operator.as_ref().unwrap().sequence;
        let effect = operate(&mut record, act("OPS-12", act_of_id, None, on), later(1));
        assert_eq!(effect, Effect::Superseded, "an older release wrote the id of an unknown order: {act_of_id:?}");
    }
    assert_eq!(record, before);
}

#[test]
fn an_act_that_no_record_can_have_is_refused_and_never_written() {
    let mut record = CircuitRecord::unknown("payments");
    assert_eq!(operate(&mut record, act("one-1", Act::Forget, None, 0), NOW), Effect::Unwritable);
    assert_eq!(record, CircuitRecord::unknown("payments"));
    // A tool can also change the fields of a record.
    assert_eq!(operate(&mut record, act("one-1", Act::Trip, None, 0), NOW), Effect::Applied);
    record.operator.as_mut().unwrap().act = Act::Forget;
    let error = record.encode().unwrap_err().to_string();
    assert!(error.contains("`forget` cannot be recorded"), "{error}");
}

#[test]
fn a_record_can_be_decoded_after_every_command() {
    let mut record = CircuitRecord::unknown("payments");
    let acts = [Act::Trip, Act::Reset, Act::Disable, Act::Resume, Act::Shadow, Act::Forget];
    let states = [State::Closed, State::Open, State::HalfOpen];
    let mut commands = Vec::new();
    for (number, (act_of, to)) in acts.iter().flat_map(|act| states.map(|to| (*act, to))).enumerate() {
        for hold in [None, Some(Duration::MAX)] {
            let to_all = OperatorCommand { to, ..act(&format!("{number}-{}", hold.is_some()), act_of, hold, u64::MAX) };
            // A number that no later write could exceed, of another start so that it is not known already.
            let incarnation = format!("far-{number}");
            let far = OperatorCommand { id: incarnation.clone(), incarnation, after: u64::MAX - 9, ..to_all.clone() };
            commands.extend([Command::Operated(far), Command::Operated(to_all)]);
        }
        let far = TransitionCommand { after: u64::MAX - 9, ..transition(u64::MAX, to, "far", number as u64) };
        commands.push(Command::Transitioned(far));
        commands.push(Command::Transitioned(transition(u64::MAX, to, "one", number as u64)));
        let mut twice = InstanceEntry::closed("one");
        twice.extra.insert("state".to_owned(), serde_json::json!("open"));
        commands.push(Command::Evidence(format!("twice-{number}"), twice));
        for (place, weight) in [f64::NAN, f64::INFINITY, -1.0, f64::MAX, 0.5].into_iter().enumerate() {
            let mut entry = InstanceEntry::closed("one");
            (entry.state, entry.run, entry.score, entry.sequence) = (to, weight, weight, number as u64);
            commands.push(Command::Evidence(format!("node-{number}-{place}"), entry));
        }
    }
    for command in commands {
        let _effect = apply(&mut record, &command, NOW);
        let decoded = CircuitRecord::decode("payments", &record.encode().unwrap(), NOW);
        assert!(decoded.is_ok(), "{command:?}: {decoded:?}");
    }
}
