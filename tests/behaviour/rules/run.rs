//! The run of consecutive failures, alone and beside a rate rule.

use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Outcome, State};

use crate::rig::{call, fail, reject, rig, secs, state, succeed, why};

#[test]
fn a_run_of_failures_trips_at_its_limit_and_not_one_below() {
    let (circuit, _) = rig(|settings| settings);
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed, "four of five");
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0 });
    assert_eq!(reject(&circuit).why().map(|edge| edge.reason), Some(why(&circuit)), "the caller hears it too");
}

#[test]
fn a_success_ends_a_run_and_an_ignored_outcome_does_not_touch_it() {
    let (circuit, _) = rig(|settings| settings);
    fail(&circuit, 4);
    succeed(&circuit, 1);
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed, "the success ended the first four");
    call(&circuit, 100, Outcome::Ignored);
    assert_eq!(circuit.status().run.to_string(), "4", "ignored outcomes neither end nor lengthen a run");
    fail(&circuit, 1);
    assert_eq!(state(&circuit), State::Open);
}

#[test]
fn time_does_not_age_a_run() {
    let (circuit, clock) = rig(|settings| settings);
    for _ in 0..5 {
        assert_eq!(state(&circuit), State::Closed);
        fail(&circuit, 1);
        clock.advance(secs(3600));
    }
    assert_eq!(circuit.status().state, State::Open, "five failures in five hours, and nothing else");
}

#[test]
fn beside_a_rate_rule_a_run_must_reach_min_calls_once_the_window_holds_them() {
    // The clock stands still, so that the window is too young for the rate to trip.
    let (circuit, _) = rig(|settings| settings.consecutive_failures(5).min_calls(20));
    succeed(&circuit, 15);
    fail(&circuit, 19);
    assert_eq!(state(&circuit), State::Closed, "at the fifth failure the window held twenty calls");
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 20.0, limit: 20.0 });
}

#[test]
fn while_the_window_holds_less_than_min_calls_a_run_needs_no_more_than_its_limit() {
    let (circuit, _) = rig(|settings| settings.consecutive_failures(5).min_calls(20));
    succeed(&circuit, 14);
    fail(&circuit, 5);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0 }, "nineteen calls");
}

#[test]
fn once_the_calls_have_left_the_window_a_run_needs_no_more_than_its_limit() {
    let (circuit, clock) = rig(|settings| settings.consecutive_failures(5).min_calls(20));
    succeed(&circuit, 100);
    clock.advance(secs(10));
    fail(&circuit, 5);
    assert_eq!(state(&circuit), State::Open, "a busy hour is no reason to wait in a quiet one");
}

#[test]
fn a_limit_above_min_calls_stays_the_limit_of_a_run() {
    let (circuit, _) = rig(|settings| settings.consecutive_failures(30).min_calls(20));
    fail(&circuit, 29);
    assert_eq!(state(&circuit), State::Closed);
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 30.0, limit: 30.0 });
}

#[test]
fn with_always_or_without_a_rate_rule_a_run_trips_at_its_limit_whatever_the_window_holds() {
    for (circuit, _) in [rig(ConfigBuilder::always), rig(ConfigBuilder::without_failure_rate)] {
        succeed(&circuit, 1_000);
        fail(&circuit, 5);
        assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0 });
    }
}
