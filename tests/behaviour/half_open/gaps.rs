//! Gaps in a verdict: probes that were cancelled or ignored, and the room that they make.

use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Outcome, State};

use crate::rig::{admit, fail, last, probe, reject, rig, secs, state, succeed, why};

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
