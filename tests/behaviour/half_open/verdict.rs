//! The verdict on a half-open circuit: when it falls, and what it says.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Reason, RejectReason};
use tower_circuit_breaker::{Failure, Outcome, Permit, State};

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
fn an_overdue_probe_gives_its_slot_to_the_next_call() {
    let (circuit, clock) = rig(|settings| settings.probe_deadline(secs(30)));
    let overdue = probe(&circuit, &clock);
    clock.advance(secs(30) - millis(1));
    assert_eq!(reject(&circuit).reason(), RejectReason::HalfOpen, "it still has a millisecond");
    clock.advance(millis(1));
    let next = admit(&circuit);
    assert!(next.is_probe());
    reject(&circuit);
    drop((overdue, next));
}

#[test]
fn the_result_of_an_overdue_probe_still_counts() {
    let (circuit, clock) = rig(|settings| settings.probes(2));
    let first = probe(&circuit, &clock);
    clock.advance(secs(31));
    let second = admit(&circuit);
    first.success();
    assert_eq!(
        (circuit.status().probes.successes, circuit.status().probes.in_flight),
        (1, 1),
        "the slot is the second's"
    );
    second.success();
    assert_eq!(why(&circuit), Reason::ProbesPassed { successes: 2, half_open_for: secs(31) });

    let (circuit, clock) = rig(|settings| settings);
    let first = probe(&circuit, &clock);
    clock.advance(secs(31));
    drop(admit(&circuit));
    first.failure(Failure::hard());
    assert_eq!(state(&circuit), State::Open);
}

#[test]
fn a_circuit_opens_again_after_twice_the_probe_deadline_without_a_success() {
    let (circuit, clock) = rig(|settings| settings.probe_deadline(secs(30)));
    let first = probe(&circuit, &clock);
    clock.advance(secs(30));
    let second = admit(&circuit);
    clock.advance(secs(30) - millis(1));
    assert_eq!(reject(&circuit).reason(), RejectReason::HalfOpen);
    clock.advance(millis(1));
    let rejected = reject(&circuit);
    assert_eq!(
        (rejected.reason(), rejected.retry_after()),
        (RejectReason::Tripped, Some(secs(10))),
        "the second attempt"
    );
    assert_eq!(why(&circuit), Reason::NoSuccess { half_open_for: secs(60) });
    drop((first, second));
}

#[test]
fn a_quiet_circuit_does_not_open_again_because_no_call_has_come() {
    let (circuit, clock) = rig(|settings| settings);
    probe(&circuit, &clock).ignore();
    clock.advance(secs(3600));
    assert!(admit(&circuit).is_probe(), "no probe is overdue");
}

#[test]
fn each_round_in_vain_waits_twice_as_long_for_a_success() {
    let (circuit, clock) = rig(|settings| settings.probe_deadline(secs(30)));
    let mut held = vec![probe(&circuit, &clock)];
    for doublings in [0_u32, 1, 2, 3, 4, 5, 5] {
        let mut half_open_for = secs(0);
        while state(&circuit) == State::HalfOpen {
            clock.advance(secs(30));
            half_open_for += secs(30);
            held.extend(circuit.try_acquire());
        }
        assert_eq!(half_open_for, secs(60 << doublings));
        clock.advance(reject(&circuit).retry_after().unwrap());
        held.push(admit(&circuit));
    }
    // A failed probe says more than an overdue one.
    held.pop().unwrap().failure(Failure::hard());
    clock.advance(reject(&circuit).retry_after().unwrap());
    held.push(admit(&circuit));
    clock.advance(secs(60));
    reject(&circuit);
    assert_eq!(why(&circuit), Reason::NoSuccess { half_open_for: secs(60) }, "it begins anew");
}

