//! Votes, merged evidence, and the acts of operators.
//!
//! The file is longer than others, because all tests share the orders that its top defines.

use super::*;
use tower_circuit_breaker::record::{InstanceEntry, OperatorCommand, join};
use tower_circuit_breaker::state::{Act, By};

fn merged(needed: u32) -> FleetChange {
    let reason = "6 of 10 calls failed on 2 instances".to_owned();
    FleetChange::Merged { needed, window: secs(15), open_for: Some(FIVE), attempt: 2, reason }
}

fn act(stored: &mut Stored, act: Act, to: State, hold: Option<Duration>) {
    operate(stored, command_of(stored, act, to, hold));
}

fn operate(stored: &mut Stored, command: OperatorCommand) {
    assert_eq!(apply(&mut stored.record, &Command::Operated(command), stored.now), Effect::Applied);
}

fn command_of(stored: &Stored, act: Act, to: State, hold: Option<Duration>) -> OperatorCommand {
    let last = stored.record.operator.as_ref().map_or(0, |operated| operated.sequence);
    OperatorCommand {
        id: format!("{act}-{}", stored.now),
        replaced: Vec::new(),
        act,
        to,
        hold,
        by: By::new("alice", "maintenance").unwrap(),
        age: Duration::ZERO,
        on: last,
        after: 0,
        instance: "a".to_owned(),
        incarnation: "one".to_owned(),
        era: 3,
        in_fleet: false,
    }
}

fn fails(stored: &mut Stored, id: &str, score: f64) {
    let mut entry = InstanceEntry::closed("one");
    (entry.sequence, entry.score, entry.updated_at) = (stored.now.as_millis(), score, stored.now);
    assert_eq!(apply(&mut stored.record, &Command::Evidence(id.to_owned(), entry), stored.now), Effect::Applied);
}

#[test]
fn enough_votes_of_different_instances_open_the_fleet() {
    let mut stored = Stored::new();
    for (id, opens) in [("a", false), ("b", false), ("c", true)] {
        assert_eq!(stored.give(id, vote(3)), Effect::Applied);
        assert_eq!(stored.record.fleet.is_some(), opens, "{id}");
        stored.wait(secs(1));
    }
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.votes, fleet.needed, fleet.attempt), (State::Open, Some(3), Some(3), 1));
    assert_eq!((fleet.open_ms, fleet.until), (Some(5_000), Some(NOW.saturating_add(secs(7)))));
    assert_eq!((fleet.instance.as_str(), fleet.merged), ("c", false));
    assert_eq!(fleet.reason, "3 of 3 instances opened, first a");
}

#[test]
fn the_vote_of_one_instance_counts_once() {
    let mut stored = Stored::new();
    for _ in 0..5 {
        assert_eq!(stored.give("a", vote(2)), Effect::Applied);
        stored.wait(secs(1));
    }
    assert_eq!(stored.record.fleet, None);
    assert_eq!(stored.give("b", vote(2)), Effect::Applied);
    assert_eq!(stored.fleet().votes, Some(2));
}

#[test]
fn a_vote_that_has_ended_does_not_count() {
    for (wait, opens) in [(TEN - Duration::from_millis(1), true), (TEN, false)] {
        let mut stored = Stored::new();
        assert_eq!(stored.give("a", vote(2)), Effect::Applied);
        stored.wait(wait);
        assert_eq!(stored.give("b", vote(2)), Effect::Applied);
        assert_eq!(stored.record.fleet.is_some(), opens, "{wait:?}");
    }
}

#[test]
fn a_vote_for_an_earlier_generation_does_not_count() {
    let mut stored = Stored::new();
    assert_eq!(stored.give("a", vote(2)), Effect::Applied);
    assert_eq!(stored.give("b", vote(2)), Effect::Applied);
    assert_eq!(stored.state(), State::Open);
    act(&mut stored, Act::Reset, State::Closed, None);
    assert_eq!(stored.state(), State::Closed);
    assert_eq!(stored.give("c", vote(2)), Effect::Applied);
    assert_eq!(stored.state(), State::Closed, "the votes of a and b are unexpired, but not for this generation");
    assert_eq!(stored.give("a", vote(2)), Effect::Applied);
    assert_eq!(stored.state(), State::Open);
}

