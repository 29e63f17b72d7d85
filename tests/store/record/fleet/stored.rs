//! The fleet's part in stored bytes, and beside the other parts.

use super::*;
use tower_circuit_breaker::record::{InstanceEntry, join};

/// The time of a safer state is earlier, so that the time does not decide between states.
fn fleet(generation: u64, state: &str) -> Value {
    json!({"state": state, "generation": generation, "since": if state == "open" { 1 } else { 99 - state.len() }})
}

#[test]
fn of_two_decisions_the_newer_one_is_kept_and_the_safer_at_a_tie() {
    let of = |generation, state| read(&json!({"state": "closed", "fleet": fleet(generation, state)}));
    let absent = read(&json!({"state": "open", "generation": 9}));
    let ascending = [of(1, "open"), of(2, "closed"), of(2, "open")];
    let half_open = of(2, "half_open");
    assert_eq!(join(&half_open, &ascending[1]).fleet, half_open.fleet);
    assert_eq!(join(&half_open, &ascending[2]).fleet, ascending[2].fleet);
    for pair in ascending.windows(2) {
        for joined in [join(&pair[0], &pair[1]), join(&pair[1], &pair[0])] {
            assert_eq!(joined.fleet, pair[1].fleet);
        }
        let joined = join(&absent, &pair[0]);
        assert_eq!((joined.state, &joined.fleet), (State::Open, &pair[0].fleet), "the parts are independent");
        assert_eq!(join(&pair[0], &absent), joined);
    }
    let timed = read(&json!({"state": "closed", "fleet":
        {"state": "open", "generation": 2, "since": 1, "until": 9}}));
    assert_eq!(join(&timed, &ascending[2]).fleet, ascending[2].fleet, "an opening without an end is the longest");
}

#[test]
fn unknown_fields_of_the_fleet_survive_every_command() {
    let at = NOW.as_millis();
    let mut stored = Stored::of(&json!({"state": "half_open", "generation": at,
        "fleet": {"state": "half_open", "generation": at, "since": at, "later": [1, null]},
        "instances": {"a": {"sequence": at, "state": "open", "later": 1, "vote": {"on": 1, "until": 2, "later": 2},
            "lease": {"round": at, "until": at + 10_000, "later": 3}}}}));
    assert_eq!(stored.give("a", FleetChange::Passed { probes: 1 }), Effect::Applied);
    let entry = &stored.record.instances["a"];
    assert_eq!(stored.fleet().extra["later"], json!([1, null]));
    let kept = [&entry.extra, &entry.vote.as_ref().unwrap().extra, &entry.lease.as_ref().unwrap().extra];
    assert_eq!(kept.map(|extra| extra["later"].as_u64()), [Some(1), Some(2), Some(3)]);
}

#[test]
fn unknown_fields_of_fleet_votes_and_leases_share_the_room_of_all() {
    let later = "l".repeat(6_000);
    let part = json!({"on": 1, "round": 1, "until": 2, "later": later});
    let mut decided = fleet(1, "open");
    decided["later"] = later.clone().into();
    let record = read(&json!({"state": "closed", "fleet": decided, "instances":
        {"a": {"sequence": 1, "state": "open", "vote": part, "lease": part}}}));
    let entry = &record.instances["a"];
    let extras = [&record.fleet.as_ref().unwrap().extra, &entry.vote.as_ref().unwrap().extra];
    assert!(extras.iter().all(|extra| extra.contains_key("later")));
    assert!(!entry.lease.as_ref().unwrap().extra.contains_key("later"), "the room has 16 KiB");
}

#[test]
fn an_entry_without_a_vote_or_a_lease_keeps_the_present_ones() {
    let mut stored = Stored::round("a");
    let mut entry = InstanceEntry::closed("start-of-a");
    (entry.sequence, entry.total_failures) = (stored.now.as_millis() + 9, 7);
    assert_eq!(apply(&mut stored.record, &Command::Evidence("a".to_owned(), entry), stored.now), Effect::Applied);
    assert!(stored.record.instances["a"].vote.is_some() && stored.lease("a").until.is_some());
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    assert_eq!(stored.record.instances["a"].total_failures, 7);
    assert_eq!(stored.lease("a").passed, 1);
}

