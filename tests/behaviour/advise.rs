//! Another instance opened: for a while, less evidence is enough here.

use std::sync::Arc;
use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::state::{Reason, Snapshot};
use tower_circuit_breaker::window::Tally;
use tower_circuit_breaker::{Circuit, State};

use crate::rig::{NANO, alice, fail, millis, no_rules, open, reject, rig, secs, state, succeed, time_out, why};

fn advised(rule: Reason) -> Reason {
    Reason::Advised { rule: Arc::new(rule) }
}

#[test]
fn on_advice_a_quarter_of_a_run_trips_with_the_reason_advised() {
    let (circuit, _) = rig(|settings| settings.consecutive_failures(9));
    circuit.advise(secs(60));
    fail(&circuit, 2);
    assert_eq!(state(&circuit), State::Closed, "a quarter of nine, rounded up, is three");
    fail(&circuit, 1);
    assert_eq!(why(&circuit), advised(Reason::ConsecutiveFailures { score: 3.0, limit: 3.0, set: 9.0 }));
    assert_eq!(why(&circuit).as_str(), "advised");
    assert_eq!(
        reject(&circuit).why().expect("it opened").reason.to_string(),
        "failures in a row weighed 3.0, the limit is 3.0, lowered from 9.0, thresholds lowered because another instance opened"
    );
}

#[test]
fn a_lowered_run_is_two_at_least_and_never_longer_than_configured() {
    for (configured, lowered) in [(1, 1), (2, 2), (3, 2), (8, 2)] {
        let (circuit, _) = rig(|settings| settings.consecutive_failures(configured));
        circuit.advise(secs(60));
        fail(&circuit, lowered - 1);
        assert_eq!(state(&circuit), State::Closed, "{configured}");
        fail(&circuit, 1);
        assert_eq!(state(&circuit), State::Open, "{configured}");
        let rule = Reason::ConsecutiveFailures { score: lowered.into(), limit: lowered.into(), set: configured.into() };
        let expected = if configured == lowered { rule } else { advised(rule) };
        assert_eq!(why(&circuit), expected, "what would have tripped anyway did not trip on advice");
    }
}

#[test]
fn advice_quarters_the_min_calls_of_a_rate_and_keeps_its_limit() {
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(0.5).min_calls(20));
    circuit.advise(secs(60));
    clock.advance(secs(2));
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed, "four calls are less than a quarter of twenty");
    fail(&circuit, 1);
    assert_eq!(why(&circuit), advised(Reason::FailureRate { rate: 1.0, limit: 0.5, score: 5.0, calls: 5 }));
}

/// Returns a circuit after half an hour of a call each second, of which each `nth` has failed.
fn after_half_an_hour(nth: u32) -> (Circuit, MockClock) {
    let (circuit, clock) = rig(|settings| settings);
    for call in 1..=1_800 {
        if call % nth == 0 {
            fail(&circuit, 1);
        } else {
            succeed(&circuit, 1);
        }
        clock.advance(secs(1));
    }
    circuit.advise(secs(60));
    (circuit, clock)
}

#[test]
fn on_advice_a_rate_that_is_usual_for_the_circuit_trips_nothing() {
    // 20 % have failed so far. Four of ten are the limit, and chance.
    let (circuit, clock) = after_half_an_hour(5);
    for _ in 0..6 {
        for outcome in [succeed, fail, succeed, fail, succeed, succeed, fail] {
            outcome(&circuit, 1);
            clock.advance(secs(1));
        }
    }
    assert_eq!(state(&circuit), State::Closed, "{:?}", circuit.status());
}

#[test]
fn on_advice_an_unusual_rate_trips_a_circuit_that_rarely_fails() {
    let (circuit, clock) = after_half_an_hour(1_000);
    for _ in 0..4 {
        fail(&circuit, 1);
        clock.advance(secs(1));
    }
    let Reason::Advised { rule } = why(&circuit) else { panic!("{:?}", circuit.status()) };
    assert!(matches!(*rule, Reason::FailureRate { calls: 10, .. }), "{rule:?}");
}

#[test]
fn timeouts_of_the_outage_are_no_usual_errors_of_the_circuit() {
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(0.4).min_calls(60));
    succeed(&circuit, 50);
    clock.advance(secs(60));
    circuit.advise(secs(60));
    succeed(&circuit, 3);
    // The timeouts weigh 6.0. A count would take half of them for failures before the window, so that 15 % were usual.
    time_out(&circuit, 12);
    assert_eq!(why(&circuit), advised(Reason::FailureRate { rate: 0.4, limit: 0.4, score: 6.0, calls: 15 }));
}

#[test]
fn a_run_that_is_longer_than_the_window_is_no_usual_error() {
    let (circuit, clock) = rig(|settings| settings.consecutive_failures(12));
    succeed(&circuit, 20);
    circuit.advise(secs(600));
    for _ in 0..3 {
        clock.advance(secs(20));
        fail(&circuit, 1);
    }
    assert_eq!(why(&circuit), advised(Reason::ConsecutiveFailures { score: 3.0, limit: 3.0, set: 12.0 }));
}

