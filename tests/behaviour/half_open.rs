//! Half-open: who may probe, what the verdict is, and that there always is one.

mod gaps;
mod next_call;
mod overdue;
mod trust;
mod verdict;

use std::sync::Barrier;
use std::thread;

use tower_circuit_breaker::clock::Clock;
use tower_circuit_breaker::state::RejectReason;
use tower_circuit_breaker::{Failure, OpenDuration, Outcome, Permit, State};

use crate::dice::Dice;
use crate::rig::{admit, call, fail, millis, open, probe, reject, rig, secs, state, succeed, why};

#[test]
fn exactly_the_allowed_probes_pass_when_many_callers_race() {
    const CALLERS: u32 = 64;
    for allowed in [1, 3, 10, 64] {
        let (circuit, clock) = rig(|settings| settings.probes(10_000).probes_in_flight(allowed));
        for round in 0..20 {
            // The first caller after the wait also has to win the transition.
            clock.advance(open(&circuit).unwrap());
            let (start, end) = (Barrier::new(CALLERS as usize), Barrier::new(CALLERS as usize));
            let probe = || {
                start.wait();
                let permit = circuit.try_acquire();
                end.wait();
                permit.map(|permit| permit.is_probe())
            };
            let admitted: Vec<_> = thread::scope(|scope| {
                let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(probe)).collect();
                callers.into_iter().filter_map(|caller| caller.join().unwrap().ok()).collect()
            });
            assert_eq!(admitted.len(), allowed as usize, "round {round}");
            assert!(admitted.iter().all(|probe| *probe), "each of them is a probe");
            assert_eq!(circuit.status().probes.in_flight, 0, "dropped permits gave their slots back");
            fail(&circuit, 1);
        }
    }
}

#[test]
fn slots_are_neither_minted_nor_lost_while_callers_come_and_go() {
    let (circuit, clock) = rig(|settings| settings.probes(10_000).probes_in_flight(2));
    probe(&circuit, &clock).success();
    let held = admit(&circuit);
    let come_and_go = || {
        for _ in 0..2_000 {
            // One slot is held, so two permits of one caller mean that a third was minted.
            let first = circuit.try_acquire();
            let second = circuit.try_acquire();
            assert!(first.is_err() || second.is_err());
            // Not dropped, because probes without a verdict make room for others.
            first.into_iter().chain(second).for_each(Permit::success);
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(come_and_go);
        }
    });
    assert_eq!(circuit.status().probes.in_flight, 1);
    let other = admit(&circuit);
    reject(&circuit);
    drop((held, other));
}

#[test]
fn a_call_without_a_free_slot_is_rejected_as_half_open() {
    let (circuit, clock) = rig(|settings| settings);
    let probe = probe(&circuit, &clock);
    let rejected = reject(&circuit);
    assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::HalfOpen, None), "nobody knows how long");
    assert_eq!(rejected.why().unwrap().reason.as_str(), "consecutive_failures", "why it opened, not why it probes");
    drop(probe);
}

#[test]
fn every_end_of_a_probe_frees_its_slot() {
    let (circuit, clock) = rig(|settings| settings.probes(10).probe_failures_tolerated(10));
    drop(probe(&circuit, &clock));
    for outcome in [Outcome::Success, Outcome::Ignored, Outcome::failure(), Outcome::timeout()] {
        call(&circuit, 1, outcome);
        assert_eq!(circuit.status().probes.in_flight, 0, "{outcome:?}");
    }
    drop(admit(&circuit));
    assert_eq!((state(&circuit), circuit.status().probes.in_flight), (State::HalfOpen, 0), "cancelled");
}

#[test]
fn a_probe_of_an_earlier_era_is_stale_and_holds_no_slot() {
    let (circuit, clock) = rig(|settings| settings);
    let late = probe(&circuit, &clock);
    clock.advance(secs(60));
    reject(&circuit);
    assert_eq!(why(&circuit).as_str(), "no_success");
    late.success();
    assert_eq!((state(&circuit), circuit.status().totals.stale), (State::Open, 1), "it does not close the circuit");

    clock.advance(reject(&circuit).retry_after().unwrap());
    let late = admit(&circuit);
    clock.advance(secs(120));
    reject(&circuit);
    clock.advance(reject(&circuit).retry_after().unwrap());
    let probe = admit(&circuit);
    late.failure(Failure::hard());
    assert_eq!(state(&circuit), State::HalfOpen, "the failure of the last round says nothing of this one");
    reject(&circuit);
    probe.success();
    succeed(&circuit, 2);
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_circuit_is_never_stuck_while_calls_come() {
    // A call at least every second. Open for 66 s at most or until a Retry-After of 300 s, a probe holds its slot for 30 s.
    let longest = secs(300 + 30 + 66 + 2);
    for seed in 0..30 {
        let mut dice = Dice::new(seed);
        let one_of = |dice: &mut Dice, values: &[u32]| values[usize::try_from(dice.roll(values.len() as u64)).unwrap()];
        let (circuit, clock) = rig(|settings| {
            let settings =
                settings.probes(one_of(&mut dice, &[1, 3, 5])).probes_in_flight(one_of(&mut dice, &[1, 2, 4]));
            let settings = settings.probe_failures_tolerated(one_of(&mut dice, &[0, 0, 2]));
            settings.open_for(OpenDuration::default())
        });
        // Kept for ever, for a while, or not at all.
        let mut held = Vec::new();
        let mut admitted = clock.now();
        for _ in 0..20_000 {
            clock.advance(millis(dice.roll(1_000)));
            match circuit.try_acquire() {
                Err(_) => {
                    let waited = clock.now().saturating_since(admitted);
                    assert!(
                        waited < longest,
                        "seed {seed}: no call was admitted for {waited:?}: {:#?}",
                        circuit.status()
                    );
                }
                Ok(permit) => {
                    admitted = clock.now();
                    match dice.roll(7) {
                        0 | 1 => permit.failure(Failure::hard()),
                        2 => permit.failure(Failure::timeout().with_retry_after(secs(dice.roll(1_000)))),
                        3 => permit.success(),
                        4 => permit.ignore(),
                        5 => drop(permit),
                        _ => held.push(permit),
                    }
                }
            }
            if held.len() > 20 {
                held.swap_remove(usize::try_from(dice.roll(20)).unwrap()).record(Outcome::Success);
            }
        }
        assert!(circuit.status().era > 50, "seed {seed}: it has been through something");
    }
}
