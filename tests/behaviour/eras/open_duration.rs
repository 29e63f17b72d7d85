//! How long a circuit stays open: shapes, jitter, attempts, and what the service asked for.

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::state::{Mode, Reason, Snapshot};
use tower_circuit_breaker::{Circuit, Failure, OpenDuration, State};

use crate::rig::{
    NANO, admit, alice, close, fail, last, millis, open, probe, reject, rig, secs, settings, state, succeed, why,
};

/// Fails a probe as soon as there is one; returns for how long the circuit then stays open.
#[track_caller]
fn reopen(circuit: &Circuit, clock: &MockClock) -> Duration {
    clock.advance(reject(circuit).retry_after().expect("it recovers by itself"));
    fail(circuit, 1);
    last(circuit).lasts.expect("it recovers by itself")
}

/// Opens a closed circuit by failures that ask to be left alone, and returns for how long it stays so.
#[track_caller]
fn open_asking(circuit: &Circuit, asked: [Option<Duration>; 5]) -> Option<Duration> {
    for asked in asked {
        let failure = asked.map_or(Failure::hard(), |after| Failure::hard().with_retry_after(after));
        admit(circuit).failure(failure);
    }
    last(circuit).lasts
}

#[test]
fn an_opening_ends_at_its_nanosecond_and_only_by_a_call() {
    let (circuit, clock) = rig(|settings| settings.open_for(OpenDuration::fixed(secs(60))));
    open(&circuit);
    clock.advance(secs(60) - NANO);
    assert_eq!(reject(&circuit).retry_after(), Some(NANO));
    clock.advance(NANO);
    assert_eq!((state(&circuit), circuit.status().retry_after), (State::Open, None), "nobody has called");
    assert!(admit(&circuit).is_probe());
    assert_eq!(why(&circuit), Reason::WaitElapsed { waited: secs(60) });
}

#[test]
fn an_exponential_open_duration_doubles_up_to_its_maximum() {
    let exponential = OpenDuration::exponential(secs(5), secs(60)).jitter(0.0);
    let (circuit, clock) = rig(|settings| settings.open_for(exponential));
    assert_eq!(open(&circuit), Some(secs(5)));
    for expected in [10, 20, 40, 60, 60] {
        assert_eq!(reopen(&circuit, &clock), secs(expected));
    }
    for _ in 0..100 {
        assert_eq!(reopen(&circuit, &clock), secs(60), "however often");
    }
}

#[test]
fn a_fixed_open_duration_does_not_grow() {
    let (circuit, clock) = rig(|settings| settings.open_for(OpenDuration::fixed(secs(7))));
    assert_eq!(open(&circuit), Some(secs(7)));
    for _ in 0..10 {
        assert_eq!(reopen(&circuit, &clock), secs(7));
    }
}

#[test]
fn an_open_duration_function_gets_the_attempt_and_is_clamped() {
    let function = OpenDuration::from_fn(|attempt| match attempt {
        1 => Duration::ZERO,
        2..9 => secs(u64::from(attempt)),
        _ => Duration::MAX,
    });
    let (circuit, clock) = rig(|settings| settings.open_for(function));
    assert_eq!(open(&circuit), Some(millis(1)), "not for no time");
    for attempt in 2..9 {
        assert_eq!(reopen(&circuit, &clock), secs(attempt));
    }
    assert_eq!(reopen(&circuit, &clock), secs(365 * 24 * 3600), "nor for ever");
}

#[test]
fn open_durations_spread_within_their_jitter_and_differently_for_each_seed() {
    let durations = |seed| {
        let clock = MockClock::new();
        let config = settings(&clock).seed(seed).open_for(OpenDuration::fixed(secs(100)).jitter(0.1));
        let circuit = Circuit::new(config.build().unwrap());
        open(&circuit);
        (0..1_000).map(|_| reopen(&circuit, &clock)).collect::<Vec<_>>()
    };
    let one = durations(1);
    assert!(one.iter().all(|open| (secs(90)..=secs(110)).contains(open)), "within a tenth");
    for tenth in (90..110).step_by(2) {
        let part = one.iter().filter(|open| (secs(tenth)..secs(tenth + 2)).contains(open)).count();
        assert!((50..200).contains(&part), "{part} of 1000 lie in {tenth}..{} s, about 100 should", tenth + 2);
    }
    assert_eq!(one, durations(1), "the same for the same seed");
    let apart = one.iter().zip(durations(2)).filter(|(one, two)| one.abs_diff(*two) > millis(100)).count();
    assert!(apart > 950, "only {apart} of 1000 differ by more than a thousandth for another seed");
}

#[test]
fn the_attempt_falls_by_one_for_each_last_open_duration_spent_closed() {
    // Three openings in a row last 5, 10 and 20 s.
    for (closed_for, next) in [(0, 40), (19, 40), (20, 20), (39, 20), (40, 10), (60, 5), (1_000_000, 5)] {
        let (circuit, clock) = rig(|settings| settings);
        open(&circuit);
        reopen(&circuit, &clock);
        reopen(&circuit, &clock);
        close(&circuit, &clock);
        clock.advance(secs(closed_for));
        assert_eq!(open(&circuit), Some(secs(next)), "after {closed_for} s closed");
    }
}

