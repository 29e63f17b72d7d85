//! Overdue probes: the slot of a probe that takes too long, its late result, and the time without a success.

use tower_circuit_breaker::state::{Reason, RejectReason};
use tower_circuit_breaker::{Failure, Permit, State};

use crate::rig::{admit, millis, probe, reject, rig, secs, state, why};

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
            assert!(half_open_for < secs(10_000), "after {doublings} doublings the circuit stays half-open");
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
