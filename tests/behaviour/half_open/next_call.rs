//! The answer to the next call, as the circuit says it beforehand: exact, and never a reason for a circuit to stay as it is.

use tower_circuit_breaker::circuit::{NextCall, To};
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::state::RejectReason;
use tower_circuit_breaker::{Circuit, Permit, Rejected, State};

use crate::rig::{admit, alice, fail, millis, open, probe, reject, rig, secs, state, succeed, why};

/// Asks the circuit, makes the call, and checks that both answers are the same.
#[track_caller]
fn says(circuit: &Circuit, expected: NextCall) -> Result<Permit, Rejected> {
    let (said, is_open) = (circuit.status().next_call, circuit.is_open());
    assert_eq!(said, expected);
    assert_eq!(circuit.would_admit(), said != NextCall::Rejected);
    let answer = circuit.try_acquire();
    let gets = match &answer {
        Ok(permit) if permit.is_probe() => NextCall::Probe,
        Ok(_) => NextCall::Admitted,
        Err(_) => NextCall::Rejected,
    };
    assert_eq!(gets, expected, "as it said");
    assert_eq!(is_open, answer.as_ref().is_err_and(|rejected| rejected.reason() == RejectReason::Tripped));
    answer
}

#[test]
fn a_status_says_which_answer_the_next_call_would_get() {
    let (circuit, clock) = rig(|settings| settings);
    says(&circuit, NextCall::Admitted).unwrap().success();
    let wait = open(&circuit).unwrap();
    reject(&circuit);
    says(&circuit, NextCall::Rejected).unwrap_err();
    clock.advance(wait);
    assert_eq!(circuit.state(), State::Open, "no call has come");
    let probe = says(&circuit, NextCall::Probe).unwrap();
    says(&circuit, NextCall::Rejected).unwrap_err();
    probe.success();
    succeed(&circuit, 2);
    circuit.trip(&alice(), Some(secs(10)));
    says(&circuit, NextCall::Rejected).unwrap_err();
    clock.advance(secs(10));
    says(&circuit, NextCall::Probe).unwrap().cancel();
    circuit.disable(&alice(), Some(secs(10)));
    says(&circuit, NextCall::Admitted).unwrap().success();
    circuit.shadow(&alice());
    let probe = says(&circuit, NextCall::Probe).unwrap();
    says(&circuit, NextCall::Admitted).unwrap().success();
    drop(probe);
}

#[test]
fn under_manual_recovery_the_next_call_is_rejected_after_every_hold() {
    let (manual, clock) = rig(|settings| settings.recovery(Recovery::Manual));
    open(&manual);
    clock.advance(secs(3600));
    says(&manual, NextCall::Rejected).unwrap_err();
    manual.trip(&alice(), Some(secs(1)));
    clock.advance(secs(1));
    says(&manual, NextCall::Rejected).unwrap_err();
    assert_eq!(why(&manual).as_str(), "hold_ended", "the hold ends in the opening, which only a reset ends");
}

#[test]
fn an_overdue_probe_beside_an_extra_probe_makes_no_room() {
    let (circuit, clock) = rig(|settings| settings);
    probe(&circuit, &clock).cancel();
    let overdue = admit(&circuit);
    clock.advance(secs(20));
    let extra = admit(&circuit);
    clock.advance(secs(10));
    // The extra place is gone with the probes that ended before, and the extra probe has the only slot.
    says(&circuit, NextCall::Rejected).unwrap_err();
    clock.advance(secs(20) - millis(1));
    says(&circuit, NextCall::Rejected).unwrap_err();
    clock.advance(millis(1));
    let next = says(&circuit, NextCall::Probe).unwrap();
    drop((overdue, extra, next));
}

#[test]
fn a_quiet_circuit_with_an_overdue_probe_closes_with_the_next_call() {
    let (circuit, clock) = rig(|settings| settings);
    probe(&circuit, &clock).success();
    let overdue = admit(&circuit);
    clock.advance(secs(60));
    says(&circuit, NextCall::Admitted).unwrap().success();
    assert_eq!(why(&circuit).as_str(), "quiet_service");
    drop(overdue);
}

#[test]
fn a_hold_over_shadow_ends_in_shadow_where_every_call_passes() {
    for hold in [Circuit::disable, |circuit: &Circuit, by: &_, hold| circuit.trip(by, hold)] {
        let (circuit, clock) = rig(|settings| settings.recovery(Recovery::Manual).shadow());
        open(&circuit);
        hold(&circuit, &alice(), Some(secs(1)));
        clock.advance(secs(1));
        says(&circuit, NextCall::Admitted).unwrap().success();
        assert_eq!(circuit.totals().would_reject, 1);
    }
}

#[test]
fn a_hold_over_an_opening_ends_in_its_wait() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    circuit.disable(&alice(), Some(secs(1)));
    clock.advance(secs(1));
    assert_eq!(circuit.status().retry_after, Some(secs(4)));
    says(&circuit, NextCall::Rejected).unwrap_err();
    circuit.disable(&alice(), Some(secs(10)));
    clock.advance(secs(10));
    says(&circuit, NextCall::Probe).unwrap().cancel();
}

#[test]
fn callers_who_ask_first_do_not_keep_a_circuit_half_open() {
    let by_status = |circuit: &Circuit| circuit.status().next_call != NextCall::Rejected;
    for ask in [Circuit::would_admit, by_status, |circuit: &Circuit| !circuit.is_open()] {
        let (circuit, clock) = rig(|settings| settings);
        std::mem::forget(probe(&circuit, &clock));
        let closed = (0..1_000).any(|_| {
            clock.advance(secs(1));
            if ask(&circuit) {
                // The first probes hang for ever, and later probes succeed.
                match circuit.try_acquire() {
                    Ok(hangs) if circuit.status().attempt < 2 => std::mem::forget(hangs),
                    Ok(permit) => permit.success(),
                    Err(rejected) => assert!(!circuit.would_admit(), "{rejected}"),
                }
            }
            state(&circuit) == State::Closed
        });
        assert!(closed, "{:#?}", circuit.status());
    }
}

#[test]
fn a_failed_probe_beside_the_tolerated_ones_leaves_the_answer_exact() {
    let (circuit, clock) = rig(|settings| settings.probe_failures_tolerated(1).probes_in_flight(2));
    let hangs = probe(&circuit, &clock);
    fail(&circuit, 1);
    clock.advance(secs(60));
    says(&circuit, NextCall::Rejected).unwrap_err();
    assert_eq!(why(&circuit).as_str(), "no_success");
    circuit.reset(&alice(), To::HalfOpen);
    says(&circuit, NextCall::Probe).unwrap().cancel();
    drop(hangs);
}