#[test]
fn a_restored_window_of_failures_is_no_success_of_the_circuit() {
    for (weight, expected) in [(0.5, State::Open), (0.45, State::Closed)] {
        let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(0.4).min_calls(40));
        let mut snapshot = Snapshot::closed();
        snapshot.tally = Tally::new(20, 20.0 * weight, 0);
        circuit.adopt(&snapshot, Reason::Restored);
        circuit.advise(secs(60));
        clock.advance(secs(2));
        time_out(&circuit, 1);
        assert_eq!(state(&circuit), expected, "a weight of {weight} for each call");
    }
}

#[test]
fn after_an_opening_the_usual_rate_of_the_circuit_is_still_known() {
    let (circuit, clock) = after_half_an_hour(5);
    circuit.reset(&alice(), To::Closed);
    clock.advance(secs(2));
    fail(&circuit, 1);
    succeed(&circuit, 3);
    fail(&circuit, 2);
    assert_eq!(state(&circuit), State::Closed, "three of six in an empty window are chance at a usual 20 %");
    circuit.advise(Duration::ZERO);
    fail(&circuit, 3);
    assert_eq!(state(&circuit), State::Open, "the configured run is five");
}

#[test]
fn on_advice_a_usual_share_of_slow_calls_trips_nothing() {
    let slow_rule = |settings: ConfigBuilder| no_rules(settings).slow_call_rate(0.4).slower_than(secs(1)).min_calls(20);
    let (circuit, clock) = rig(slow_rule);
    circuit.advise(secs(600));
    clock.advance(secs(2));
    for _ in 0..10 {
        for took in [2, 0, 0, 2, 0] {
            let permit = circuit.try_acquire().unwrap();
            clock.advance(secs(took));
            permit.success();
            clock.advance(millis(200));
        }
        assert_eq!(state(&circuit), State::Closed, "{:?}", circuit.status());
    }
}

#[test]
fn on_advice_a_run_beside_a_rate_needs_the_lowered_min_calls() {
    // The clock stands still, so that the window is too young for the rate to trip.
    let beside = |settings: ConfigBuilder| settings.consecutive_failures_raised_at_traffic(5).min_calls(20);
    let (circuit, _) = rig(beside);
    circuit.advise(secs(60));
    succeed(&circuit, 5);
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed, "two are not enough, as the window holds five calls");
    fail(&circuit, 1);
    // Met as configured, too: the window holds fewer than twenty.
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });

    let (circuit, clock) = rig(beside);
    succeed(&circuit, 500);
    clock.advance(secs(60));
    circuit.advise(secs(60));
    succeed(&circuit, 20);
    fail(&circuit, 5);
    assert_eq!(why(&circuit), advised(Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 }));
}

#[test]
fn advice_does_not_change_scores() {
    let (circuit, _) = rig(|settings| no_rules(settings).failure_score(8.0));
    circuit.advise(secs(60));
    fail(&circuit, 7);
    assert_eq!(state(&circuit), State::Closed);
    time_out(&circuit, 2);
    assert_eq!(why(&circuit), Reason::FailureScore { score: 8.0, limit: 8.0, calls: 9 });
}

#[test]
fn advice_ends_at_its_deadline_and_later_advice_replaces_earlier_advice() {
    type Advise = fn(&Circuit);
    let cases: [(&str, Advise, State); 5] = [
        ("until just now", |circuit| circuit.advise(secs(10)), State::Closed),
        ("a moment longer", |circuit| circuit.advise(secs(10) + NANO), State::Open),
        (
            "made shorter",
            |circuit| {
                circuit.advise(secs(60));
                circuit.advise(secs(5));
            },
            State::Closed,
        ),
        (
            "taken back",
            |circuit| {
                circuit.advise(Duration::MAX);
                circuit.advise(Duration::ZERO);
            },
            State::Closed,
        ),
        ("for ever", |circuit| circuit.advise(Duration::MAX), State::Open),
    ];
    for (name, advise, expected) in cases {
        let (circuit, clock) = rig(|settings| settings);
        advise(&circuit);
        clock.advance(secs(10));
        fail(&circuit, 2);
        assert_eq!(state(&circuit), expected, "{name}");
    }
}

#[test]
fn advice_outlasts_eras() {
    let (circuit, _) = rig(|settings| settings);
    circuit.advise(secs(60));
    open(&circuit);
    circuit.reset(&alice(), To::Closed);
    fail(&circuit, 2);
    assert_eq!(why(&circuit), advised(Reason::ConsecutiveFailures { score: 2.0, limit: 2.0, set: 5.0 }));
}

#[test]
fn advice_alone_changes_nothing() {
    let (circuit, _) = rig(|settings| settings);
    fail(&circuit, 4);
    let before = circuit.status();
    circuit.advise(secs(60));
    assert_eq!(circuit.status(), before, "whatever the evidence, it takes a failure to trip");
    succeed(&circuit, 100);
    assert_eq!(state(&circuit), State::Closed);
}
