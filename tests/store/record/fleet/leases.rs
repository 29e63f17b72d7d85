//! The begin and the end of rounds, and the leases in a round.

use super::*;

#[test]
fn no_round_begins_before_the_opening_is_over() {
    let mut stored = Stored::due();
    stored.now = stored.now.saturating_sub(Duration::from_millis(1));
    assert_eq!(stored.give("b", lease()), Effect::Superseded);
    stored.wait(Duration::from_millis(1));
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    let (fleet, lease) = (stored.fleet(), stored.lease("b"));
    assert_eq!((fleet.state, fleet.until, fleet.open_ms), (State::HalfOpen, None, None));
    assert_eq!((lease.round, lease.until), (fleet.generation, Some(stored.now.saturating_add(TEN))));
    assert_eq!((lease.passed, lease.failed_at, lease.overdue), (0, None, false));
}

#[test]
fn a_health_probe_begins_a_round_before_the_opening_is_over() {
    let mut stored = Stored::new();
    assert_eq!(stored.give("b", FleetChange::Healthy), Effect::Superseded, "closed");
    assert_eq!(stored.give("a", vote(1)), Effect::Applied);
    assert_eq!(stored.give("b", FleetChange::Healthy), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.until, &*fleet.reason), (State::HalfOpen, None, "a health probe of b succeeded"));
    assert_eq!(stored.record.instances["b"].lease, None, "an instance without calls has no lease");
    assert_eq!(stored.give("c", FleetChange::Healthy), Effect::Superseded, "a round has begun");
    assert_eq!(stored.give("c", lease()), Effect::Applied);
}

#[test]
fn a_health_probe_ends_no_opening_that_only_a_reset_ends() {
    let at = NOW.as_millis();
    let fleet = json!({"state": "open", "generation": at, "since": at});
    let mut stored = Stored::of(&json!({"state": "open", "generation": at, "fleet": fleet}));
    assert_eq!(stored.give("a", FleetChange::Healthy), Effect::Superseded);
}

#[test]
fn an_opening_that_was_decided_in_the_future_is_over() {
    // The clock of the store was set back by two hours.
    let mut stored = Stored::due();
    stored.now = stored.now.saturating_sub(secs(7_200));
    assert_eq!(stored.give("a", lease()), Effect::Applied);
    // A difference of clocks between two tiers is no such step.
    let mut stored = Stored::new();
    assert_eq!(stored.give("a", vote(1)), Effect::Applied);
    stored.now = stored.now.saturating_sub(secs(10));
    assert_eq!(stored.give("a", lease()), Effect::Superseded);
}

#[test]
fn a_damaged_end_does_not_outlast_the_open_duration() {
    let at = NOW.as_millis();
    let fleet = json!({"state": "open", "generation": at, "since": at, "until": u64::MAX, "open_ms": 5_000});
    let mut stored = Stored::of(&json!({"state": "open", "generation": at, "fleet": fleet}));
    assert_eq!(stored.give("a", lease()), Effect::Superseded);
    stored.wait(FIVE);
    assert_eq!(stored.give("a", lease()), Effect::Applied);
}

#[test]
fn no_end_keeps_the_fleet_open_for_longer_than_the_longest_opening() {
    let at = NOW.as_millis();
    let far = at + 100 * 365 * 24 * 3_600_000;
    for open_ms in [None, Some(far), Some(u64::MAX)] {
        let fleet = json!({"state": "open", "generation": at, "since": at, "until": far, "open_ms": open_ms});
        let mut stored = Stored::of(&json!({"state": "open", "generation": at, "fleet": fleet}));
        stored.wait(secs(299));
        assert_eq!(stored.give("a", lease()), Effect::Superseded, "{open_ms:?}");
        stored.wait(secs(1));
        assert_eq!(stored.give("a", lease()), Effect::Applied, "{open_ms:?}");
    }
    // Only a reset ends an opening without an end.
    let fleet = json!({"state": "open", "generation": at, "since": at});
    let mut stored = Stored::of(&json!({"state": "open", "generation": at, "fleet": fleet}));
    stored.wait(secs(3_000));
    assert_eq!(stored.give("a", lease()), Effect::Superseded);
}

#[test]
fn a_pending_lease_is_known_and_is_given_to_no_other_instance() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", lease()), Effect::Known);
    assert_eq!(stored.give("b", lease()), Effect::Superseded);
    assert_eq!(stored.give("b", lease_of(3, 2)), Effect::Applied);
    assert_eq!(stored.give("c", lease_of(3, 2)), Effect::Superseded);
}

#[test]
fn a_dead_prober_costs_its_lease() {
    let mut stored = Stored::round("a");
    stored.wait(TEN - Duration::from_millis(1));
    assert_eq!(stored.give("b", lease()), Effect::Superseded);
    stored.wait(Duration::from_millis(1));
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    assert_eq!(stored.state(), State::HalfOpen, "the round goes on");
}

#[test]
fn passed_and_pending_probes_are_never_more_than_needed() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    for id in ["a", "b"] {
        assert_eq!(stored.give(id, lease_of(3, 9)), Effect::Applied);
    }
    assert_eq!(stored.give("c", lease_of(3, 9)), Effect::Superseded, "one passed, two are pending, three are needed");
    assert_eq!(stored.give("c", lease_of(4, 9)), Effect::Applied);
    assert_eq!(stored.give("d", lease_of(0, 0)), Effect::Superseded);
}

