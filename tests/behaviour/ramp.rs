//! After a closing only a growing share of the calls passes, and a quarter of the evidence opens the circuit again.

mod cold;

use std::sync::Arc;
use std::time::Duration;

use tower_circuit_breaker::circuit::{NextCall, To};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::state::{Reason, Snapshot};
use tower_circuit_breaker::{Circuit, Config, Failure, Permit, RejectReason, State};

use crate::rig::{NANO, alice, close, fail, millis, no_rules, open, reject, rig, secs, state, succeed, why};

const RAMP: Duration = secs(10);

/// A circuit that has just closed, with a ramp of ten seconds.
fn ramping(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock) {
    let (circuit, clock) = rig(|settings| change(settings.ramp(RAMP)));
    open(&circuit);
    close(&circuit, &clock);
    (circuit, clock)
}

/// Makes calls that succeed, one each `gap`, and returns the share that was admitted.
fn admitted(circuit: &Circuit, clock: &MockClock, calls: u32, gap: Duration) -> f64 {
    let mut admitted = 0;
    for _ in 0..calls {
        if let Ok(permit) = circuit.try_acquire() {
            permit.success();
            admitted += 1;
        }
        clock.advance(gap);
    }
    f64::from(admitted) / f64::from(calls)
}

/// Makes calls that fail until one is admitted.
fn fail_one(circuit: &Circuit) {
    (0..10_000).find_map(|_| circuit.try_acquire().ok()).expect("a tenth is admitted").failure(Failure::hard());
}

#[test]
fn a_ramp_admits_a_share_that_grows_in_a_line_from_a_tenth() {
    let (circuit, clock) = ramping(|settings| settings);
    let mut sum = 0.0;
    for second in 0..10_u32 {
        let share = admitted(&circuit, &clock, 10_000, Duration::from_micros(100));
        // In the first second the share is a tenth throughout.
        let line = f64::from(second).mul_add(0.1, 0.05).max(0.1);
        assert!((share - line).abs() < 0.03, "second {second}: {share} of {line}");
        sum += share / 10.0;
    }
    assert!((sum - 0.505).abs() < 0.03, "49.5 % of the calls are rejected: {sum}");
    assert!(admitted(&circuit, &clock, 1_000, millis(1)) >= 1.0, "the ramp is over");
    assert_eq!((circuit.status().ramp_left, circuit.status().admitted_share), (None, 1.0));
}

#[test]
fn a_call_that_a_ramp_rejects_waits_for_the_rest_or_a_second() {
    let (circuit, clock) = ramping(|settings| settings);
    let rejected = (0..100).find_map(|_| circuit.try_acquire().map(Permit::success).err()).unwrap();
    assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::Ramp, Some(secs(1))));
    assert!(rejected.why().is_none(), "the circuit is closed");
    assert_eq!(
        rejected.to_string(),
        "circuit `payments` has closed and admits only a growing share of the calls; try again in 1 s"
    );
    assert_eq!(RejectReason::Ramp.to_string(), "ramp");
    clock.advance(RAMP - millis(700));
    let rejected = (0..1_000).find_map(|_| circuit.try_acquire().map(Permit::success).err()).unwrap();
    assert_eq!(rejected.retry_after(), Some(millis(700)));
    // One rejection by the open circuit came before.
    assert_eq!(circuit.totals().rejected, 3, "a rejection counts as rejected");
}

#[test]
fn a_circuit_that_closes_alone_has_no_ramp_by_default() {
    for change in [|settings: ConfigBuilder| settings, |settings: ConfigBuilder| settings.ramp(Duration::ZERO)] {
        let (circuit, clock) = rig(change);
        open(&circuit);
        close(&circuit, &clock);
        succeed(&circuit, 1_000);
        assert_eq!(circuit.status().ramp_left, None);
    }
}

#[test]
fn a_reset_by_an_operator_has_no_ramp_and_ends_a_ramp() {
    for is_ramping in [false, true] {
        let (circuit, clock) = rig(|settings| settings.ramp(RAMP));
        open(&circuit);
        if is_ramping {
            close(&circuit, &clock);
        }
        circuit.reset(&alice(), To::Closed);
        succeed(&circuit, 1_000);
        fail(&circuit, 4);
        assert_eq!(state(&circuit), State::Closed, "the thresholds are the usual ones");
    }
}