#[test]
fn a_vote_that_changes_nothing_is_known_and_may_still_decide() {
    let mut stored = Stored::new();
    assert_eq!(stored.give("a", vote(3)), Effect::Applied);
    assert_eq!(stored.give("b", vote(3)), Effect::Applied);
    assert_eq!(stored.give("a", vote(3)), Effect::Known);
    assert_eq!(stored.give("a", vote(2)), Effect::Applied, "one of three instances has died since");
    assert_eq!(stored.fleet().votes, Some(2));
}

#[test]
fn a_vote_needs_a_closed_fleet_and_a_time() {
    assert_eq!(Stored::due().give("b", vote(1)), Effect::Superseded);
    assert_eq!(Stored::round("a").give("b", vote(1)), Effect::Superseded);
    let over = FleetChange::Vote {
        lasts: Duration::ZERO,
        needed: 1,
        live: None,
        open_for: None,
        attempt: 1,
        reason: String::new(),
    };
    assert_eq!(Stored::new().give("a", over), Effect::Superseded);
}

#[test]
fn no_vote_outlasts_the_longest_window() {
    let mut stored = Stored::new();
    let long = FleetChange::Vote {
        lasts: Duration::MAX,
        needed: 2,
        live: None,
        open_for: None,
        attempt: 1,
        reason: String::new(),
    };
    assert_eq!(stored.give("a", long), Effect::Applied);
    assert_eq!(stored.record.instances["a"].vote.as_ref().unwrap().until, NOW.saturating_add(secs(24 * 3600)));
    // A damaged entry, or one from before a step of the clock, does not vote for ever.
    stored.record.instances.get_mut("a").unwrap().vote.as_mut().unwrap().until = Timestamp::from_millis(u64::MAX);
    assert_eq!(stored.give("b", vote(2)), Effect::Applied);
    assert_eq!(stored.record.fleet, None);
}

#[test]
fn an_opening_without_an_end_ends_by_a_reset_only() {
    let mut stored = Stored::new();
    let manual = FleetChange::Vote {
        lasts: TEN,
        needed: 1,
        live: Some(1),
        open_for: None,
        attempt: 4,
        reason: "5 failures in a row".to_owned(),
    };
    assert_eq!(stored.give("a", manual), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.until, fleet.open_ms, fleet.attempt), (None, None, 4));
    assert_eq!(fleet.reason, "a opened: 5 failures in a row");
    stored.wait(secs(1_000_000));
    assert_eq!(stored.give("a", lease()), Effect::Superseded);
    act(&mut stored, Act::Reset, State::HalfOpen, None);
    assert_eq!(stored.give("a", lease()), Effect::Applied);
}

#[test]
fn the_reason_of_an_opening_names_the_first_vote() {
    let mut stored = Stored::new();
    let at = NOW.as_millis();
    stored.record = read(&json!({"state": "closed", "instances": {"first": {"sequence": at, "state": "open",
        "opening": {"reason": "the service refused", "at": at, "sequence": at}}}}));
    assert_eq!(stored.give("first", vote(2)), Effect::Applied);
    assert_eq!(
        stored.record.instances["first"].opening().unwrap().reason,
        "the service refused",
        "the opening still belongs to the entry"
    );
    stored.wait(secs(1));
    assert_eq!(stored.give("a", vote(2)), Effect::Applied);
    assert_eq!(stored.fleet().reason, "2 of 3 instances opened, first first: the service refused");
}

#[test]
fn a_withdrawn_vote_does_not_count() {
    let mut stored = Stored::new();
    assert_eq!(stored.give("a", FleetChange::Withdraw), Effect::Superseded, "no vote");
    assert_eq!(stored.give("a", vote(2)), Effect::Applied);
    assert_eq!(stored.give("a", FleetChange::Withdraw), Effect::Applied);
    assert_eq!(stored.record.instances["a"].vote, None);
    assert_eq!(stored.give("b", vote(2)), Effect::Applied);
    assert_eq!(stored.record.fleet, None);
    assert_eq!(stored.give("a", vote(2)), Effect::Applied);
    assert_eq!(stored.give("a", FleetChange::Withdraw), Effect::Superseded, "the vote was for an earlier generation");
}

