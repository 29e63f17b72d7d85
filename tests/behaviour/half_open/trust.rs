//! Trust: a circuit that closed without a verdict is careful until its first success.

mod hours;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::{ConfigBuilder, Recovery};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Circuit, Failure, Outcome, Permit, State, Window};

use crate::rig::{
    admit, alice, call, fail, last, millis, no_rules, open, probe, reject, rig, secs, state, succeed, weighing, why,
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
    let (circuit, _clock) = trusting(ConfigBuilder::shadow);
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
    let mut snapshot = circuit.snapshot();
    assert_eq!((circuit.status().run, snapshot.run), (0.0, 0.0), "the trust is no weight");
    snapshot.run = 2.0;
    circuit.adopt(&snapshot, Reason::Restored);
    assert_eq!((state(&circuit), circuit.status().run), (State::Closed, 2.0));
    admit(&circuit).failure(weighing(1e-9));
    assert_eq!(why(&circuit).as_str(), "unproven");
}
