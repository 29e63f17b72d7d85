//! Loom models of transitions. If several threads try to make the same transition, one of them makes the transition,
//! and it is reported once. No thread sees an era before the data of the era.

use super::*;
use crate::state::{HealthResult, RejectReason};
use crate::window::Window;

#[test]
fn loom_two_failures_that_complete_a_run_trip_once() {
    in_every_order(|| {
        let (circuit, reports) = observed(rules().consecutive_failures(2));
        fail_two(&circuit);
        assert_eq!(all(&reports), [Report::Edge(2, State::Open)]);
        assert_eq!(era_and_state(&circuit), (2, State::Open));
    });
}

#[test]
fn loom_two_failures_that_complete_a_score_trip_once() {
    for window in [Window::calls(2), Window::time(TEN).buckets(2)] {
        in_most_orders(move || {
            let (circuit, reports) = observed(rules().failure_score(2.0).window(window));
            fail_two(&circuit);
            assert_eq!(all(&reports), [Report::Edge(2, State::Open)], "over {window}");
        });
    }
}

#[test]
fn loom_two_failures_that_complete_a_rate_trip_once() {
    in_most_orders(|| {
        // The rate depends on two sums. The two threads may add to the first sum in one order, and to the second sum in
        // the other order.
        let (circuit, reports) = observed(rules().failure_rate(1.0).min_calls(2).window(Window::calls(2)));
        fail_two(&circuit);
        assert_eq!(all(&reports), [Report::Edge(2, State::Open)]);
    });
}

#[test]
fn loom_a_retry_after_of_the_evidence_is_a_floor() {
    in_every_order(|| {
        let circuit = circuit(rules().consecutive_failures(2));
        let (patient, other) = (call(&circuit), call(&circuit));
        beside(|| patient.failure(Failure::hard().with_retry_after(6 * TEN)), || fail(other));
        assert_eq!(circuit.inner().open_until(), NOW.saturating_add(6 * TEN), "whichever call trips the circuit");
        // The first transition must use the `Retry-After` already. A later correction would be a second transition, and
        // the era would be 3.
        assert_eq!(era_and_state(&circuit), (2, State::Open));
    });
}

#[test]
fn loom_two_quarters_of_a_failure_end_the_trust() {
    in_most_orders(|| {
        let circuit = on_trust(rules());
        let (one, other) = (call(&circuit), call(&circuit));
        beside(|| one.failure(quarter()), || other.failure(quarter()));
        assert_eq!(era_and_state(&circuit).1, State::Open, "the second of both sees the weight of the first");
    });
}

#[test]
fn loom_a_success_beside_a_quarter_of_a_failure_ends_the_trust() {
    in_most_orders(|| {
        let circuit = on_trust(rules());
        let (good, bad) = (call(&circuit), call(&circuit));
        beside(|| good.success(), || bad.failure(quarter()));
        (0..2).for_each(|_| call(&circuit).failure(quarter()));
        assert_eq!(era_and_state(&circuit).1, State::Closed, "no rule is set");
    });
}

#[test]
fn loom_the_last_of_several_doubts_sees_all() {
    in_most_orders(|| {
        let circuit = circuit(rules().probes(3).probes_in_flight(3));
        half_open(&circuit);
        drop(call(&circuit));
        let (one, other) = (call(&circuit), call(&circuit));
        beside(|| drop(one), || drop(other));
        assert_eq!(era_and_state(&circuit).1, State::Closed, "no probe is left to close the circuit");
    });
}

#[test]
fn loom_a_verdict_has_one_winner() {
    in_most_orders(|| {
        let (circuit, reports) = observed(rules().probes(1).probe_failures_tolerated(1).probes_in_flight(2));
        half_open(&circuit);
        let (good, bad) = (call(&circuit), call(&circuit));
        beside(|| bad.failure(Failure::hard().trips_at_once()), || good.success());
        let reports = all(&reports);
        let [Report::Edge(2, State::HalfOpen), Report::Edge(3, State::Open | State::Closed)] = reports[..] else {
            panic!("one verdict: {reports:?}");
        };
        let totals = circuit.totals();
        assert_eq!((totals.successes, totals.failures), (1, 1), "whichever came too late");
    });
}

#[test]
fn loom_a_time_to_wait_holds_whichever_outcome_comes_first() {
    let ban = || Failure::hard().trips_at_once().with_retry_after(6 * TEN);
    let until = |circuit: &Circuit| (circuit.inner().load().state(), circuit.inner().open_until());
    in_most_orders(move || {
        // The failure of `other` has no `Retry-After`. If this failure comes first, the circuit at first opens for a
        // shorter time.
        let circuit = circuit(rules().consecutive_failures(1));
        let (banned, other) = (call(&circuit), call(&circuit));
        beside(move || banned.failure(ban()), || fail(other));
        assert_eq!(until(&circuit), (State::Open, NOW.saturating_add(6 * TEN)));
    });
    in_most_orders(move || {
        // The other probe closes the circuit.
        let circuit = circuit(rules().probes(1).probe_failures_tolerated(1).probes_in_flight(2));
        half_open(&circuit);
        let (banned, good) = (call(&circuit), call(&circuit));
        beside(move || banned.failure(ban()), || good.success());
        assert_eq!(until(&circuit), (State::Open, NOW.saturating_add(6 * TEN)));
    });
}

