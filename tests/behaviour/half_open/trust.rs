//! Trust: a circuit that closed without a verdict is careful until its first success.

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::{ConfigBuilder, Recovery};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Circuit, Failure, Outcome, Permit, State, Window};

use crate::rig::{
    Dice, admit, alice, call, fail, last, millis, no_rules, open, probe, reject, rig, secs, state, succeed, weighing,
    why,
};

/// Opens the circuit, waits until it probes, and drops three probes.
fn trusting(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock) {
    let (circuit, clock) = rig(change);
    circuit.reset(&alice(), To::HalfOpen);
    close_without_a_verdict(&circuit);
    (circuit, clock)
}

fn close_without_a_verdict(circuit: &Circuit) {
    for _ in 0..3 {
        let probe = admit(circuit);
        assert!(probe.is_probe());
        drop(probe);
    }
    assert_eq!(why(circuit), Reason::NoVerdict { half_open_for: secs(0) });
    assert_eq!(state(circuit), State::Closed);
}

/// Ends a permit that has waited for 500 ms by a deadline of the caller.
fn let_deadline_pass(clock: &MockClock, permit: Permit) {
    clock.advance(millis(500));
    permit.record(Outcome::deadline(millis(500)));
}

#[test]
fn a_circuit_on_trust_opens_at_half_a_failure_for_the_next_open_duration() {
    let (circuit, clock) = rig(|settings| settings);
    let mut wait = open(&circuit).unwrap();
    for expected in [10, 20, 40, 60, 60] {
        clock.advance(wait);
        close_without_a_verdict(&circuit);
        drop(admit(&circuit));
        let edge = last(&circuit);
        assert_eq!(
            (edge.reason, edge.failure),
            (Reason::Unproven { score: 0.5 }, Some(FailureKind::Named("unrecorded")))
        );
        wait = edge.lasts.unwrap();
        assert_eq!(wait, secs(expected));
    }
    assert_eq!(
        reject(&circuit).why().unwrap().reason.to_string(),
        "failures weighed 0.5 before any success, and the circuit had closed without a verdict of its probes"
    );
}

#[test]
fn time_on_trust_is_no_recovery_that_shortens_openings() {
    let (circuit, clock) = rig(|settings| settings);
    for expected in [10, 20, 40, 60] {
        clock.advance(open(&circuit).unwrap());
        close_without_a_verdict(&circuit);
        clock.advance(secs(24 * 3600));
        fail(&circuit, 1);
        assert_eq!(last(&circuit).lasts, Some(secs(expected)));
    }
    clock.advance(secs(60));
    close_without_a_verdict(&circuit);
    clock.advance(secs(24 * 3600));
    admit(&circuit).failure(Failure::hard().trips_at_once());
    assert_eq!((why(&circuit), last(&circuit).lasts), (Reason::AtOnce, Some(secs(60))));
}

#[test]
fn the_first_success_ends_the_trust() {
    let (circuit, clock) = rig(|settings| settings);
    clock.advance(open(&circuit).unwrap());
    close_without_a_verdict(&circuit);
    succeed(&circuit, 1);
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed, "the limit is 5 again");
    clock.advance(secs(3600));
    fail(&circuit, 1);
    assert_eq!(
        (why(&circuit).as_str(), last(&circuit).lasts),
        ("consecutive_failures", Some(secs(5))),
        "it had healed"
    );
}

