//! The results of probes.

use super::*;

#[test]
fn passed_probes_of_all_instances_close_the_fleet() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    for id in ["b", "b"] {
        assert_eq!(stored.state(), State::HalfOpen);
        assert_eq!(stored.give(id, lease()), Effect::Applied);
        assert_eq!(stored.give(id, passed()), Effect::Applied);
    }
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.until, fleet.attempt), (State::Closed, None, 1));
    assert_eq!((fleet.reason.as_str(), fleet.instance.as_str()), ("3 probes of the fleet succeeded", "b"));
    assert_eq!((stored.lease("b").passed, stored.lease("b").until), (2, None));
    assert_eq!(stored.record.left_closed_at, None);
}

#[test]
fn a_result_needs_a_pending_lease_of_its_instance() {
    let mut lapsed = Stored::round("a");
    lapsed.wait(TEN);
    let mut done = Stored::round("a");
    assert_eq!(done.give("a", FleetChange::Returned), Effect::Applied);
    for change in of_a_lease() {
        assert_eq!(lapsed.clone().give("a", change.clone()), Effect::Superseded, "lapsed: {change:?}");
        assert_eq!(done.clone().give("a", change.clone()), Effect::Superseded, "returned: {change:?}");
        assert_eq!(Stored::round("a").give("b", change.clone()), Effect::Superseded, "of another: {change:?}");
        assert_eq!(Stored::due().give("a", change.clone()), Effect::Superseded, "open: {change:?}");
        assert_eq!(Stored::new().give("a", change.clone()), Effect::Superseded, "closed: {change:?}");
    }
}

#[test]
fn a_result_of_an_earlier_round_does_not_count() {
    let mut stored = Stored::round("a");
    let round = stored.generation();
    stored.record.fleet = stored.record.fleet.take().map(|mut fleet| {
        fleet.generation = Generation::new(fleet.generation.get() + 1);
        fleet
    });
    for change in of_a_lease().into_iter().chain([late(true), late(false)]) {
        assert_eq!(stored.clone().give("a", change.clone()), Effect::Superseded, "{change:?}");
        assert_eq!(stored.clone().give_on(round, "a", change.clone()), Effect::Superseded, "{change:?}");
    }
}

#[test]
fn the_same_result_does_not_count_twice() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    // The answer was lost.
    for change in [passed(), late(true)] {
        assert_eq!(stored.give("a", change), Effect::Superseded);
    }
    assert_eq!(stored.lease("a").passed, 1);
}

#[test]
fn the_failures_of_two_instances_reopen_the_fleet() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", failed()), Effect::Applied);
    assert_eq!((stored.state(), stored.lease("a").until), (State::HalfOpen, None));
    assert_eq!(stored.lease("a").failed_at, Some(stored.now));
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    assert_eq!(stored.give("b", failed()), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.attempt, fleet.open_ms), (State::Open, 2, Some(10_000)));
    assert_eq!(fleet.until, Some(stored.now.saturating_add(TEN)));
    assert_eq!(fleet.reason, "the probes of 2 instances failed, last b");
}

#[test]
fn the_failure_of_the_only_instance_reopens_the_fleet() {
    let mut stored = Stored::round("a");
    let alone = FleetChange::Failed { open_for: None, alone: true, tolerated: 0 };
    assert_eq!(stored.give("a", alone), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.until, fleet.reason.as_str()), (State::Open, None, "the probe of a failed"));
}

#[test]
fn tolerated_failures_do_not_reopen_the_fleet() {
    let mut stored = Stored::due();
    for (id, expected) in [("a", State::HalfOpen), ("b", State::HalfOpen), ("c", State::Open)] {
        assert_eq!(stored.give(id, lease()), Effect::Applied);
        let failed = FleetChange::Failed { open_for: Some(TEN), alone: false, tolerated: 2 };
        assert_eq!(stored.give(id, failed), Effect::Applied);
        assert_eq!(stored.state(), expected, "{id}");
    }
}

