//! When a closed circuit trips: the four rules, what they look at, and what they say.

mod rate;
mod run;
mod slow;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Outcome, Permit, State, Window};

use crate::rig::{NANO, admit, call, fail, last, millis, no_rules, reject, rig, secs, state, succeed, time_out, why};

#[test]
fn a_score_trips_at_its_exact_limit_despite_successes() {
    let (circuit, _) = rig(|settings| no_rules(settings).failure_score(10.0));
    for _ in 0..9 {
        fail(&circuit, 1);
        succeed(&circuit, 10);
    }
    time_out(&circuit, 1);
    assert_eq!(state(&circuit), State::Closed, "9.5 of 10");
    time_out(&circuit, 1);
    assert_eq!(why(&circuit), Reason::FailureScore { score: 10.0, limit: 10.0, calls: 101 });
}

#[test]
fn a_score_counts_only_failures_within_its_window() {
    let minute = Window::time(secs(60));
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_score(10.0).window(minute));
    // One in 7 s makes at most nine in any minute.
    for _ in 0..100 {
        fail(&circuit, 1);
        clock.advance(secs(7));
    }
    assert_eq!(state(&circuit), State::Closed);
    let opened = (0..10).any(|_| {
        fail(&circuit, 1);
        clock.advance(secs(5));
        state(&circuit) == State::Open
    });
    assert!(opened, "one in 5 s makes ten");
}

#[test]
fn slow_calls_of_at_least_the_limit_trip_at_their_share() {
    let two_seconds = secs(2);
    let (circuit, clock) = rig(|settings| {
        no_rules(settings).slow_call_rate(0.5).slower_than(two_seconds).min_calls(10).window(Window::calls(10))
    });
    let call = |took| {
        let permit = admit(&circuit);
        clock.advance(took);
        permit.success();
    };
    for _ in 0..6 {
        call(two_seconds - NANO);
    }
    for _ in 0..4 {
        call(two_seconds);
    }
    assert_eq!(circuit.status().slow_call_rate, Some(0.4), "a nanosecond less is not slow");
    assert_eq!(state(&circuit), State::Closed);
    call(two_seconds);
    let reason =
        Reason::SlowCallRate { rate: 0.5, limit: 0.5, slow: 5, calls: 10, slower_than: two_seconds, hanging: 0 };
    assert_eq!(why(&circuit), reason, "a slow success trips, it carries slowness");
    assert_eq!(last(&circuit).failure, None, "it was no failure");
}

#[test]
fn every_rule_trips_with_its_own_reason() {
    let all = || {
        rig(|settings| {
            let settings = settings.consecutive_failures(5).failure_rate(0.4).min_calls(20).failure_score(10.0);
            settings.slow_call_rate(0.5).slower_than(secs(1)).window(Window::calls(100))
        })
    };
    let (circuit, _) = all();
    fail(&circuit, 5);
    assert_eq!(why(&circuit).as_str(), "consecutive_failures");

    let (circuit, _) = all();
    for _ in 0..8 {
        succeed(&circuit, 1);
        fail(&circuit, 1);
    }
    succeed(&circuit, 3);
    assert_eq!(state(&circuit), State::Closed, "19 calls");
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::FailureRate { rate: 0.45, limit: 0.4, score: 9.0, calls: 20 });

    let (circuit, _) = all();
    for _ in 0..10 {
        succeed(&circuit, 4);
        fail(&circuit, 1);
    }
    assert_eq!(why(&circuit), Reason::FailureScore { score: 10.0, limit: 10.0, calls: 50 }, "the rate is 0.2");

    let (circuit, clock) = all();
    for _ in 0..20 {
        let permit = admit(&circuit);
        clock.advance(secs(1));
        permit.success();
    }
    assert_eq!(why(&circuit).as_str(), "slow_call_rate");
}

#[test]
fn a_timeout_counts_half_in_every_rule() {
    let (circuit, _) = rig(|settings| no_rules(settings).consecutive_failures(5));
    time_out(&circuit, 9);
    assert_eq!((state(&circuit), circuit.status().run), (State::Closed, 4.5));
    time_out(&circuit, 1);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });
    assert_eq!(last(&circuit).failure, Some(FailureKind::Timeout), "the last straw is named");

    let (circuit, _) = rig(|settings| no_rules(settings).failure_rate(0.4).window(Window::calls(20)));
    succeed(&circuit, 4);
    time_out(&circuit, 15);
    assert_eq!(state(&circuit), State::Closed);
    time_out(&circuit, 1);
    assert_eq!(why(&circuit), Reason::FailureRate { rate: 0.4, limit: 0.4, score: 8.0, calls: 20 }, "16 of 20");

    let (circuit, _) = rig(|settings| no_rules(settings).failure_score(10.0));
    time_out(&circuit, 19);
    assert_eq!(state(&circuit), State::Closed);
    time_out(&circuit, 1);
    assert_eq!(why(&circuit), Reason::FailureScore { score: 10.0, limit: 10.0, calls: 20 });
}

