//! The verdict on a half-open circuit: when it falls, and what it says.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Failure, Outcome, State};

use crate::rig::{admit, alice, call, fail, last, millis, probe, reject, rig, secs, state, succeed, weighing, why};

#[test]
fn the_configured_number_of_successes_closes_the_circuit() {
    for probes in [1, 3, 10] {
        let (circuit, clock) = rig(|settings| settings.probes(probes));
        probe(&circuit, &clock).success();
        if probes > 1 {
            succeed(&circuit, probes - 2);
            assert_eq!(state(&circuit), State::HalfOpen, "one success is missing of {probes}");
            clock.advance(secs(4));
            succeed(&circuit, 1);
        }
        let half_open_for = secs(if probes > 1 { 4 } else { 0 });
        assert_eq!(why(&circuit), Reason::ProbesPassed { successes: probes, half_open_for });
        assert_eq!(last(&circuit).to.state, State::Closed);
    }
}

#[test]
fn the_first_failed_probe_reopens_the_circuit() {
    let (circuit, clock) = rig(|settings| settings.probes_in_flight(3));
    let first = probe(&circuit, &clock);
    let other = admit(&circuit);
    succeed(&circuit, 1);
    first.failure(Failure::hard());
    assert_eq!(why(&circuit), Reason::ProbeFailed { failures: 1, tolerated: 0, successes: 1 });
    assert_eq!((last(&circuit).to.state, last(&circuit).failure), (State::Open, Some(FailureKind::Error)));
    other.success();
    assert_eq!(state(&circuit), State::Open, "the other success came too late");
}

#[test]
fn any_positive_weight_fails_a_probe() {
    for failure in [weighing(1e-9), weighing(0.25), Failure::timeout()] {
        let (circuit, clock) = rig(|settings| settings);
        probe(&circuit, &clock).failure(failure);
        assert_eq!(why(&circuit), Reason::ProbeFailed { failures: 1, tolerated: 0, successes: 0 }, "{failure:?}");
    }
}

#[test]
fn tolerated_probe_failures_do_not_reopen_and_the_next_failure_does() {
    let (circuit, clock) = rig(|settings| settings.probes(3).probe_failures_tolerated(2));
    probe(&circuit, &clock).failure(Failure::hard());
    succeed(&circuit, 2);
    fail(&circuit, 1);
    assert_eq!((circuit.status().probes.successes, circuit.status().probes.failures), (2, 2));
    succeed(&circuit, 1);
    assert_eq!(state(&circuit), State::Closed, "three successes, two failures");

    clock.advance(secs(1_000));
    probe(&circuit, &clock).success();
    fail(&circuit, 3);
    assert_eq!(why(&circuit), Reason::ProbeFailed { failures: 3, tolerated: 2, successes: 1 });
}

#[test]
fn a_probe_as_slow_as_the_calls_that_opened_the_circuit_has_failed() {
    for (took, expected) in [(millis(999), State::Closed), (secs(1), State::Open), (secs(3), State::Open)] {
        let slow = |settings: ConfigBuilder| settings.slow_call_rate(0.5).slower_than(secs(1)).probes(1);
        let (circuit, clock) = rig(slow);
        let probe = probe(&circuit, &clock);
        clock.advance(took);
        probe.success();
        assert_eq!(state(&circuit), expected, "{took:?}");
        if expected == State::Open {
            assert_eq!(last(&circuit).failure, Some(FailureKind::Slow));
        }
    }
    let (circuit, clock) = rig(|settings| settings.probes(1));
    let probe = probe(&circuit, &clock);
    clock.advance(secs(3));
    probe.success();
    assert_eq!(state(&circuit), State::Closed, "without the rule, no call is slow");
}

#[test]
fn a_round_admits_no_more_probes_than_its_verdict_can_use() {
    for (probes, in_flight, tolerated) in [(3, 3, 0), (10, 10, 0), (3, 10, 2), (1, 5, 0), (2, 1, 3)] {
        let change = |settings: ConfigBuilder| {
            settings.probes(probes).probes_in_flight(in_flight).probe_failures_tolerated(tolerated)
        };
        let (circuit, clock) = rig(change);
        let mut held = vec![probe(&circuit, &clock)];
        let mut admitted = 1;
        // Each success lets others in, as long as they can be of use.
        while state(&circuit) == State::HalfOpen {
            while let Ok(next) = circuit.try_acquire() {
                held.push(next);
                admitted += 1;
                assert!(admitted <= probes + tolerated, "{probes}, {in_flight}, {tolerated}: {admitted}");
            }
            held.remove(0).success();
        }
        assert_eq!(state(&circuit), State::Closed);
    }
}

#[test]
fn a_probe_dropped_late_has_failed() {
    let (circuit, clock) = rig(|settings| settings.cancelled_counts_after(secs(1)));
    let probe = probe(&circuit, &clock);
    clock.advance(secs(1));
    drop(probe);
    assert_eq!((state(&circuit), last(&circuit).failure), (State::Open, Some(FailureKind::Cancelled)));
}

#[test]
fn one_failure_opens_the_circuit_if_its_classifier_says_so() {
    let (circuit, clock) = rig(|settings| settings);
    succeed(&circuit, 1_000);
    admit(&circuit).failure(Failure::hard().trips_at_once().with_retry_after(secs(120)));
    assert_eq!((why(&circuit), reject(&circuit).retry_after()), (Reason::AtOnce, Some(secs(120))));
    // Also a probe, however many failures are tolerated.
    let (circuit, clock) = (rig(|settings| settings.probe_failures_tolerated(5)), clock).0;
    probe(&circuit, &clock).failure(Failure::timeout().trips_at_once());
    assert_eq!(state(&circuit), State::Open);
    assert_eq!(why(&circuit).to_string(), "a probe failed and asked for no more calls");
    let (circuit, clock) = rig(|settings| settings.probes(2).probe_failures_tolerated(1));
    probe(&circuit, &clock).failure(Failure::timeout());
    fail(&circuit, 1);
    assert_eq!(why(&circuit).to_string(), "2 of 2 probes failed, 1 is tolerated");
}

#[test]
fn after_a_quiet_minute_with_one_success_the_next_call_closes() {
    let (circuit, clock) = rig(|settings| settings.probes(3).quiet_after(secs(60)));
    probe(&circuit, &clock).success();
    clock.advance(secs(60) - millis(1));
    let probe = admit(&circuit);
    assert!(probe.is_probe(), "it is not yet a minute");
    clock.advance(millis(1));
    assert!(!admit(&circuit).is_probe());
    assert_eq!(why(&circuit), Reason::QuietService { successes: 1, half_open_for: secs(60) });
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_circuit_with_a_failed_probe_is_not_quiet() {
    let (circuit, clock) = rig(|settings| settings.probes(3).probe_failures_tolerated(1));
    probe(&circuit, &clock).success();
    fail(&circuit, 1);
    clock.advance(secs(1_000));
    let probe = admit(&circuit);
    assert_eq!((probe.is_probe(), state(&circuit)), (true, State::HalfOpen));
}

#[test]
fn a_reset_to_half_open_starts_the_verdict_anew() {
    let (circuit, clock) = rig(|settings| settings.probes(3));
    probe(&circuit, &clock).success();
    succeed(&circuit, 1);
    circuit.reset(&alice(), To::HalfOpen);
    call(&circuit, 2, Outcome::Success);
    assert_eq!(state(&circuit), State::HalfOpen);
    succeed(&circuit, 1);
    assert_eq!(state(&circuit), State::Closed);
}
