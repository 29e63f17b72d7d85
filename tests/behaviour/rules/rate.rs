//! The failure rate, and the windows it is taken over.

use std::thread;

use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Circuit, Failure, Outcome, State, Window};

use crate::rig::{NANO, admit, call, fail, millis, no_rules, rig, secs, state, succeed, weighing, why};

#[test]
fn a_rate_trips_at_its_exact_limit() {
    let (circuit, _) = rig(|settings| no_rules(settings).failure_rate(0.4).window(Window::calls(100)));
    succeed(&circuit, 12);
    fail(&circuit, 7);
    assert_eq!(state(&circuit), State::Closed, "nineteen calls are too few");
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::FailureRate { rate: 0.4, limit: 0.4, score: 8.0, calls: 20 });
}

#[test]
fn a_rate_does_not_trip_a_quarter_of_a_failure_below() {
    let (circuit, _) = rig(|settings| no_rules(settings).failure_rate(0.4).window(Window::calls(20)));
    succeed(&circuit, 12);
    fail(&circuit, 7);
    call(&circuit, 1, weighing(0.75).into());
    assert_eq!(circuit.status().failure_rate, Some(7.75 / 20.0));
    assert_eq!(state(&circuit), State::Closed, "7.75 of 20 is not 8 of 20");
}

#[test]
fn ignored_outcomes_are_in_no_denominator() {
    let (circuit, _) = rig(|settings| no_rules(settings).failure_rate(0.4).window(Window::calls(100)));
    for outcome in [Outcome::Success, Outcome::Success, Outcome::failure(), Outcome::Success, Outcome::failure()] {
        call(&circuit, 50, Outcome::Ignored);
        call(&circuit, 4, outcome);
    }
    assert_eq!(why(&circuit), Reason::FailureRate { rate: 0.4, limit: 0.4, score: 8.0, calls: 20 });
}

#[test]
fn below_min_calls_a_rate_is_none() {
    let (circuit, _) = rig(|settings| settings.min_calls(20));
    assert_eq!(circuit.status().failure_rate, None, "of no calls");
    fail(&circuit, 1);
    succeed(&circuit, 18);
    assert_eq!(circuit.status().failure_rate, None, "of nineteen calls");
    succeed(&circuit, 1);
    assert_eq!(circuit.status().failure_rate, Some(0.05), "of twenty calls");
    assert_eq!(circuit.status().slow_call_rate, None, "no rule, no rate");
}

#[test]
fn a_window_younger_than_a_bucket_does_not_trip_by_its_rate() {
    // Buckets of one second.
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(0.4).window(Window::time(secs(10))));
    fail(&circuit, 100);
    clock.advance(secs(1) - NANO);
    fail(&circuit, 100);
    assert_eq!(state(&circuit), State::Closed, "a young window holds whatever came first");
    clock.advance(NANO);
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::FailureRate { rate: 1.0, limit: 0.4, score: 201.0, calls: 201 });
}

#[test]
fn a_time_window_expires_also_when_only_read() {
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(1.0));
    fail(&circuit, 20);
    clock.advance(secs(9));
    assert_eq!(circuit.status().failure_rate, Some(1.0));
    clock.advance(secs(1));
    assert_eq!((circuit.status().tally.calls(), circuit.status().failure_rate), (0, None), "ten seconds later");
}

#[test]
fn a_rate_waits_for_a_second_and_not_for_a_bucket_of_any_length() {
    for (window, wait) in [(1, millis(100)), (10, secs(1)), (60, secs(1)), (600, secs(1)), (3_600, secs(1))] {
        for slow in [false, true] {
            let (circuit, clock) = rig(|settings| {
                let settings = no_rules(settings).window(Window::time(secs(window)));
                if slow { settings.slow_call_rate(0.5).slower_than(millis(10)) } else { settings.failure_rate(0.5) }
            });
            let begun: Vec<_> = (0..20).map(|_| admit(&circuit)).collect();
            clock.advance(wait - millis(1));
            begun.into_iter().for_each(|permit| if slow { permit.success() } else { permit.failure(Failure::hard()) });
            assert_eq!(state(&circuit), State::Closed, "{window} s, slow: {slow}: a young window");
            let last = admit(&circuit);
            clock.advance(millis(10));
            if slow {
                last.success();
            } else {
                last.failure(Failure::hard());
            }
            assert_eq!(state(&circuit), State::Open, "{window} s, slow: {slow}");
        }
    }
}

#[test]
fn a_time_window_slides_bucket_by_bucket() {
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(1.0).min_calls(1_000));
    for second in 1..=30 {
        fail(&circuit, 1);
        let tally = circuit.status().tally;
        assert_eq!((tally.calls(), tally.score()), (second.min(10), f64::from(second.min(10) as u32)));
        clock.advance(secs(1));
    }
}

#[test]
fn a_call_window_slides_and_does_not_age() {
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(0.5).window(Window::calls(100)));
    succeed(&circuit, 100_000);
    clock.advance(secs(1_000_000));
    fail(&circuit, 49);
    assert_eq!(state(&circuit), State::Closed, "49 of the last 100");
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::FailureRate { rate: 0.5, limit: 0.5, score: 50.0, calls: 100 });
}

#[test]
fn the_cells_of_all_threads_are_one_window() {
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(0.4).min_calls(20).sharded());
    clock.advance(secs(1));
    let on_a_thread_of_its_own =
        |act: fn(&Circuit)| thread::scope(|scope| scope.spawn(|| act(&circuit)).join().unwrap());
    for _ in 0..4 {
        on_a_thread_of_its_own(|circuit| succeed(circuit, 3));
        on_a_thread_of_its_own(|circuit| fail(circuit, 1));
    }
    assert_eq!((circuit.status().tally.calls(), state(&circuit)), (16, State::Closed));
    on_a_thread_of_its_own(|circuit| fail(circuit, 4));
    assert_eq!(why(&circuit), Reason::FailureRate { rate: 0.4, limit: 0.4, score: 8.0, calls: 20 });
}