#[test]
fn a_success_that_completes_the_evidence_trips_only_if_configured() {
    // Ten failures are too few calls for the rate; the tenth success makes them twenty.
    for told in [false, true] {
        let (circuit, _) =
            rig(|settings| no_rules(settings).failure_rate(0.4).window(Window::calls(100)).trip_on_any_outcome(told));
        fail(&circuit, 10);
        succeed(&circuit, 10);
        assert_eq!(state(&circuit), if told { State::Open } else { State::Closed }, "told: {told}");
        if !told {
            call(&circuit, 1, Outcome::Ignored);
            assert_eq!(state(&circuit), State::Closed, "an ignored outcome carries nothing");
            fail(&circuit, 1);
        }
        assert_eq!(why(&circuit).as_str(), "failure_rate", "told: {told}");
    }
}

#[test]
fn a_cancelled_call_is_neutral_early_and_weighs_half_later() {
    let (circuit, clock) = rig(|settings| settings.cancelled_counts_after(secs(1)));
    for took in [millis(0), secs(1) - NANO] {
        let permits: Vec<_> = (0..100).map(|_| admit(&circuit)).collect();
        clock.advance(took);
        permits.into_iter().for_each(Permit::cancel);
        assert_eq!((circuit.status().run, circuit.status().tally.calls()), (0.0, 0), "after {took:?}");
    }
    let permits: Vec<_> = (0..10).map(|_| admit(&circuit)).collect();
    clock.advance(secs(1));
    permits.into_iter().for_each(Permit::cancel);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });
    assert_eq!(last(&circuit).failure, Some(FailureKind::Cancelled));
}

#[test]
fn a_permit_that_is_dropped_without_an_outcome_counts_half_a_failure() {
    let (circuit, _) = rig(|settings| settings);
    for _ in 0..10 {
        assert_eq!(state(&circuit), State::Closed);
        drop(admit(&circuit));
    }
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });
    assert_eq!(last(&circuit).failure, Some(FailureKind::Named("unrecorded")));
}

#[test]
fn a_permit_that_a_panic_drops_is_a_hard_failure() {
    let (circuit, _) = rig(ConfigBuilder::cancelled_never_counts);
    for _ in 0..5 {
        let thread = thread::spawn({
            let permit = admit(&circuit);
            move || {
                let _permit = permit;
                panic!("as asked");
            }
        });
        assert!(thread.join().is_err());
    }
    assert_eq!((state(&circuit), last(&circuit).failure), (State::Open, Some(FailureKind::Panicked)));
}

#[test]
fn a_dropped_call_never_counts_if_configured_so() {
    let (circuit, clock) = rig(ConfigBuilder::cancelled_never_counts);
    let permits: Vec<_> = (0..100).map(|_| admit(&circuit)).collect();
    clock.advance(secs(1_000_000));
    drop(permits);
    assert_eq!((state(&circuit), circuit.status().totals.cancelled), (State::Closed, 100));
}

#[test]
fn without_rules_only_an_operator_opens_the_circuit() {
    let (circuit, clock) = rig(no_rules);
    for _ in 0..100 {
        fail(&circuit, 100);
        clock.advance(secs(1));
    }
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_transition_carries_the_evidence_of_the_era_that_ended() {
    let (circuit, _) = rig(|settings| settings);
    succeed(&circuit, 3);
    fail(&circuit, 5);
    let edge = last(&circuit);
    assert_eq!((edge.tally.calls(), edge.tally.score(), edge.failure), (8, 5.0, Some(FailureKind::Error)));
    assert_eq!((edge.from.state, edge.to.state, edge.attempt), (State::Closed, State::Open, 1));
}

#[test]
fn a_call_beside_tower_is_guarded_and_judged() {
    let (circuit, clock) = rig(|settings| settings);
    let context = &mut Context::from_waker(Waker::noop());
    for _ in 0..5 {
        let call = pin!(circuit.call(async { Err::<(), _>(std::io::Error::other("down")) }));
        assert!(call.poll(context).is_ready());
    }
    assert_eq!(state(&circuit), State::Open);
    let mut asked = false;
    let call = pin!(circuit.call(async {
        asked = true;
        Ok::<_, std::io::Error>(())
    }));
    assert!(matches!(call.poll(context), Poll::Ready(Err(error)) if error.rejected().is_some()));
    assert!(!asked, "the future is never polled");
    clock.advance(secs(5));
    {
        let hanging = pin!(circuit.call(std::future::pending::<Result<(), std::io::Error>>()));
        assert!(hanging.poll(context).is_pending());
        reject(&circuit);
    }
    assert_eq!(circuit.status().probes.in_flight, 0, "dropped, it gives its slot back");
    succeed(&circuit, 3);
    assert_eq!(state(&circuit), State::Closed);
}