#[test]
fn an_instance_probes_again_while_its_failures_are_tolerated() {
    let lease = || FleetChange::Lease {
        lasts: TEN,
        probes: 3,
        in_flight: 1,
        tolerated: 1,
        quiet_after: secs(60),
        longest: secs(300),
        open_for: Some(TEN),
    };
    let failed = |alone| FleetChange::Failed { open_for: Some(TEN), alone, tolerated: 1 };
    let unopposed = || FleetChange::Unopposed { open_for: Some(TEN), tolerated: 1 };
    for alone in [true, false] {
        let mut stored = Stored::round("a");
        assert_eq!(stored.give("a", failed(alone)), Effect::Applied);
        stored.wait(Duration::from_millis(999));
        assert_eq!(stored.give("a", lease()), Effect::Superseded, "the other instances come first");
        stored.wait(secs(1));
        assert_eq!(stored.give("a", unopposed()), Effect::Superseded, "the failure is tolerated");
        assert_eq!(stored.give("a", lease()), Effect::Applied);
        assert_eq!(stored.give("a", failed(alone)), Effect::Applied);
        assert_eq!(stored.lease("a").failed, 2);
        if alone {
            assert_eq!(stored.fleet().reason, "2 probes of a failed");
            continue;
        }
        assert_eq!(stored.give("a", lease()), Effect::Superseded, "the second failure is not tolerated");
        stored.wait(secs(1));
        assert_eq!(stored.state(), State::HalfOpen, "another instance can contradict");
        assert_eq!(stored.give("a", unopposed()), Effect::Applied);
        assert_eq!(stored.state(), State::Open);
    }
}

/// Earlier versions of this crate wrote only the time of a failure.
#[test]
fn a_failure_without_a_number_counts_once() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", failed()), Effect::Applied);
    stored.record.instances.get_mut("a").unwrap().lease.as_mut().unwrap().failed = 0;
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    assert_eq!(stored.give("b", failed()), Effect::Applied);
    assert_eq!(stored.fleet().reason, "the probes of 2 instances failed, last b");
}

#[test]
fn a_failure_that_no_other_instance_contradicts_reopens_the_fleet() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", failed()), Effect::Applied);
    stored.wait(Duration::from_millis(999));
    assert_eq!(stored.give("a", unopposed()), Effect::Superseded, "within the confirmation delay");
    stored.wait(Duration::from_millis(1));
    assert_eq!(stored.clone().give("b", unopposed()), Effect::Superseded, "no failure of its own");
    let mut other = stored.clone();
    assert_eq!(other.give("b", lease()), Effect::Applied);
    assert_eq!(other.clone().give("a", unopposed()), Effect::Superseded, "another instance probes");
    assert_eq!(other.give("b", passed()), Effect::Applied);
    assert_eq!(other.give("a", unopposed()), Effect::Superseded, "another instance passed");
    assert_eq!(stored.give("a", unopposed()), Effect::Applied);
    let fleet = stored.fleet();
    assert_eq!((fleet.state, fleet.attempt, fleet.open_ms), (State::Open, 2, Some(10_000)));
    assert_eq!(fleet.reason, "the probe of a failed, and no probe of another instance passed");
}

#[test]
fn an_own_success_does_not_contradict_an_own_failure() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    assert_eq!(stored.give("a", lease()), Effect::Applied);
    assert_eq!(stored.give("a", failed()), Effect::Applied);
    stored.wait(secs(1));
    assert_eq!(stored.give("a", unopposed()), Effect::Applied);
}

#[test]
fn a_lapsed_lease_is_worth_one_late_result() {
    for (is_passed, then) in [(true, Effect::Superseded), (false, Effect::Superseded)] {
        let mut stored = Stored::round("a");
        assert_eq!(stored.give("a", late(is_passed)), Effect::Superseded, "pending");
        stored.wait(secs(30));
        assert_eq!(stored.give("b", late(is_passed)), Effect::Superseded, "no lease of its own");
        assert_eq!(stored.give("a", late(is_passed)), Effect::Applied);
        let lease = stored.lease("a");
        assert_eq!((lease.passed, lease.failed_at.is_some()), (u32::from(is_passed), !is_passed));
        assert_eq!(stored.give("a", late(is_passed)), then, "the answer was lost");
    }
}