#[test]
fn services_recover_however_long_their_calls_take() {
    for seconds in [29, 31, 59, 60, 61, 90, 300, 1_000] {
        let (circuit, clock) = rig(|settings| settings);
        let mut calls: Vec<(u64, Permit)> = vec![(0, probe(&circuit, &clock))];
        let mut now = 0;
        while state(&circuit) != State::Closed {
            assert!(now < 6 * seconds + 600, "{seconds} s a call: still {:?} after {now} s", circuit.status().state);
            now += 1;
            clock.advance(secs(1));
            // The calls that are done, and then one new call.
            for (_, done) in calls.extract_if(.., |(began, _)| now - *began >= seconds) {
                done.success();
            }
            calls.extend(circuit.try_acquire().map(|permit| (now, permit)));
        }
    }
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
            }
            held.remove(0).success();
        }
        assert!(admitted <= probes + tolerated, "{probes}, {in_flight}, {tolerated}: {admitted}");
        assert_eq!(state(&circuit), State::Closed);
    }
}

#[test]
fn a_probe_without_a_verdict_makes_room_for_another() {
    let (circuit, clock) = rig(|settings| settings.probes(3).probes_in_flight(3));
    let first = probe(&circuit, &clock);
    let (second, third) = (admit(&circuit), admit(&circuit));
    reject(&circuit);
    second.ignore();
    drop(admit(&circuit));
    succeed(&circuit, 1);
    first.success();
    third.success();
    assert_eq!(state(&circuit), State::Closed);
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
fn probes_that_never_come_to_a_verdict_close_the_circuit_after_the_deadline() {
    for outcome in [None, Some(Outcome::Ignored)] {
        let (circuit, clock) = rig(|settings| settings.probe_deadline(secs(30)));
        let mut next = Some(probe(&circuit, &clock));
        for second in 0..=30 {
            assert_eq!(state(&circuit), State::HalfOpen, "{outcome:?}, second {second}");
            let probe = next.take().unwrap_or_else(|| admit(&circuit));
            match outcome {
                None => probe.cancel(),
                Some(outcome) => probe.record(outcome),
            }
            clock.advance(secs(1));
        }
        assert_eq!(why(&circuit), Reason::NoVerdict { half_open_for: secs(30) }, "{outcome:?}");
        assert_eq!(last(&circuit).to.state, State::Closed, "{outcome:?}");
    }
}

#[test]
fn two_probes_without_a_verdict_close_nothing() {
    let (circuit, clock) = rig(|settings| settings);
    drop(probe(&circuit, &clock));
    clock.advance(secs(3600));
    drop(admit(&circuit));
    assert_eq!(state(&circuit), State::HalfOpen);
    drop(admit(&circuit));
    assert_eq!(state(&circuit), State::Closed, "the third");
}

#[test]
fn probes_without_a_verdict_close_nothing_while_another_probe_hangs() {
    let (circuit, clock) = rig(|settings| settings.probes_in_flight(2).cancelled_never_counts());
    let hangs = probe(&circuit, &clock);
    for _ in 0..32 {
        assert_eq!(state(&circuit), State::HalfOpen);
        clock.advance(secs(1));
        drop(circuit.try_acquire());
    }
    assert_eq!(state(&circuit), State::Closed, "the third after the probe that hangs has given its slot back");
    drop(hangs);
}

#[test]
fn a_hedge_gets_both_of_its_requests_through_once_one_probe_was_cancelled() {
    let (circuit, clock) = rig(|settings| settings);
    let first = probe(&circuit, &clock);
    // The twin is rejected, its rejection wins, and the probe is dropped.
    reject(&circuit);
    drop(first);
    let (first, twin) = (admit(&circuit), admit(&circuit));
    assert!(first.is_probe() && twin.is_probe());
    reject(&circuit);
    first.success();
    drop(twin);
    succeed(&circuit, 2);
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_hedge_gets_both_of_its_requests_through_whatever_is_missing() {
    for (probes, successes) in [(1, 0), (3, 1), (3, 2)] {
        let (circuit, clock) = rig(|settings| settings.probes(probes));
        let first = probe(&circuit, &clock);
        if successes > 0 {
            first.success();
            succeed(&circuit, successes - 1);
            drop(admit(&circuit));
        } else {
            drop(first);
        }
        let (first, twin) = (admit(&circuit), admit(&circuit));
        assert!(first.is_probe() && twin.is_probe(), "{probes} probes, {successes} successes");
        reject(&circuit);
        first.success();
        drop(twin);
    }
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
