//! Late failures that ask for no calls for a time: the one kind of outcome that counts in another era than its own.

use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Failure, State};

use crate::rig::{admit, alice, fail, last, millis, open, probe, reject, rig, secs, state, why};

fn asks_for(seconds: u64) -> Failure {
    Failure::hard().trips_at_once().with_retry_after(secs(seconds))
}

#[test]
fn a_late_failure_lengthens_an_opening_and_never_shortens_it() {
    let (circuit, clock) = rig(|settings| settings);
    let [short, long, close] = [(); 3].map(|()| admit(&circuit));
    fail(&circuit, 5);
    let (opened, wait) = (last(&circuit), open(&circuit).unwrap());
    short.failure(asks_for(1));
    assert_eq!((last(&circuit).generation, open(&circuit)), (opened.generation, Some(wait)), "it is open for longer");
    long.failure(asks_for(120));
    assert_eq!((why(&circuit), reject(&circuit).retry_after()), (Reason::AtOnce, Some(secs(120))));
    assert_eq!((last(&circuit).from.state, last(&circuit).attempt), (State::Open, opened.attempt), "one opening");
    clock.advance(millis(999));
    close.failure(asks_for(120));
    assert_eq!(reject(&circuit).retry_after(), Some(secs(120) - millis(999)), "ends less than 1 s apart are one");
    clock.advance(secs(120) - millis(999));
    assert!(admit(&circuit).is_probe());
}

#[test]
fn a_late_failure_opens_a_half_open_and_a_closed_circuit() {
    let (circuit, clock) = rig(|settings| settings.probes(1));
    let [first, second] = [(); 2].map(|()| admit(&circuit));
    fail(&circuit, 5);
    let under_way = probe(&circuit, &clock);
    first.failure(asks_for(120));
    assert_eq!((why(&circuit), open(&circuit)), (Reason::AtOnce, Some(secs(120))));
    under_way.success();
    assert_eq!(state(&circuit), State::Open, "the probe is of an earlier era now");
    probe(&circuit, &clock).success();
    assert_eq!(state(&circuit), State::Closed);
    second.failure(asks_for(60));
    assert_eq!((why(&circuit), open(&circuit)), (Reason::AtOnce, Some(secs(60))));
}

#[test]
fn a_late_failure_without_a_time_or_with_a_time_of_zero_is_stale() {
    for late in [Failure::hard().trips_at_once(), asks_for(0), Failure::hard().with_retry_after(secs(60))] {
        let (circuit, clock) = rig(|settings| settings.probes(1));
        let permit = admit(&circuit);
        fail(&circuit, 5);
        probe(&circuit, &clock).success();
        permit.failure(late);
        assert_eq!((state(&circuit), circuit.totals().stale), (State::Closed, 1), "{late:?}");
    }
}

#[test]
fn a_late_failure_changes_nothing_while_an_operator_or_manual_recovery_decides() {
    let (circuit, _clock) = rig(|settings| settings);
    let [held, disabled] = [(); 2].map(|()| admit(&circuit));
    circuit.trip(&alice(), Some(secs(10)));
    held.failure(asks_for(60));
    assert_eq!(circuit.status().retry_after, Some(secs(10)));
    circuit.resume(&alice());
    circuit.disable(&alice(), None);
    disabled.failure(asks_for(60));
    admit(&circuit).failure(asks_for(60));
    assert_eq!(state(&circuit), State::Closed);
    let (circuit, _clock) = rig(|settings| settings.recovery(Recovery::Manual));
    let late = admit(&circuit);
    fail(&circuit, 5);
    late.failure(asks_for(60));
    assert_eq!((state(&circuit), circuit.status().transitions.len()), (State::Open, 1));
}

#[test]
fn a_time_of_years_keeps_the_circuit_open_for_five_minutes() {
    let (circuit, _clock) = rig(|settings| settings);
    let late = admit(&circuit);
    fail(&circuit, 5);
    late.failure(asks_for(u64::MAX));
    assert_eq!(open(&circuit), Some(secs(300)));
}