#[test]
fn an_instance_whose_probe_failed_gets_no_lease_in_the_round() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", failed()), Effect::Applied);
    assert_eq!(stored.give("a", lease()), Effect::Superseded);
    assert_eq!(stored.give("b", lease()), Effect::Applied);
}

#[test]
fn a_new_round_begins_without_earlier_results() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    assert_eq!(stored.give("a", lease()), Effect::Applied);
    assert_eq!(stored.give("a", failed()), Effect::Applied);
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    assert_eq!(stored.give("b", failed()), Effect::Applied);
    assert_eq!(stored.state(), State::Open);
    stored.wait(TEN);
    assert_eq!(stored.give("a", lease()), Effect::Applied);
    let lease = stored.lease("a");
    assert_eq!((lease.passed, lease.failed_at), (0, None));
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    assert_eq!(stored.state(), State::HalfOpen, "passes of the earlier round do not count");
}

#[test]
fn a_renewed_lease_lasts_longer_but_no_more_than_a_minute_each() {
    let mut stored = Stored::round("a");
    for (lasts, expected) in [(TEN, 10), (Duration::MAX, 60)] {
        stored.wait(FIVE);
        assert_eq!(stored.give("a", FleetChange::Renew { lasts }), Effect::Applied);
        assert_eq!(stored.lease("a").until, Some(stored.now.saturating_add(secs(expected))));
    }
    // A lease that no command can have made holds up no other instance.
    stored.record.instances.get_mut("a").unwrap().lease.as_mut().unwrap().until =
        Some(Timestamp::from_millis(u64::MAX));
    assert_eq!(stored.give("b", lease()), Effect::Applied);
}

#[test]
fn a_quiet_round_closes_after_a_success_without_a_failure() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    stored.wait(secs(60) - Duration::from_millis(1));
    let mut early = stored.clone();
    assert_eq!(early.give("b", lease()), Effect::Applied);
    assert_eq!(early.state(), State::HalfOpen);
    stored.wait(Duration::from_millis(1));
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.attempt), (State::Closed, 1));
    assert_eq!(fleet.reason, "no probe failed in 60 s, 1 probe succeeded");
    assert_eq!(stored.record.instances["b"].lease, None, "the end of the round gives no lease");
}

#[test]
fn a_quiet_round_without_a_verdict_reopens_the_fleet() {
    for failure in [false, true] {
        let mut stored = Stored::round("a");
        assert_eq!(stored.give("a", passed()), Effect::Applied);
        if failure {
            assert_eq!(stored.give("b", lease()), Effect::Applied);
            assert_eq!(stored.give("b", failed()), Effect::Applied);
        } else {
            stored.record.instances.clear();
        }
        stored.wait(secs(60));
        assert_eq!(stored.give("b", lease()), Effect::Applied, "also for an instance whose probe failed");
        let fleet = stored.fleet();
        assert_eq!((fleet.state, fleet.attempt, fleet.open_ms), (State::Open, 2, Some(10_000)));
        assert_eq!(fleet.reason, "the probes gave no verdict in 60 s");
    }
}

#[test]
fn a_long_round_waits_for_the_probe_under_way_and_lends_no_more() {
    let mut stored = Stored::round("a");
    for _ in 0..7 {
        stored.wait(secs(9));
        assert_eq!(stored.give("a", FleetChange::Renew { lasts: TEN }), Effect::Applied);
    }
    assert_eq!(stored.give("b", lease_of(3, 9)), Effect::Superseded);
    assert_eq!(stored.give("a", passed()), Effect::Applied, "a call that takes 63 s");
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    assert_eq!(stored.state(), State::Closed);
}

#[test]
fn a_round_that_began_in_the_future_is_quiet() {
    let mut stored = Stored::round("a");
    stored.now = stored.now.saturating_sub(secs(7_200));
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    assert_eq!(stored.state(), State::Open);
}

#[test]
fn an_instance_that_follows_takes_a_published_state_for_a_decision() {
    let at = NOW.as_millis();
    let value = json!({"state": "open", "generation": at, "last_state_change": at, "until": at + 5_000, "open_ms": 5_000,
        "half_open_attempts": 3, "reason": "an earlier version opened"});
    for (follows, on) in [(true, at), (false, 0)] {
        let mut record = read(&value);
        let now = NOW.saturating_add(FIVE);
        let give = |record: &mut CircuitRecord, on, change| {
            let command = FleetCommand { follows, ..command(Generation::new(on), "a", change) };
            apply(record, &Command::Fleet(command), now)
        };
        assert_eq!(give(&mut record, if follows { 0 } else { at }, lease()), Effect::Superseded);
        if follows {
            assert_eq!(give(&mut record, on, vote(1)), Effect::Superseded, "open");
            assert_eq!(give(&mut record, on, lease()), Effect::Applied);
            let fleet = record.fleet.clone().unwrap();
            assert_eq!((fleet.state, fleet.attempt, fleet.votes), (State::HalfOpen, 3, None));
            assert_eq!(give(&mut record, fleet.generation.get(), passed()), Effect::Applied);
        } else {
            assert_eq!(give(&mut record, on, lease()), Effect::Superseded, "closed");
            assert_eq!(give(&mut record, on, vote(1)), Effect::Applied);
            assert!(record.fleet.unwrap().generation.get() > at);
        }
    }
}
