//! While the service fails more calls than it should, a share of the calls is rejected instead of all calls.

use tower_circuit_breaker::circuit::{NextCall, To};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::window::Window;
use tower_circuit_breaker::{Circuit, Config, Failure, Permit, RejectReason, State};

use crate::rig::{alice, call, fail, millis, no_rules, open, rig, secs, state, succeed, why};

fn throttled(settings: ConfigBuilder) -> ConfigBuilder {
    settings.throttle(2.0)
}

/// A circuit without the rules that open it, and with the throttle.
fn throttle_alone() -> (Circuit, MockClock) {
    rig(|settings| throttled(no_rules(settings)))
}

/// The calls of a simulation.
#[derive(Debug, Default, Clone, Copy)]
struct Calls {
    made: u32,
    sent: u32,
    good: u32,
    throttled: u32,
}

/// Makes 1 000 calls a second until the circuit has opened or the time is over. `answers` gets the number of the millisecond and
/// returns true for a good answer.
fn play(circuit: &Circuit, clock: &MockClock, seconds: u32, mut answers: impl FnMut(u32) -> bool) -> Calls {
    let mut calls = Calls::default();
    for milli in 0..seconds * 1_000 {
        if state(circuit) != State::Closed {
            break;
        }
        calls.made += 1;
        match circuit.try_acquire() {
            Ok(permit) => {
                calls.sent += 1;
                if answers(milli) {
                    calls.good += 1;
                    permit.success();
                } else {
                    permit.failure(Failure::hard());
                }
            }
            Err(rejected) => {
                assert_eq!(rejected.reason(), RejectReason::Throttled);
                calls.throttled += 1;
            }
        }
        clock.advance(millis(1));
    }
    calls
}

/// A service with room for so many calls a second. It fails the others.
fn capacity(a_second: u32) -> impl FnMut(u32) -> bool {
    let (mut room, mut last) = (0.0, 0);
    move |milli| {
        room = f64::min(f64::from((milli - last) * a_second) / 1_000.0 + room, 3.0);
        last = milli;
        let accepts = room >= 1.0;
        room -= f64::from(u8::from(accepts));
        accepts
    }
}

/// Returns the number at position `n` of a fixed sequence without a pattern, below 1 000.
fn scattered(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).rotate_right(16).wrapping_mul(2_246_822_519) % 1_000
}

#[test]
fn a_throttle_loses_no_good_answers_of_a_service_that_gives_60_percent() {
    let (circuit, clock) = rig(throttled);
    let mut good = 0;
    let calls = play(&circuit, &clock, 60, |milli| {
        // The share of good answers, whether the call is sent or not.
        scattered(milli) < 600
    });
    for milli in 0..60_000 {
        good += u32::from(scattered(milli) < 600);
    }
    assert_eq!(state(&circuit), State::Closed, "{calls:?}");
    assert!(f64::from(calls.good) >= 0.99 * f64::from(good), "{calls:?} of {good} good answers");
    // Without a throttle the failure rate opens the circuit, and everything is lost.
    let (plain, clock) = rig(|settings| settings);
    assert!(play(&plain, &clock, 60, |milli| scattered(milli) < 600).made < 5_000);
    assert_eq!(state(&plain), State::Open);
}

#[test]
fn an_overloaded_service_gets_at_most_twice_the_calls_that_it_accepts() {
    let (circuit, clock) = rig(throttled);
    let calls = play(&circuit, &clock, 60, capacity(300));
    assert_eq!((state(&circuit), calls.made), (State::Closed, 60_000), "{calls:?}");
    assert!(calls.good >= 60 * 250, "at least 250 good answers a second: {calls:?}");
    assert!(f64::from(calls.sent) <= 2.0 * f64::from(calls.good) * 1.01, "at most k times the accepts: {calls:?}");
    assert_eq!(circuit.totals().throttled, u64::from(calls.throttled));
    assert_eq!(circuit.totals().rejected, u64::from(calls.throttled), "the rejections are no failures");
    assert_eq!(circuit.totals().failures, u64::from(calls.sent - calls.good));
}

#[test]
fn a_dead_service_gets_few_calls_before_the_circuit_opens() {
    for healthy in [0, 20] {
        let (circuit, clock) = rig(throttled);
        play(&circuit, &clock, healthy, |_| true);
        let calls = play(&circuit, &clock, 10, |_| false);
        assert_eq!(state(&circuit), State::Open);
        assert!(calls.sent <= 20, "2 % of the calls of a second, after {healthy} s: {calls:?}");
    }
}

