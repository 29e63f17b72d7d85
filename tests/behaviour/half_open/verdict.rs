//! The verdict on a half-open circuit: when it falls, and what it says.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Reason, RejectReason};
use tower_circuit_breaker::{Failure, Outcome, Permit, State};

use crate::rig::{admit, alice, call, fail, last, millis, probe, reject, rig, secs, state, succeed, weighing, why};

#[test]
fn as_many_successes_as_asked_for_close_it() {
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
fn the_first_failed_probe_reopens_it() {
    let (circuit, clock) = rig(|settings| settings.probes_in_flight(3));
    let first = probe(&circuit, &clock);
    let other = admit(&circuit);
    succeed(&circuit, 2);
    first.failure(Failure::hard());
    assert_eq!(why(&circuit), Reason::ProbeFailed { failures: 1, tolerated: 0, successes: 2 });
    assert_eq!((last(&circuit).to.state, last(&circuit).failure), (State::Open, Some(FailureKind::Error)));
    other.success();
    assert_eq!(state(&circuit), State::Open, "the third success came too late");
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
fn tolerated_failures_do_not_reopen_it_and_the_next_one_does() {
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
fn a_probe_past_its_deadline_reopens_it_at_the_next_call() {
    let (circuit, clock) = rig(|settings| settings.probe_deadline(secs(30)));
    let probe = probe(&circuit, &clock);
    clock.advance(secs(30) - millis(1));
    assert_eq!(reject(&circuit).reason(), RejectReason::HalfOpen, "it still has a millisecond");
    clock.advance(millis(1));
    let rejected = reject(&circuit);
    assert_eq!(
        (rejected.reason(), rejected.retry_after()),
        (RejectReason::Tripped, Some(secs(10))),
        "the second attempt"
    );
    assert_eq!(why(&circuit), Reason::ProbeOverdue { age: secs(30), deadline: secs(30) });
    drop(probe);
}

#[test]
fn a_probe_that_ends_past_its_deadline_is_overdue_however_it_ends() {
    type End = fn(Permit);
    let ends: [(&str, End); 4] = [
        ("success", Permit::success),
        ("failure", |probe| probe.failure(Failure::hard())),
        ("ignored", Permit::ignore),
        ("cancelled", drop),
    ];
    for (name, end) in ends {
        let (circuit, clock) = rig(|settings| settings.probes_in_flight(2).cancelled_never_counts());
        let probe = probe(&circuit, &clock);
        succeed(&circuit, 1);
        clock.advance(secs(30));
        // As it would be, had a call come in a moment before.
        end(probe);
        assert_eq!(why(&circuit), Reason::ProbeOverdue { age: secs(30), deadline: secs(30) }, "{name}");
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
fn probes_that_never_come_to_a_verdict_reopen_it_in_the_end() {
    for outcome in [None, Some(Outcome::Ignored)] {
        let (circuit, clock) = rig(|settings| settings.probe_deadline(secs(30)));
        let mut next = Some(probe(&circuit, &clock));
        for second in 0..=30 {
            assert_eq!(state(&circuit), State::HalfOpen, "{outcome:?}, second {second}");
            let probe = next.take().unwrap_or_else(|| admit(&circuit));
            match outcome {
                None => drop(probe),
                Some(outcome) => probe.record(outcome),
            }
            clock.advance(secs(1));
        }
        assert_eq!(why(&circuit), Reason::NoVerdict { half_open_for: secs(30) }, "{outcome:?}");
        assert_eq!(last(&circuit).to.state, State::Open, "{outcome:?}");
    }
}

#[test]
fn a_quiet_service_closes_it_at_the_next_call_after_a_minute_with_one_success() {
    let (circuit, clock) = rig(|settings| settings.probes(3).quiet_after(secs(60)));
    probe(&circuit, &clock).success();
    clock.advance(secs(60) - millis(1));
    assert!(admit(&circuit).is_probe(), "it is not yet a minute");
    clock.advance(millis(1));
    assert!(!admit(&circuit).is_probe());
    assert_eq!(why(&circuit), Reason::QuietService { successes: 1, half_open_for: secs(60) });
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_service_that_failed_a_probe_is_not_taken_for_a_quiet_one() {
    let (circuit, clock) = rig(|settings| settings.probes(3).probe_failures_tolerated(1));
    probe(&circuit, &clock).success();
    fail(&circuit, 1);
    clock.advance(secs(1_000));
    let probe = admit(&circuit);
    assert_eq!((probe.is_probe(), state(&circuit)), (true, State::HalfOpen));
}

#[test]
fn mixed_evidence_comes_to_a_verdict_too_while_calls_come() {
    // One success and one tolerated failure; after that the callers always give up early.
    let (circuit, clock) = rig(|settings| settings.probes(3).probe_failures_tolerated(1));
    probe(&circuit, &clock).success();
    fail(&circuit, 1);
    let ended = (0..24 * 3600).any(|_| {
        clock.advance(secs(1));
        drop(circuit.try_acquire());
        state(&circuit) != State::HalfOpen
    });
    assert!(ended, "it has been half-open for a day of one call a second");
}

#[test]
fn a_reset_lets_it_probe_and_starts_the_verdict_anew() {
    let (circuit, clock) = rig(|settings| settings.probes(3));
    probe(&circuit, &clock).success();
    succeed(&circuit, 1);
    circuit.reset(&alice(), To::HalfOpen);
    call(&circuit, 2, Outcome::Success);
    assert_eq!(state(&circuit), State::HalfOpen);
    succeed(&circuit, 1);
    assert_eq!(state(&circuit), State::Closed);
}