#[test]
fn every_closing_by_probes_begins_a_ramp() {
    // Three probes pass; one passes in a quiet service; three say nothing.
    let (passed, _) = ramping(|settings| settings);
    assert_eq!(why(&passed).as_str(), "probes_passed");

    let (quiet, clock) = rig(|settings| settings.ramp(RAMP));
    open(&quiet);
    clock.advance(secs(5));
    succeed(&quiet, 1);
    clock.advance(secs(60));
    // The call that closes the circuit is the first of the ramp.
    let _first = quiet.try_acquire();
    assert_eq!(why(&quiet).as_str(), "quiet_service");

    let (doubtful, clock) = rig(|settings| settings.ramp(RAMP));
    open(&doubtful);
    clock.advance(secs(5));
    (0..3).for_each(|_| drop(doubtful.try_acquire().unwrap()));
    assert_eq!(why(&doubtful).as_str(), "no_verdict");

    for circuit in [passed, quiet, doubtful] {
        let status = circuit.status();
        assert_eq!((status.state, status.ramp_left, status.admitted_share), (State::Closed, Some(RAMP), 0.1));
        assert_eq!(status.next_call, NextCall::Admitted);
        assert!(
            status.to_string().contains("; its ramp admits 10 % of the calls, and all in 10 s; calls: "),
            "{status}"
        );
    }
}

#[test]
fn a_run_of_two_opens_a_circuit_that_ramps_as_a_relapse() {
    let (circuit, clock) = ramping(|settings| settings);
    clock.advance(RAMP - NANO);
    fail_one(&circuit);
    assert_eq!(state(&circuit), State::Closed, "one failure is chance");
    fail_one(&circuit);
    let rule = Reason::ConsecutiveFailures { score: 2.0, limit: 2.0, set: 5.0 };
    assert_eq!(why(&circuit), Reason::Relapsed { rule: Arc::new(rule) });
    assert_eq!(why(&circuit).as_str(), "relapsed");
    assert_eq!(
        reject(&circuit).why().expect("it opened").reason.to_string(),
        "failures in a row weighed 2.0, the limit is 2.0, lowered from 5.0, thresholds lowered because the circuit had just closed"
    );
    assert_eq!(circuit.status().attempt, 2, "the time of a ramp takes no opening back");
    assert_eq!(
        (circuit.status().ramp_left, circuit.status().admitted_share),
        (None, 1.0),
        "an open circuit has no ramp"
    );
}

#[test]
fn the_usual_thresholds_apply_when_the_ramp_is_over() {
    let (circuit, clock) = ramping(|settings| settings);
    clock.advance(RAMP);
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed);
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });
}

#[test]
fn a_ramp_quarters_the_min_calls_of_a_rate_and_keeps_its_limit() {
    let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(0.5).min_calls(20).ramp(RAMP));
    clock.advance(secs(2));
    fail(&circuit, 20);
    close(&circuit, &clock);
    clock.advance(secs(2));
    (0..4).for_each(|_| fail_one(&circuit));
    assert_eq!(state(&circuit), State::Closed, "four calls are less than a quarter of twenty");
    fail_one(&circuit);
    let rule = Reason::FailureRate { rate: 1.0, limit: 0.5, score: 5.0, calls: 5 };
    assert_eq!(why(&circuit), Reason::Relapsed { rule: Arc::new(rule) });
}

#[test]
fn a_question_draws_nothing_and_answers_that_a_call_may_pass() {
    let draws = |asks: bool| -> Vec<bool> {
        let (circuit, clock) = ramping(|settings| settings);
        clock.advance(RAMP / 2);
        let draw = || {
            if asks {
                assert!(circuit.would_admit() && !circuit.is_open());
                assert_eq!((circuit.status().next_call, circuit.status().retry_after), (NextCall::Admitted, None));
            }
            circuit.try_acquire().map(Permit::success).is_ok()
        };
        (0..200).map(|_| draw()).collect()
    };
    assert_eq!(draws(true), draws(false), "the seed gives the same draws");
    assert!(draws(true).contains(&true) && draws(true).contains(&false));
}

#[test]
fn a_change_of_the_mode_neither_ends_a_ramp_nor_begins_one() {
    let (circuit, clock) = ramping(|settings| settings);
    circuit.disable(&alice(), Some(secs(4)));
    succeed(&circuit, 100);
    assert_eq!(circuit.status().ramp_left, None, "every call of a disabled circuit passes");
    clock.advance(secs(4));
    // The call that ends the hold is the first that may be drawn.
    let _first = circuit.try_acquire();
    assert_eq!((state(&circuit), circuit.status().ramp_left), (State::Closed, Some(secs(6))));
    circuit.shadow(&alice());
    circuit.resume(&alice());
    assert_eq!(circuit.status().ramp_left, Some(secs(6)));
    let share = admitted(&circuit, &clock, 10_000, Duration::ZERO);
    assert!((share - 0.4).abs() < 0.03, "{share}");
    clock.advance(secs(6));
    circuit.disable(&alice(), None);
    circuit.resume(&alice());
    succeed(&circuit, 100);
}