#[test]
fn the_share_is_that_of_the_formula_over_the_window() {
    let (circuit, clock) = throttle_alone();
    let share = || circuit.status().throttled_share;
    fail(&circuit, 19);
    assert!(share() <= 0.0, "fewer than 20 requests are chance");
    assert!(circuit.status().admitted_share >= 1.0);
    fail(&circuit, 1);
    assert!((share() - 20.0 / 21.0).abs() < 1e-9, "{}", share());
    // A weight matters to the rules only.
    circuit.reset(&alice(), To::Closed);
    crate::rig::time_out(&circuit, 20);
    assert!((share() - 20.0 / 21.0).abs() < 1e-9, "{}", share());
    circuit.reset(&alice(), To::Closed);
    succeed(&circuit, 10);
    fail(&circuit, 10);
    assert!(share() <= 0.0, "20 requests are twice 10 accepts");
    fail(&circuit, 1);
    assert!((share() - 1.0 / 22.0).abs() < 1e-9, "{}", share());
    assert!((circuit.status().admitted_share - 21.0 / 22.0).abs() < 1e-9);
    assert!(
        circuit.status().to_string().contains("; its throttle rejects 4.5 % of the calls; calls: "),
        "{}",
        circuit.status()
    );
    clock.advance(secs(10));
    assert!(share() <= 0.0, "the window has expired");
}

#[test]
fn the_rejections_are_requests_and_enter_no_rule() {
    let (circuit, clock) = rig(|settings| throttled(settings.without_consecutive_failures()));
    clock.advance(secs(2));
    succeed(&circuit, 100);
    fail(&circuit, 101);
    let tally = circuit.status().tally;
    // An ignored call would be one accept more.
    let rejected =
        (0..1_000).find_map(|_| circuit.try_acquire().map(std::mem::forget).err()).expect("a share is rejected");
    assert_eq!(
        (rejected.reason(), rejected.retry_after(), rejected.why()),
        (RejectReason::Throttled, Some(secs(1)), None)
    );
    assert_eq!(
        rejected.to_string(),
        "circuit `payments` admits only a share of the calls, because the service fails too many; try again in 1 s"
    );
    assert_eq!(RejectReason::Throttled.to_string(), "throttled");
    assert_eq!(circuit.status().tally, tally, "neither a call nor a failure");
    // 202 requests, 100 accepts.
    assert!((circuit.status().throttled_share - 2.0 / 203.0).abs() < 1e-9, "{}", circuit.status().throttled_share);
}

#[test]
fn a_throttle_ends_when_the_service_accepts_again() {
    let (circuit, clock) = throttle_alone();
    play(&circuit, &clock, 10, capacity(250));
    let share = circuit.status().throttled_share;
    assert!((share - 0.5).abs() < 0.05, "a quarter is accepted, and twice that is admitted: {share}");
    let calls = play(&circuit, &clock, 20, |_| true);
    assert!(calls.throttled < 6_000, "{calls:?}");
    let after = play(&circuit, &clock, 10, |_| true);
    assert_eq!((after.throttled, circuit.status().throttled_share), (0, 0.0));
}

#[test]
fn the_failure_rate_opens_a_throttled_circuit_at_its_second_limit_only() {
    type Change = fn(ConfigBuilder) -> ConfigBuilder;
    let cases: [(Change, f64); 3] = [
        (throttled, 0.95),
        (|settings| throttled(settings).throttled_failure_rate(0.8), 0.8),
        (|settings| throttled(settings).throttled_failure_rate(0.1), 0.4),
    ];
    for (change, limit) in cases {
        let (circuit, clock) = rig(|settings| change(settings.without_consecutive_failures()));
        clock.advance(secs(2));
        // Under way together, so that the throttle rejects none of them.
        let permits: Vec<Permit> = (0..1_000).map(|_| circuit.try_acquire().unwrap()).collect();
        for (at, permit) in permits.into_iter().enumerate() {
            if at < 100 {
                permit.success();
            } else {
                permit.failure(Failure::hard());
            }
        }
        if limit > 0.9 {
            assert_eq!(state(&circuit), State::Closed, "90 % have failed");
            clock.advance(secs(10));
            for _ in 0..100_000 {
                if let Ok(permit) = circuit.try_acquire() {
                    permit.failure(Failure::hard());
                }
                if state(&circuit) == State::Open {
                    break;
                }
            }
        }
        let Reason::FailureRate { limit: met, .. } = why(&circuit) else { panic!("{:?}", why(&circuit)) };
        assert!((met - limit).abs() < 1e-9, "{met}");
    }
}