#[test]
fn a_success_between_two_quarters_of_a_failure_ends_the_trust() {
    let (circuit, _clock) = trusting(|settings| settings);
    admit(&circuit).failure(weighing(0.25));
    succeed(&circuit, 1);
    admit(&circuit).failure(weighing(0.25));
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn half_a_failure_opens_a_circuit_on_trust_under_every_rule() {
    let rules: [fn(ConfigBuilder) -> ConfigBuilder; 8] = [
        |settings| settings,
        |settings| settings.consecutive_failures(100),
        |settings| no_rules(settings).failure_rate(0.9).min_calls(1_000),
        |settings| no_rules(settings).failure_rate(1.0).window(Window::calls(500)).min_calls(500),
        |settings| no_rules(settings).failure_score(50.0),
        |settings| no_rules(settings).slow_call_rate(0.5).slower_than(secs(30)),
        |settings| no_rules(settings).trip_on_any_outcome(true).failure_rate(0.9).sharded(),
        no_rules,
    ];
    let endings: [fn(&Circuit, &MockClock); 6] = [
        |circuit, _| drop(admit(circuit)),
        |circuit, _| fail(circuit, 1),
        |circuit, _| call(circuit, 1, Outcome::timeout()),
        |circuit, _| (0..5).for_each(|_| admit(circuit).failure(weighing(0.1))),
        |circuit, clock| (0..2).for_each(|_| let_deadline_pass(clock, admit(circuit))),
        |circuit, clock| {
            let permit = admit(circuit);
            clock.advance(secs(1));
            permit.cancel();
        },
    ];
    for (rule, rules) in rules.into_iter().enumerate() {
        for (ending, end) in endings.into_iter().enumerate() {
            let (circuit, clock) = trusting(rules);
            end(&circuit, &clock);
            assert_eq!(
                (state(&circuit), why(&circuit).as_str()),
                (State::Open, "unproven"),
                "rules {rule}, end {ending}"
            );
        }
    }
}

#[test]
fn ends_without_weight_change_nothing_on_trust() {
    let (circuit, _clock) = trusting(|settings| settings);
    for _ in 0..1_000 {
        admit(&circuit).ignore();
        admit(&circuit).cancel();
        admit(&circuit).record(Outcome::deadline(millis(500)));
    }
    assert_eq!(state(&circuit), State::Closed, "a deadline without a wait has no weight");
    drop(admit(&circuit));
    assert_eq!(why(&circuit), Reason::Unproven { score: 0.5 });
}

#[test]
fn a_quiet_closing_is_on_trust_if_a_probe_came_to_no_verdict() {
    for (has_gap, expected) in [(true, State::Open), (false, State::Closed)] {
        let (circuit, clock) = rig(|settings| settings);
        probe(&circuit, &clock).success();
        if has_gap {
            drop(admit(&circuit));
        }
        clock.advance(secs(60));
        drop(admit(&circuit));
        assert_eq!(state(&circuit), expected);
    }
}

#[test]
fn three_doubtful_probes_after_a_tolerated_failure_open_the_circuit() {
    let (circuit, clock) = rig(|settings| settings.probe_failures_tolerated(1));
    probe(&circuit, &clock).failure(Failure::hard());
    for _ in 0..3 {
        drop(admit(&circuit));
    }
    assert_eq!((state(&circuit), why(&circuit)), (State::Open, Reason::NoVerdict { half_open_for: secs(0) }));
}

#[test]
fn a_manual_circuit_on_trust_opens_until_a_reset() {
    let (circuit, clock) = trusting(|settings| settings.recovery(Recovery::Manual));
    drop(admit(&circuit));
    clock.advance(secs(24 * 3600));
    assert_eq!((why(&circuit).as_str(), reject(&circuit).retry_after()), ("unproven", None));
}

#[test]
fn a_circuit_in_shadow_takes_the_edges_of_trust() {
    let (circuit, _clock) = trusting(|settings| settings.shadow());
    drop(admit(&circuit));
    assert_eq!((state(&circuit), why(&circuit).as_str()), (State::Open, "unproven"));
}

#[test]
fn only_a_closing_without_a_verdict_is_on_trust() {
    let (circuit, clock) = rig(|settings| settings);
    probe(&circuit, &clock).success();
    drop(admit(&circuit));
    succeed(&circuit, 2);
    assert_eq!(why(&circuit).as_str(), "probes_passed");
    fail(&circuit, 4);
    circuit.reset(&alice(), To::HalfOpen);
    circuit.reset(&alice(), To::Closed);
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_new_mode_or_a_restart_forgets_the_trust() {
    let (circuit, _clock) = trusting(|settings| settings);
    let (restarted, _) = rig(|settings| settings);
    restarted.adopt(&circuit.snapshot(), Reason::Restored);
    circuit.shadow(&alice());
    circuit.resume(&alice());
    for circuit in [circuit, restarted] {
        fail(&circuit, 4);
        assert_eq!(state(&circuit), State::Closed);
    }
}

#[test]
fn a_run_that_a_restore_adds_opens_a_circuit_on_trust_with_the_next_failure() {
    let (circuit, _clock) = trusting(|settings| settings);
    assert_eq!(circuit.status().run, 0.0, "the trust is no weight");
    let mut snapshot = circuit.snapshot();
    snapshot.run = 2.0;
    circuit.adopt(&snapshot, Reason::Restored);
    assert_eq!((state(&circuit), circuit.status().run), (State::Closed, 2.0));
    admit(&circuit).failure(weighing(1e-9));
    assert_eq!(why(&circuit).as_str(), "unproven");
}

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
        let mut dice = Dice(seed);
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
    let mut dice = Dice(7);
    let reached =
        play(&rig, (HOUR, millis(100)), || (Duration::ZERO, if dice.roll(10) == 0 { Permit::success } else { drop }));
    assert!(reached < 36_000 / 4, "{reached} of 36000 calls");
}