#[test]
fn a_circuit_in_shadow_counts_the_calls_that_its_ramp_would_reject() {
    let (circuit, clock) = rig(|settings| settings.ramp(RAMP).shadow());
    open(&circuit);
    clock.advance(secs(5));
    succeed(&circuit, 3);
    assert_eq!((state(&circuit), circuit.totals().would_reject), (State::Closed, 0));
    succeed(&circuit, 1_000);
    let would_reject = circuit.totals().would_reject;
    assert!((850..950).contains(&would_reject), "{would_reject} of 1 000 at a tenth");
    assert_eq!(circuit.totals().rejected, 0);
    clock.advance(RAMP);
    succeed(&circuit, 1_000);
    assert_eq!(circuit.totals().would_reject, would_reject);
}

/// The snapshot of a circuit that closed so long ago.
fn closed(closed_for: Option<Duration>) -> Snapshot {
    let mut snapshot = Snapshot::closed();
    snapshot.closed_for = closed_for;
    snapshot
}

#[test]
fn a_circuit_that_the_fleet_closes_begins_at_the_share_of_the_others() {
    // By default the ramp of a fleet lasts ten seconds.
    for (ramp, closed_for, left) in [
        (None, None, Some(secs(10))),
        (None, Some(secs(4)), Some(secs(6))),
        (None, Some(secs(10)), None),
        (None, Some(Duration::MAX), None),
        (Some(secs(20)), Some(secs(5)), Some(secs(15))),
        (Some(Duration::ZERO), None, None),
    ] {
        let (circuit, _) = rig(|settings| ramp.map_or(settings.clone(), |ramp| settings.ramp(ramp)));
        open(&circuit);
        circuit.adopt(&closed(closed_for), Reason::Fleet).unwrap();
        assert_eq!(circuit.status().ramp_left, left, "{ramp:?} {closed_for:?}");
        assert_eq!(circuit.snapshot().closed_for, left.and(Some(closed_for.unwrap_or_default())));
    }
}

#[test]
fn a_followed_closing_ramps_only_if_a_ramp_is_set() {
    for (ramp, left) in [(None, None), (Some(secs(20)), Some(secs(15)))] {
        let (circuit, _) = rig(|settings| ramp.map_or(settings.clone(), |ramp| settings.ramp(ramp)));
        open(&circuit);
        circuit.adopt(&closed(Some(secs(5))), Reason::Followed).unwrap();
        assert_eq!(circuit.status().ramp_left, left, "{ramp:?}");
    }
}

#[test]
fn a_restored_ramp_goes_on_without_a_new_era() {
    let (ended, clock) = ramping(|settings| settings);
    clock.advance(secs(4));
    let (circuit, clock) = rig(|settings| settings.ramp(RAMP));
    assert_eq!(circuit.adopt(&ended.snapshot(), Reason::Restored), None);
    assert_eq!((circuit.status().era, circuit.status().ramp_left), (1, Some(secs(6))));
    let share = admitted(&circuit, &clock, 10_000, Duration::ZERO);
    assert!((share - 0.4).abs() < 0.03, "{share}");
    clock.advance(secs(6));
    succeed(&circuit, 1_000);
}

#[test]
fn an_outcome_of_a_ramp_counts_after_the_ramp() {
    let (circuit, clock) = ramping(|settings| settings);
    let late = (0..1_000).find_map(|_| circuit.try_acquire().ok()).unwrap();
    clock.advance(RAMP);
    succeed(&circuit, 1);
    late.failure(Failure::hard());
    assert_eq!((circuit.totals().stale, circuit.status().run), (0, 1.0), "the end of the ramp begins no era");
}

#[test]
fn a_ramp_is_at_most_an_hour() {
    let built = |ramp| Config::builder("payments").ramp(ramp).build();
    assert!(built(secs(3_600)).is_ok());
    assert_eq!(built(secs(3_600) + NANO).unwrap_err().to_string(), "ramp is 3600.000000001 s, allowed is 0 to 1 hour");
}