#[test]
fn a_run_opens_a_throttled_circuit_as_always() {
    let (circuit, _) = rig(throttled);
    open(&circuit);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });
    assert!(circuit.status().throttled_share <= 0.0, "an open circuit throttles nothing");
}

#[test]
fn a_healthy_circuit_with_a_throttle_rejects_nothing() {
    let (circuit, clock) = rig(throttled);
    let calls = play(&circuit, &clock, 30, |milli| milli % 10 != 0);
    assert_eq!((calls.throttled, circuit.totals().rejected), (0, 0));
    assert_eq!(circuit.status().next_call, NextCall::Admitted);
}

#[test]
fn a_throttled_circuit_in_shadow_counts_what_it_would_reject() {
    let (circuit, _) = rig(|settings| throttled(no_rules(settings)).shadow());
    fail(&circuit, 20);
    call(&circuit, 1_000, tower_circuit_breaker::Outcome::failure());
    let would_reject = circuit.totals().would_reject;
    assert!(would_reject > 900, "{would_reject}");
    assert_eq!(circuit.totals().rejected, 0);
}

#[test]
fn an_impossible_throttle_is_refused() {
    let built = |change: fn(ConfigBuilder) -> ConfigBuilder| {
        change(Config::builder("payments")).build().map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = |says: &str| Err(says.to_owned());
    assert_eq!(built(|c| c.throttle(1.1)), Ok(()));
    assert_eq!(built(|c| c.throttle(100.0)), Ok(()));
    assert_eq!(built(|c| c.throttle(1.09)), refused("throttle is 1.09, allowed is 1.1 to 100"));
    assert_eq!(built(|c| c.throttle(f64::NAN)), refused("throttle is NaN, allowed is 1.1 to 100"));
    assert_eq!(
        built(|c| c.throttle(2.0).throttled_failure_rate(1.1)),
        refused("throttled_failure_rate is 1.1, allowed is more than 0 and at most 1")
    );
    assert_eq!(built(|c| c.throttled_failure_rate(0.9)), Ok(()));
    assert_eq!(
        built(|c| c.throttle(2.0).window(Window::calls(100))),
        refused("window is a number of calls, allowed is a time, beside throttle")
    );
}

#[test]
fn a_ramp_and_a_throttle_share_one_draw() {
    let (circuit, clock) = rig(|settings| throttled(no_rules(settings).consecutive_failures(1_000)).ramp(secs(1_000)));
    circuit.trip(&alice(), Some(secs(1)));
    clock.advance(secs(1));
    succeed(&circuit, 3);
    clock.advance(secs(500));
    assert_eq!(state(&circuit), State::Closed);
    let (mut made, mut good) = ([0_u32; 3], 0);
    for call in 0..20_000 {
        match circuit.try_acquire().map_err(|rejected| rejected.reason()) {
            // The service has room for an eighth of all calls.
            Ok(permit) if good * 8 < call => {
                (made[0], good) = (made[0] + 1, good + 1);
                permit.success();
            }
            Ok(permit) => {
                made[0] += 1;
                permit.failure(Failure::hard());
            }
            Err(RejectReason::Ramp) => made[1] += 1,
            Err(_) => made[2] += 1,
        }
    }
    let share = |part: u32| f64::from(part) / 20_000.0;
    assert!((share(made[1]) - 0.5).abs() < 0.03, "the ramp rejects half: {made:?}");
    // Of the other half the throttle admits twice the calls that are accepted.
    assert!((share(made[0]) - 0.25).abs() < 0.03, "{made:?}");
}

/// Most calls are ignored, in an outage of 30 s and for a minute after it.
#[test]
fn a_throttle_releases_a_service_whose_outcomes_are_mostly_without_a_judgement() {
    for judged in [2, 3, 10] {
        let (circuit, clock) = rig(|settings| no_rules(settings).throttle(2.0));
        let (mut admitted, mut calls) = (0, 0);
        for call in 0..120_000_u32 {
            let is_down = call < 30_000;
            calls += u32::from(call >= 100_000);
            if let Ok(permit) = circuit.try_acquire() {
                admitted += u32::from(call >= 100_000);
                if is_down && call % 10 < 7 {
                    permit.failure(Failure::hard());
                } else if call % judged == 0 {
                    permit.success();
                } else {
                    permit.ignore();
                }
            }
            clock.advance(millis(1));
        }
        assert_eq!(admitted, calls, "one of {judged}: {}", circuit.status());
    }
}