#[test]
fn merged_evidence_needs_fresh_failures_on_enough_instances() {
    let mut stored = Stored::new();
    fails(&mut stored, "old", 3.0);
    stored.wait(secs(10));
    fails(&mut stored, "a", 1.0);
    fails(&mut stored, "well", 0.0);
    stored.wait(secs(5));
    assert_eq!(stored.give("a", merged(2)), Effect::Superseded, "the window of one instance is old");
    fails(&mut stored, "b", 0.5);
    assert_eq!(stored.give("well", merged(2)), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.merged, fleet.votes, fleet.needed), (State::Open, true, None, None));
    assert_eq!((fleet.attempt, fleet.reason.as_str()), (2, "6 of 10 calls failed on 2 instances"));
    assert_eq!(stored.give("b", merged(1)), Effect::Superseded, "open");
}

#[test]
fn merged_evidence_opens_a_fleet_that_was_closed_in_the_future() {
    // The clock of the store was set back by two hours after the closing.
    let later = NOW.saturating_add(secs(7_200)).as_millis();
    let fleet = json!({"state": "closed", "generation": later, "since": later});
    let mut stored = Stored::of(&json!({"state": "closed", "generation": later, "fleet": fleet}));
    fails(&mut stored, "a", 1.0);
    fails(&mut stored, "b", 1.0);
    assert_eq!(stored.give("a", merged(2)), Effect::Applied);
    assert_eq!((stored.state(), stored.fleet().since), (State::Open, NOW));
}

#[test]
fn merged_evidence_without_instances_opens_nothing() {
    assert_eq!(Stored::new().give("a", merged(0)), Effect::Superseded);
}

#[test]
fn the_votes_of_an_opening_stay_until_the_fleet_closes() {
    let mut stored = Stored::new();
    assert_eq!(stored.give("a", vote(2)), Effect::Applied);
    assert_eq!(stored.give("b", vote(2)), Effect::Applied);
    stored.wait(FIVE);
    assert_eq!(stored.give("a", lease()), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.votes, fleet.needed, fleet.attempt), (State::HalfOpen, Some(2), Some(2), 1));
    let alone = FleetChange::Failed { open_for: Some(TEN), alone: true, tolerated: 0 };
    assert_eq!(stored.give("a", alone), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.votes, fleet.attempt), (State::Open, Some(2), 2));
    stored.wait(TEN);
    assert_eq!(stored.give("a", lease()), Effect::Applied);
    assert_eq!(stored.give("a", FleetChange::Passed { probes: 1 }), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.votes, fleet.needed), (State::Closed, None, None));
}

#[test]
fn a_reset_decides_the_fleet_and_fences_every_command() {
    for to in [State::Closed, State::HalfOpen, State::Open] {
        let mut stored = Stored::round("a");
        let before = stored.generation();
        act(&mut stored, Act::Reset, to, None);
        let fleet = stored.fleet();
        assert_eq!((fleet.state, fleet.attempt, fleet.votes, fleet.until), (to, 0, None, None));
        assert_eq!((fleet.generation, fleet.since), (stored.record.generation, stored.now));
        assert_eq!(fleet.reason, "reset by alice: maintenance");
        assert!(fleet.generation > before);
        for change in of_a_lease() {
            assert_eq!(stored.clone().give_on(before, "a", change.clone()), Effect::Superseded, "{change:?}");
            assert_eq!(
                stored.clone().give("a", change.clone()),
                Effect::Superseded,
                "of the earlier round: {change:?}"
            );
        }
    }
}

#[test]
fn a_reset_fences_the_votes_of_a_fleet_that_has_never_decided() {
    let mut stored = Stored::new();
    assert_eq!(stored.give("a", vote(2)), Effect::Applied);
    act(&mut stored, Act::Reset, State::Closed, None);
    assert_eq!(stored.give("b", vote(2)), Effect::Applied);
    assert_eq!(stored.state(), State::Closed);
}

#[test]
fn a_reset_of_a_record_without_a_fleet_adds_none() {
    let mut stored = Stored::new();
    act(&mut stored, Act::Reset, State::HalfOpen, None);
    assert_eq!(stored.record.fleet, None);
}

