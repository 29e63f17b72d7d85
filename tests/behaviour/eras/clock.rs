//! Clocks that do what no clock should.

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::{Clock, Tick};
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::{Failure, State, Window};

use crate::dice::Dice;
use crate::rig::{admit, alice, fail, millis, no_rules, open, reject, rig, secs, state, succeed};

#[test]
fn while_the_clock_stands_still_a_circuit_trips_and_stays_open() {
    let (circuit, _) = rig(|settings| settings);
    succeed(&circuit, 1_000);
    fail(&circuit, 20);
    for _ in 0..1_000 {
        assert_eq!(reject(&circuit).retry_after(), Some(secs(5)));
    }
}

#[test]
fn a_clock_that_jumps_forward_half_opens_at_the_next_call() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    clock.advance(secs(24 * 3600));
    succeed(&circuit, 3);
    assert_eq!(state(&circuit), State::Closed, "a laptop was shut for a day");
}

#[test]
fn a_clock_that_jumps_back_acts_like_a_clock_that_stands_still() {
    let (circuit, clock) = rig(|settings| settings);
    let started = clock.now();
    fail(&circuit, 4);
    clock.set(Tick::ZERO);
    assert_eq!(circuit.status().since, Duration::ZERO);
    fail(&circuit, 1);
    assert_eq!(state(&circuit), State::Open, "the run is not lost");
    clock.set(started);
    let probe = admit(&circuit);
    clock.set(Tick::ZERO);
    drop(circuit.try_acquire());
    probe.success();
    succeed(&circuit, 2);
    assert_eq!(state(&circuit), State::Closed, "no probe is overdue before it began");
}

#[test]
fn a_clock_that_jumps_back_loses_no_outcome_of_the_totals() {
    // 15 s back: in the 10 s window, the buckets of then are those of now.
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(1.0));
    for _ in 0..10 {
        succeed(&circuit, 10);
        clock.advance(secs(1));
    }
    clock.set(Tick::from_nanos(clock.now().as_nanos() - 15_000_000_000));
    fail(&circuit, 50);
    let totals = circuit.totals();
    assert_eq!((totals.successes, totals.failures), (100, 50));
}

#[test]
fn a_clock_at_its_last_tick_ends_openings_with_an_end_only() {
    for (recovery, admits) in [(Recovery::Automatic, true), (Recovery::Manual, false)] {
        let (circuit, clock) = rig(|settings| settings.recovery(recovery));
        clock.set(Tick::from_nanos(u64::MAX - 1));
        open(&circuit);
        clock.set(Tick::from_nanos(u64::MAX));
        assert_eq!(circuit.try_acquire().is_ok(), admits, "{recovery:?}");
        circuit.trip(&alice(), None);
        reject(&circuit);
    }
}

#[test]
fn a_clock_that_wanders_breaks_nothing() {
    for shape in [Window::time(secs(10)), Window::time(millis(100)), Window::calls(50)] {
        let (circuit, clock) = rig(|settings| settings.window(shape).slow_call_rate(0.9).slower_than(secs(1)));
        let mut dice = Dice::new(7);
        let mut held = Vec::new();
        for step in 0..20_000_u64 {
            let to = match dice.roll(8) {
                0 => 0,
                1 => u64::MAX,
                2 => u64::MAX - dice.roll(1_000_000_000),
                3 => clock.now().as_nanos().saturating_sub(dice.roll(100_000_000_000)),
                _ => clock.now().as_nanos().saturating_add(dice.roll(10_000_000_000)),
            };
            clock.set(Tick::from_nanos(to));
            held.extend(circuit.try_acquire());
            if dice.roll(3) > 0 && !held.is_empty() {
                let permit = held.swap_remove(usize::try_from(dice.roll(held.len() as u64)).unwrap());
                match dice.roll(4) {
                    0 => permit.success(),
                    1 => permit.cancel(),
                    2 => permit.failure(Failure::timeout().with_retry_after(Duration::MAX)),
                    _ => permit.failure(Failure::hard()),
                }
            }
            // A status copies all transitions: now and then will do.
            let status = if step % 32 == 0 { circuit.status() } else { continue };
            assert!(status.tally.calls() <= step + 1, "{status:?}");
            assert!(status.failure_rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)), "{status:?}");
        }
        assert!(circuit.status().era > 10, "it has been through something");
    }
}

#[test]
fn a_clock_that_counts_from_the_epoch_is_as_good_as_any() {
    let (circuit, clock) = rig(|settings| settings);
    clock.set(Tick::from_nanos(1_800_000_000_000_000_000));
    circuit.reset(&alice(), To::Closed);
    for _ in 0..5 {
        admit(&circuit).failure(Failure::hard().with_retry_after(secs(120)));
    }
    assert_eq!(reject(&circuit).retry_after(), Some(secs(120)), "what the service asked for");
    clock.advance(secs(120));
    let hangs = admit(&circuit);
    assert!(hangs.is_probe());
    clock.advance(secs(60));
    reject(&circuit);
    assert_eq!(state(&circuit), State::Open, "the probe is overdue, and no other has succeeded");
}

#[test]
fn a_call_that_began_at_tick_zero_has_begun() {
    let (circuit, clock) = rig(|settings| settings);
    clock.set(Tick::ZERO);
    let permit = admit(&circuit);
    clock.advance(secs(10));
    drop(permit);
    assert_eq!(circuit.totals().failures, 1, "a late cancellation is a timeout");
}
