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
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });
    assert_eq!(reject(&circuit).why().map(|edge| edge.reason), Some(why(&circuit)), "the caller hears it too");
}

#[test]
fn a_success_ends_a_run_and_ignored_outcomes_do_not() {
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
fn once_the_window_holds_min_calls_a_run_must_reach_min_calls() {
    // The clock stands still, so that the window is too young for the rate to trip.
    let (circuit, _) = rig(|settings| settings.consecutive_failures_raised_at_traffic(5).min_calls(20));
    succeed(&circuit, 15);
    fail(&circuit, 19);
    assert_eq!(state(&circuit), State::Closed, "at the fifth failure the window held twenty calls");
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 20.0, limit: 20.0, set: 5.0 });
}

#[test]
fn below_min_calls_in_the_window_a_run_needs_only_its_limit() {
    let (circuit, _) = rig(|settings| settings.consecutive_failures_raised_at_traffic(5).min_calls(20));
    succeed(&circuit, 14);
    fail(&circuit, 5);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 }, "nineteen calls");
}

#[test]
fn a_run_needs_only_its_limit_once_the_window_is_empty() {
    let (circuit, clock) = rig(|settings| settings.consecutive_failures_raised_at_traffic(5).min_calls(20));
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
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 30.0, limit: 30.0, set: 30.0 });
}

#[test]
fn a_number_of_consecutive_failures_that_is_set_is_the_limit_at_any_traffic() {
    let set: [fn(ConfigBuilder) -> ConfigBuilder; 3] = [
        |settings| settings.consecutive_failures(5),
        |settings| settings.consecutive_failures(5).slow_call_rate(0.5).slower_than(secs(1)),
        // The limit of the default has no rate rule that could judge in its place.
        ConfigBuilder::without_failure_rate,
    ];
    for change in set {
        let (circuit, _) = rig(change);
        succeed(&circuit, 1_000);
        fail(&circuit, 4);
        assert_eq!(state(&circuit), State::Closed);
        fail(&circuit, 1);
        assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });
    }
}

#[test]
fn the_later_of_two_run_limits_is_the_limit() {
    let (circuit, _) = rig(|settings| settings.consecutive_failures(3).consecutive_failures_raised_at_traffic(4));
    succeed(&circuit, 100);
    fail(&circuit, 19);
    assert_eq!(state(&circuit), State::Closed, "raised");
    let (circuit, _) = rig(|settings| settings.consecutive_failures_raised_at_traffic(4).consecutive_failures(3));
    succeed(&circuit, 100);
    fail(&circuit, 3);
    assert_eq!(state(&circuit), State::Open, "as it was set last");
}

#[test]
fn a_run_beyond_a_limit_that_has_fallen_explains_the_limit() {
    let (circuit, clock) = rig(|settings| settings);
    succeed(&circuit, 20);
    fail(&circuit, 8);
    assert_eq!(state(&circuit), State::Closed, "the limit is raised to 20");
    clock.advance(secs(60));
    fail(&circuit, 1);
    assert_eq!(why(&circuit).to_string(), "failures in a row weighed 9.0, the limit is 5.0 now");
}

#[test]
fn a_reason_names_the_number_that_was_set_and_why_another_one_was_the_limit() {
    let (circuit, _) = rig(|settings| settings);
    succeed(&circuit, 20);
    fail(&circuit, 20);
    assert_eq!(
        why(&circuit).to_string(),
        "failures in a row weighed 20.0, the limit is 20.0 while the window has min_calls or more, and otherwise 5.0"
    );
}