/// The store lost the record before the reset, and another instance still knows the opening.
#[test]
fn a_reset_in_a_fleet_outlives_an_earlier_decision_that_comes_back() {
    let before = Stored::due().record;
    let mut stored = Stored::new();
    stored.now = NOW.saturating_add(secs(20));
    let reset = OperatorCommand { in_fleet: true, ..command_of(&stored, Act::Reset, State::Closed, None) };
    operate(&mut stored, reset);
    for joined in [join(&before, &stored.record), join(&stored.record, &before)] {
        assert_eq!(joined.fleet.as_ref().map(|fleet| fleet.state), Some(State::Closed));
        assert_eq!((joined.state, joined.operator.is_some()), (State::Closed, true));
    }
}

#[test]
fn a_reset_has_a_higher_number_than_every_decision() {
    let mut stored = Stored::due();
    // An old copy of the published state beside the decision, as an earlier version leaves.
    stored.record.generation = Generation::new(5);
    stored.now = NOW.saturating_sub(secs(3600));
    let before = stored.generation();
    act(&mut stored, Act::Reset, State::Closed, None);
    assert!(stored.generation() > before);
    assert_eq!(stored.record.generation, stored.generation());
}

#[test]
fn other_acts_leave_the_fleet_alone() {
    let before = Stored::round("a");
    for (act_of, hold) in
        [(Act::Trip, None), (Act::Trip, Some(TEN)), (Act::Disable, Some(TEN)), (Act::Shadow, None), (Act::Resume, None)]
    {
        let mut stored = before.clone();
        act(&mut stored, act_of, State::HalfOpen, hold);
        assert_eq!(stored.record.fleet, before.record.fleet, "{act_of:?}");
        assert_eq!(stored.record.instances, before.record.instances, "{act_of:?}");
    }
}

#[test]
fn the_end_of_a_forced_opening_begins_a_round_from_closed() {
    let mut stored = Stored::new();
    assert_eq!(stored.give("a", lease()), Effect::Superseded, "closed");
    act(&mut stored, Act::Trip, State::HalfOpen, Some(TEN));
    stored.wait(TEN - Duration::from_millis(1));
    assert_eq!(stored.give("a", lease()), Effect::Superseded, "held");
    stored.wait(Duration::from_millis(1));
    assert_eq!(stored.give("a", lease()), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!(
        (fleet.state, fleet.votes, fleet.reason.as_str()),
        (State::HalfOpen, None, "the forced opening is over")
    );
    assert_eq!(stored.give("a", FleetChange::Passed { probes: 1 }), Effect::Applied);
    assert_eq!(stored.state(), State::Closed);
    assert_eq!(stored.give("a", lease()), Effect::Superseded, "the hold ended before the decision");
}

#[test]
fn the_end_of_a_disabling_begins_no_round() {
    let mut stored = Stored::new();
    act(&mut stored, Act::Disable, State::HalfOpen, Some(TEN));
    stored.wait(secs(20));
    assert_eq!(stored.give("a", lease()), Effect::Superseded);
}

#[test]
fn a_published_round_of_one_instance_has_leases_of_followers_only() {
    let at = NOW.as_millis();
    let mut stored =
        Stored::of(&json!({"state": "half_open", "generation": at - 5_000, "last_state_change": at - 5_000,
        "half_open_attempts": 2, "instance": "old", "incarnation": "earlier"}));
    let round = stored.record.generation;
    assert_eq!(stored.give_on(round, "a", lease()), Effect::Superseded, "no decision of the fleet");
    let mut follow = |id: &str, change: FleetChange| {
        let command = FleetCommand { follows: true, ..command(round, id, change) };
        apply(&mut stored.record, &Command::Fleet(command), stored.now)
    };
    for id in ["a", "b"] {
        assert_eq!(follow(id, lease()), Effect::Applied);
        assert_eq!(follow("c", lease()), Effect::Superseded, "one probe at a time");
        assert_eq!(follow(id, passed()), Effect::Applied);
    }
    assert_eq!(follow("c", lease()), Effect::Applied);
    assert_eq!(follow("c", passed()), Effect::Applied);
    let fleet = stored.fleet();
    assert!(fleet.state == State::Closed && fleet.generation > round, "{fleet:?}");
    assert_eq!((stored.record.state, stored.record.generation), (State::Closed, fleet.generation));
}
