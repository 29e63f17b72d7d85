//! Hours of services that are dead, hang or answer, with callers whose probes come to no verdict.

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::{Circuit, Failure, Outcome, Permit, State};

use crate::dice::Dice;
use crate::rig::{alice, millis, open, rig, secs, state};

type End = fn(Permit);

/// Calls a service every `every` for a while. `end` gives the duration and the end of each call that is admitted. Returns the
/// number of calls that reached the service.
fn play(
    (circuit, clock): &(Circuit, MockClock),
    (lasts, every): (Duration, Duration),
    mut end: impl FnMut() -> (Duration, End),
) -> u64 {
    let (mut now, mut reached) = (Duration::ZERO, 0);
    let mut calls: Vec<(Duration, End, Permit)> = Vec::new();
    while now < lasts {
        clock.advance(every);
        now += every;
        for (_, end, permit) in calls.extract_if(.., |(at, ..)| now >= *at) {
            end(permit);
        }
        if let Ok(permit) = circuit.try_acquire() {
            let (takes, end) = end();
            reached += 1;
            if takes.is_zero() { end(permit) } else { calls.push((now + takes, end, permit)) }
        }
    }
    calls.into_iter().for_each(|(_, end, permit)| end(permit));
    reached
}

const HOUR: Duration = secs(3600);

#[test]
fn dropped_permits_reach_a_dead_service_four_times_for_each_opening() {
    for every in [millis(50), secs(1)] {
        let rig = rig(|settings| settings);
        let reached = play(&rig, (HOUR, every), || (Duration::ZERO, drop));
        let openings = rig.0.status().transitions.iter().filter(|edge| edge.to.state == State::Open).count();
        // Ten halves open the circuit for 5 s, then for 10, 20, 40 and at last 60 s. An opening ends with the next call.
        assert!(reached <= 10 + 4 * (4 + (3600 - 75) / 60 + 1), "a call every {every:?}: {reached} calls in an hour");
        assert!(openings > 30, "{openings} openings");
    }
}

#[test]
fn recorded_failures_reach_a_dead_service_once_for_each_opening() {
    let rig = rig(|settings| settings);
    let reached = play(&rig, (HOUR, millis(100)), || (Duration::ZERO, |permit| permit.failure(Failure::hard())));
    assert!(reached <= 5 + 4 + (3600 - 75) / 60 + 1, "{reached} calls");
}

fn deadline_of_500_ms(permit: Permit) {
    permit.record(Outcome::deadline(millis(500)));
}

#[test]
fn deadlines_of_callers_reach_a_hanging_service_for_a_second_of_each_opening() {
    for per_second in [1_u64, 20] {
        let rig = rig(|settings| settings);
        let every = millis(1_000 / per_second);
        let reached = play(&rig, (HOUR, every), || (millis(500), deadline_of_500_ms));
        // Twenty quarters open the circuit, and the calls of half a second are under way meanwhile. Each opening ends with six
        // probes of a quarter, and with the calls that begin until two of them have ended.
        let round = 6 + per_second / 2 + 2 + 1;
        let most = 20 + per_second + round * (4 + (3600 - 75) / 60 + 1);
        assert!(reached <= most, "{per_second} a second: {reached} calls in an hour, at most {most}");
    }
}

#[test]
fn impatient_callers_keep_a_healthy_service_closed_for_a_day() {
    // Every caller gives up before the service answers, and says so.
    let rig = rig(|settings| settings);
    rig.0.reset(&alice(), To::HalfOpen);
    play(&rig, (24 * HOUR, millis(700)), || (millis(600), Permit::cancel));
    assert_eq!(rig.0.status().attempt, 0, "it never opened");
    assert!(rig.0.status().transitions.len() <= 2, "it closed once");
    assert_eq!(state(&rig.0), State::Closed);
}

#[test]
fn a_healthy_service_with_mostly_impatient_callers_closes_soon_and_stays_closed() {
    // The service takes 200 ms. Nineteen of twenty callers allow 50 ms, of which a deadline weighs little. All patient
    // calls succeed. After each closing, the impatient calls end first.
    for seed in 0..10 {
        let rig = rig(|settings| settings);
        let mut dice = Dice::new(seed);
        rig.1.advance(open(&rig.0).unwrap());
        let mut calls = |lasts| {
            play(&rig, (lasts, millis(10)), || match dice.roll(20) {
                0 => (millis(200), Permit::success),
                _ => (millis(50), |permit| permit.record(Outcome::deadline(millis(50)))),
            });
        };
        calls(secs(30));
        assert_eq!(state(&rig.0), State::Closed, "seed {seed}: {:#?}", rig.0.status());
        let era = rig.0.status().era;
        calls(secs(300));
        assert_eq!(rig.0.status().era, era, "seed {seed}: it stays closed");
    }
}

#[test]
fn hedges_that_drop_the_permit_of_the_slower_twin_close_the_circuit() {
    let (circuit, clock) = rig(|settings| settings);
    clock.advance(open(&circuit).unwrap());
    for _ in 0..10 {
        let (first, twin) = (circuit.try_acquire(), circuit.try_acquire());
        clock.advance(millis(100));
        match (first, twin) {
            (Ok(first), Ok(twin)) => {
                first.success();
                drop(twin);
            }
            // The rejection comes first and ends the hedge.
            (first, twin) => drop((first, twin)),
        }
    }
    assert_eq!((state(&circuit), circuit.status().attempt), (State::Closed, 1), "it did not open again");
}

#[test]
fn a_mostly_dead_service_closes_only_with_successes_in_its_favour() {
    // A tenth of the calls succeed, and the others are dropped by a `?`. A call every 100 ms for an hour.
    let rig = rig(|settings| settings);
    let mut dice = Dice::new(7);
    let reached =
        play(&rig, (HOUR, millis(100)), || (Duration::ZERO, if dice.roll(10) == 0 { Permit::success } else { drop }));
    assert!(reached < 36_000 / 4, "{reached} of 36000 calls");
}