#[test]
fn a_command_leaves_the_counts_and_the_age_of_an_entry_alone() {
    // Otherwise old failures would look fresh to merged evidence.
    let at = NOW.as_millis();
    let entry = json!({"sequence": at, "state": "closed", "score": 3.0, "updated_at": at, "stopped": at});
    let mut stored = Stored::of(&json!({"state": "closed", "instances": {"a": entry}}));
    let before = stored.record.instances["a"].clone();
    stored.wait(TEN);
    assert_eq!(stored.give("a", vote(2)), Effect::Applied);
    let mut after = stored.record.instances["a"].clone();
    assert!(before.is_stopped() && !after.is_stopped(), "the instance runs");
    (after.vote, after.sequence) = (None, before.sequence);
    assert_eq!(after, before);
    assert_eq!(stored.give("new", vote(3)), Effect::Applied);
    assert_eq!(stored.record.instances["new"].updated_at, stored.now);
}

#[test]
fn a_decision_is_the_transition_of_no_single_circuit() {
    let mut stored = Stored::new();
    stored.record.incarnation = "start-of-a".to_owned();
    stored.record.era = 7;
    assert_eq!(stored.give("a", vote(1)), Effect::Applied);
    assert_eq!((stored.record.incarnation.as_str(), stored.record.era), ("", 0));
    assert_eq!((stored.record.opened_at, stored.record.left_closed_at), (Some(NOW), Some(NOW)));
}

#[test]
fn hostile_texts_and_numbers_of_the_fleet_are_bounded() {
    let long = "\u{202e}\n\"".repeat(400);
    let record = read(&json!({"state": "closed", "fleet": {"state": "open", "generation": 1, "since": u64::MAX,
        "until": u64::MAX, "open_ms": u64::MAX, "attempt": u32::MAX, "votes": u32::MAX, "needed": u32::MAX,
        "reason": long, "instance": long},
        "instances": {"a": {"sequence": 1, "state": "open", "vote": {"on": u64::MAX, "until": u64::MAX},
            "lease": {"round": u64::MAX, "until": u64::MAX, "passed": u32::MAX, "failed": u32::MAX, "failed_at": u64::MAX}}}}));
    let fleet = record.fleet.as_ref().unwrap();
    assert_eq!((fleet.reason.chars().count(), fleet.instance.chars().count()), (300, 200));
    assert!(!fleet.reason.contains(['\n', '\u{202e}']));
    assert_eq!(CircuitRecord::decode("payments", &record.encode().unwrap(), NOW), Ok(record));
    for (fleet, expected) in [
        (json!({"state": "open", "generation": u64::MAX}), "has a decision of the fleet numbered 18446744073709551615"),
        (json!({"state": "ajar"}), "`ajar` is unknown"),
        (json!({}), "missing field `state`"),
        (json!(7), "invalid type"),
        (json!({"state": "open", "attempt": -1}), "invalid value"),
    ] {
        let value = json!({"state": "closed", "fleet": fleet}).to_string();
        let error = CircuitRecord::decode("payments", value.as_bytes(), NOW).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn results_without_number_are_summed_without_overflow() {
    let at = NOW.as_millis();
    let lease = json!({"round": at, "passed": u32::MAX, "until": at + 1_000});
    let mut stored = Stored::of(&json!({"state": "half_open", "generation": at, "fleet": fleet(at, "half_open"),
        "instances": {"a": {"sequence": 1, "state": "open", "lease": lease}, "b": {"sequence": 1, "state": "open",
            "lease": lease}}}));
    assert_eq!(stored.give("a", FleetChange::Passed { probes: u32::MAX }), Effect::Applied);
    assert_eq!((stored.state(), stored.lease("a").passed), (State::Closed, u32::MAX));
}

#[test]
fn the_loss_of_a_record_matters_while_the_fleet_is_not_closed() {
    for (state, matters) in [("closed", false), ("half_open", true), ("open", true)] {
        let record = read(&json!({"state": "closed", "fleet": fleet(1, state)}));
        assert_eq!(record.is_eventful(NOW), matters, "{state}");
    }
}