#[test]
fn a_reset_to_closed_forgets_the_attempts() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    reopen(&circuit, &clock);
    circuit.reset(&alice(), To::Closed);
    assert_eq!((open(&circuit), circuit.status().attempt), (Some(secs(5)), 1));
}

#[test]
fn the_latest_retry_after_is_a_floor_of_five_minutes_at_most() {
    let open_after = |asked| open_asking(&rig(|settings| settings).0, asked);
    let asked = |seconds| Some(secs(seconds));
    assert_eq!(open_after([None, None, None, None, asked(30)]), asked(30));
    assert_eq!(open_after([None, asked(30), None, None, None]), asked(30), "the others said nothing of it");
    assert_eq!(open_after([asked(30), None, None, asked(20), None]), asked(20), "the latest counts");
    assert_eq!(open_after([None, None, None, None, asked(2)]), asked(5), "it is a floor");
    assert_eq!(open_after([None, None, None, None, asked(301)]), asked(300));
    assert_eq!(open_after([None, None, None, None, Some(Duration::MAX)]), asked(300));
}

#[test]
fn a_retry_after_counts_from_its_arrival() {
    let (circuit, clock) = rig(|settings| settings);
    admit(&circuit).failure(Failure::hard().with_retry_after(secs(30)));
    clock.advance(secs(12));
    assert_eq!(open(&circuit), Some(secs(18)));
}

#[test]
fn a_retry_after_of_another_era_does_not_count() {
    let (circuit, clock) = rig(|settings| settings.open_for(OpenDuration::fixed(secs(5))));
    let straggler = admit(&circuit);
    open_asking(&circuit, [Some(secs(100)); 5]);
    straggler.failure(Failure::hard().with_retry_after(secs(200)));
    assert_eq!(reject(&circuit).retry_after(), Some(secs(100)));
    close(&circuit, &clock);
    assert_eq!(open(&circuit), Some(secs(5)));
}

#[test]
fn the_retry_after_of_a_failed_probe_counts() {
    let (circuit, clock) = rig(|settings| settings);
    probe(&circuit, &clock).failure(Failure::hard().with_retry_after(secs(120)));
    assert_eq!(reject(&circuit).retry_after(), Some(secs(120)));
}

#[test]
fn under_manual_recovery_an_opening_lasts_until_a_reset() {
    let (circuit, clock) = rig(|settings| settings.recovery(Recovery::Manual));
    assert_eq!(open(&circuit), None);
    for _ in 0..100 {
        clock.advance(secs(30 * 24 * 3600));
        assert_eq!(reject(&circuit).retry_after(), None);
    }
    assert!(reject(&circuit).to_string().ends_with("until an operator resets it"));
    circuit.reset(&alice(), To::HalfOpen);
    succeed(&circuit, 3);
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn under_manual_recovery_a_hold_ends_in_the_state_beneath() {
    let manual = || rig(|settings| settings.recovery(Recovery::Manual));
    let (circuit, clock) = manual();
    circuit.trip(&alice(), Some(secs(60)));
    reject(&circuit);
    clock.advance(secs(60));
    succeed(&circuit, 1);
    assert_eq!((circuit.status().mode, state(&circuit)), (Mode::Automatic, State::Closed));
    assert_eq!(why(&circuit), Reason::HoldEnded { held: secs(60) });

    let (circuit, clock) = manual();
    open(&circuit);
    circuit.trip(&alice(), Some(secs(60)));
    clock.advance(secs(1_000_000));
    assert_eq!(reject(&circuit).retry_after(), None, "it had opened by itself, and nobody has reset it");
    assert_eq!((circuit.status().mode, state(&circuit)), (Mode::Automatic, State::Open));
}

#[test]
fn a_night_of_openings_is_forgotten_as_soon_as_a_short_outage() {
    let (circuit, clock) = rig(|settings| settings);
    let first = open(&circuit).unwrap();
    clock.advance(first);
    // Eight hours of failed probes.
    for _ in 0..480 {
        fail(&circuit, 1);
        clock.advance(reject(&circuit).retry_after().unwrap());
    }
    assert_eq!(circuit.status().attempt, 5, "the fifth opening lasts 60 s, and a sixth would last no longer");
    succeed(&circuit, 3);
    clock.advance(secs(5 * 60));
    assert_eq!(open(&circuit), Some(secs(5)), "five minutes later");
}

#[test]
fn restored_attempts_are_no_more_than_the_circuit_would_count() {
    let (circuit, clock) = rig(|settings| settings);
    let mut snapshot = Snapshot::closed();
    snapshot.attempt = 484;
    circuit.adopt(&snapshot, Reason::Restored);
    assert_eq!(circuit.status().attempt, 5);
    clock.advance(secs(5 * 60));
    assert_eq!(open(&circuit), Some(secs(5)));
}