#[test]
fn loom_every_change_begins_an_era_of_its_own() {
    in_every_order(|| {
        let (circuit, reports) = observed(rules());
        let its = circuit.clone();
        let mut eras: [_; 2] = beside(move || its.shadow(&by()).era, || circuit.trip(&by(), None).era).into();
        eras.sort_unstable();
        assert_eq!(eras, [2, 3]);
        assert_eq!((circuit.inner().load().era(), all(&reports).len()), (3, 2));
    });
}

#[test]
fn loom_a_rejected_caller_knows_the_deadline() {
    in_every_order(|| {
        let circuit = circuit(rules().consecutive_failures(1));
        let last = call(&circuit);
        match beside(|| fail(last), || circuit.try_acquire()).1 {
            Ok(permit) => assert!(!permit.is_probe(), "it had not tripped yet"),
            Err(rejected) => assert_eq!(rejected.retry_after(), Some(TEN)),
        }
        assert_eq!(era_and_state(&circuit), (2, State::Open));
    });
}

#[test]
fn loom_a_reopened_circuit_admits_no_call() {
    in_most_orders(|| {
        let circuit = circuit(rules().probes(1));
        past_deadline(&circuit);
        let bad = call(&circuit);
        // The first open duration is over, but its end is still stored. A thread that used this end after the circuit
        // has opened again would probe at once.
        let (_, admission) = beside(|| fail(bad), || circuit.try_acquire());
        let rejected = admission.expect_err("its one slot is taken until it is open again");
        let expected = match rejected.reason() {
            RejectReason::HalfOpen => None,
            RejectReason::Tripped => Some(TEN),
            RejectReason::LoadShed | RejectReason::Ramp | RejectReason::Throttled => {
                unreachable!("the model neither sheds nor limits")
            }
        };
        assert_eq!(rejected.retry_after(), expected);
        assert_eq!(era_and_state(&circuit), (4, State::Open));
    });
}

#[test]
fn loom_a_status_is_of_one_era() {
    in_every_order(|| {
        let circuit = circuit(rules().consecutive_failures(1));
        let last = call(&circuit);
        let (_, status) = beside(|| fail(last), || circuit.status());
        let expected = if status.era == 1 { (State::Closed, None, 0) } else { (State::Open, Some(TEN), 1) };
        assert_eq!((status.state, status.retry_after, status.transitions.len()), expected, "in era {}", status.era);
    });
}

#[test]
fn loom_a_circuit_is_spread_while_its_era_changes() {
    in_most_orders(|| {
        let circuit = circuit(rules());
        let (its, spreading) = (circuit.clone(), Arc::clone(&circuit.root));
        let (closing, spreading) = (spawn(move || close(&its)), spawn(move || spreading.spread()));
        begin();
        call(&circuit).success();
        joined(closing);
        let is_spread = joined(spreading);
        let word = circuit.inner().load();
        assert_eq!((word.era(), word.is_spread()), (2, is_spread), "neither undoes the other");
        call(&circuit).success();
        assert_eq!(circuit.totals().successes, 2, "in whichever cell");
    });
}

#[test]
fn loom_a_health_probe_of_an_ended_era_lets_no_call_probe() {
    in_every_order(|| {
        let circuit = circuit(rules());
        let runner = circuit.begin_checks(TEN, TEN, true);
        half_open_before_this_process(&circuit);
        let its = circuit.clone();
        beside(move || its.checked(runner, 2, HealthResult::Passed, None), || past_deadline(&circuit));
        assert!(circuit.try_acquire().is_err(), "no health probe has succeeded since the opening");
        assert_eq!(era_and_state(&circuit), (3, State::Open));
    });
}

#[test]
fn loom_a_health_probe_beside_a_due_call_makes_one_transition() {
    in_every_order(|| {
        let (circuit, reports) = observed(rules());
        let runner = circuit.begin_checks(TEN, TEN, false);
        past_deadline(&circuit);
        let its = circuit.clone();
        let passed = move || its.checked(runner, 2, HealthResult::Passed, None);
        let (_, probe) = beside(passed, || circuit.try_acquire());
        assert!(probe.is_ok_and(|probe| probe.is_probe()));
        assert_eq!(all(&reports), [Report::Edge(2, State::Open), Report::Edge(3, State::HalfOpen)]);
    });
}