#[test]
fn a_late_result_decides_as_any_other() {
    let mut stored = Stored::round("a");
    stored.wait(TEN);
    let mut closes = stored.clone();
    let one = FleetChange::Late { passed: true, probes: 1, in_flight: 1, open_for: None, alone: false, tolerated: 0 };
    assert_eq!(closes.give("a", one), Effect::Applied);
    assert_eq!(closes.state(), State::Closed);
    let alone =
        FleetChange::Late { passed: false, probes: 3, in_flight: 1, open_for: Some(TEN), alone: true, tolerated: 0 };
    assert_eq!(stored.give("a", alone), Effect::Applied);
    assert_eq!((stored.state(), stored.fleet().attempt), (State::Open, 2));
}

#[test]
fn a_lapsed_lease_counts_only_while_no_other_instance_probes() {
    let mut stored = Stored::round("a");
    stored.wait(TEN);
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    assert_eq!(stored.give("a", late(true)), Effect::Superseded);
    assert_eq!(stored.give("b", passed()), Effect::Applied);
    assert_eq!(stored.give("a", late(true)), Effect::Applied);
}

#[test]
fn a_lapsed_lease_of_an_instance_that_failed_is_worth_nothing() {
    let mut stored = Stored::round("a");
    stored.record.instances.get_mut("a").unwrap().lease.as_mut().unwrap().failed_at = Some(NOW);
    stored.wait(TEN);
    assert_eq!(stored.give("a", late(true)), Effect::Superseded);
}

#[test]
fn an_overdue_probe_frees_its_lease_and_its_result_still_counts() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", FleetChange::Overdue), Effect::Applied);
    assert_eq!(stored.give("a", FleetChange::Overdue), Effect::Superseded, "the answer was lost");
    assert_eq!(stored.give("b", lease()), Effect::Applied);
    assert_eq!(stored.give("a", late(true)), Effect::Applied, "beside the lease of another instance");
    assert_eq!(stored.give("a", late(true)), Effect::Superseded, "the answer was lost");
    assert_eq!((stored.lease("a").passed, stored.lease("a").overdue), (1, false));
    assert_eq!(stored.give("b", FleetChange::Overdue), Effect::Applied);
    assert_eq!(stored.give("b", late(false)), Effect::Applied);
    assert!(stored.lease("b").failed_at.is_some());
}

#[test]
fn the_next_lease_ends_the_right_of_an_overdue_probe() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", FleetChange::Overdue), Effect::Applied);
    // The overdue probe was cancelled.
    assert_eq!(stored.give("a", lease()), Effect::Applied);
    assert_eq!(stored.give("a", passed()), Effect::Applied);
    assert_eq!(stored.give("a", late(true)), Effect::Superseded, "the answer was lost");
    assert_eq!(stored.lease("a").passed, 1);
}

#[test]
fn a_service_that_takes_31_seconds_a_call_closes_the_fleet() {
    // Each probe is overdue after 30 s and passes 1 s later, when the next probe is under way.
    let mut stored = Stored::due();
    let mut before = None;
    for id in ["a", "b", "a"] {
        assert_eq!(stored.give(id, lease()), Effect::Applied, "{id}");
        if stored.state() == State::Closed {
            break;
        }
        for age in 1..30 {
            stored.wait(secs(1));
            if let Some(before) = before.take_if(|_| age == 1) {
                assert_eq!(stored.give(before, late(true)), Effect::Applied, "{before}");
            }
            if age % 5 == 0 {
                assert_eq!(stored.give(id, FleetChange::Renew { lasts: TEN }), Effect::Applied);
            }
        }
        stored.wait(secs(1));
        assert_eq!(stored.give(id, FleetChange::Overdue), Effect::Applied);
        before = Some(id);
    }
    assert_eq!((stored.state(), stored.now), (State::Closed, NOW.saturating_add(secs(65))), "a quiet end, as alone");
}

#[test]
fn a_returned_lease_frees_its_place_and_counts_nothing() {
    let mut stored = Stored::round("a");
    assert_eq!(stored.give("a", FleetChange::Returned), Effect::Applied);
    let lease_of_a = stored.lease("a");
    assert_eq!((lease_of_a.until, lease_of_a.passed, lease_of_a.failed_at), (None, 0, None));
    assert_eq!(stored.give("a", late(true)), Effect::Superseded);
    assert_eq!(stored.give("b", lease()), Effect::Applied);
}
