//! Kinds of calls and circuits: which calls can hang, and where they count.

use std::collections::VecDeque;
use std::future::pending;
use std::mem;
use std::pin::pin;
use std::task::{Context, Waker};

use tower_circuit_breaker::circuit::{NextCall, To};
use tower_circuit_breaker::{Circuit, Failure, Permit, Reason, State, Window};

use super::{begin, hanging, slow_rule};
use crate::rig::{admit, alice, close, fail, millis, no_rules, open, reject, rig, secs, settings, state, succeed, why};

#[test]
fn probes_never_hang_because_they_have_a_deadline() {
    let (circuit, clock) =
        rig(|settings| slow_rule(settings).min_calls(1).probes(3).probes_in_flight(3).probe_deadline(secs(60)));
    circuit.reset(&alice(), To::HalfOpen);
    let probes = begin(&circuit, 3);
    clock.advance(secs(30));
    assert_eq!((state(&circuit), hanging(&circuit)), (State::HalfOpen, 0));
    probes.into_iter().for_each(Permit::success);
    assert_eq!(why(&circuit).as_str(), "probe_failed", "each was slow");
}

#[test]
fn calls_that_began_before_an_opening_do_not_hang_after_it() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).consecutive_failures(5));
    let _before = begin(&circuit, 30);
    open(&circuit);
    close(&circuit, &clock);
    clock.advance(secs(60));
    assert_eq!((state(&circuit), hanging(&circuit)), (State::Closed, 0));
    let _after = begin(&circuit, 19);
    clock.advance(secs(3));
    assert_eq!(hanging(&circuit), 19);
}

#[test]
fn a_disabled_circuit_counts_no_call_that_hangs() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).min_calls(1));
    circuit.disable(&alice(), None);
    let under_way = begin(&circuit, 30);
    clock.advance(secs(3));
    assert_eq!((circuit.status().next_call, hanging(&circuit)), (NextCall::Admitted, 0));
    circuit.resume(&alice());
    assert_eq!((state(&circuit), hanging(&circuit)), (State::Closed, 0));
    drop(under_way);
}

#[test]
fn a_hold_hides_the_calls_that_hang_beneath() {
    let (circuit, clock) = rig(slow_rule);
    let _under_way = begin(&circuit, 30);
    circuit.trip(&alice(), Some(secs(1)));
    clock.advance(secs(30));
    assert_eq!((circuit.status().standing().to_string().as_str(), hanging(&circuit)), ("forced_open", 0));
    assert!(admit(&circuit).is_probe());
}

#[test]
fn a_circuit_in_shadow_opens_and_lets_the_calls_through() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).shadow());
    let _under_way = begin(&circuit, 20);
    clock.advance(millis(2_200));
    let _passes = admit(&circuit);
    assert_eq!((state(&circuit), circuit.totals().would_reject), (State::Open, 1));
}

#[test]
fn a_forgotten_permit_hangs_until_its_era_ends_and_is_evidence_for_a_window() {
    let (circuit, clock) = rig(slow_rule);
    for _ in 0..19 {
        mem::forget(admit(&circuit));
    }
    clock.advance(secs(24 * 3_600));
    assert_eq!((state(&circuit), hanging(&circuit)), (State::Closed, 19));
    mem::forget(admit(&circuit));
    clock.advance(secs(3));
    assert_eq!((state(&circuit), hanging(&circuit)), (State::Closed, 20), "19 of them are older than the window");
    (0..20).for_each(|_| mem::forget(admit(&circuit)));
    clock.advance(secs(3));
    assert_eq!(state(&circuit), State::Open);
    close(&circuit, &clock);
    clock.advance(secs(24 * 3_600));
    assert_eq!((state(&circuit), hanging(&circuit)), (State::Closed, 0), "the permits are of an ended era");
}

#[test]
fn a_future_that_is_dropped_does_not_hang_any_more() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).min_calls(100));
    let mut calls: Vec<_> = (0..10).map(|_| Box::pin(circuit.call(pending::<Result<(), Failed>>()))).collect();
    let mut context = Context::from_waker(Waker::noop());
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    clock.advance(secs(3));
    assert_eq!(hanging(&circuit), 10);
    calls.truncate(4);
    assert_eq!(hanging(&circuit), 4);
    drop(calls);
    assert_eq!((hanging(&circuit), circuit.totals().failures), (0, 10), "each counts as a late cancellation");
}

#[test]
fn a_future_that_was_never_polled_does_not_hang() {
    let (circuit, clock) = rig(slow_rule);
    let calls: Vec<_> = (0..30).map(|_| circuit.call(pending::<Result<(), Failed>>())).collect();
    clock.advance(secs(3));
    assert_eq!((hanging(&circuit), state(&circuit)), (0, State::Closed));
    drop(calls);
}

#[test]
fn calls_within_calls_hang_as_two() {
    let (circuit, clock) = rig(slow_rule);
    let inner = circuit.clone();
    let nested = circuit.call(async move { inner.call(pending::<Result<(), Failed>>()).await });
    let mut nested = pin!(nested);
    assert!(nested.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    clock.advance(secs(3));
    assert_eq!(hanging(&circuit), 2, "both count while the circuit is closed");
}

#[test]
fn a_blocking_call_that_panics_does_not_hang() {
    let (circuit, clock) = rig(slow_rule);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        circuit.call_blocking(|| -> Result<(), Failed> { panic!("in the call") })
    }));
    assert!(caught.is_err());
    clock.advance(secs(3));
    assert_eq!(hanging(&circuit), 0);
}

#[test]
fn measured_calls_hang_as_others_do() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).measure_durations());
    let mut under_way = begin(&circuit, 19);
    clock.advance(secs(3));
    assert_eq!(hanging(&circuit), 19);
    under_way.drain(..).for_each(|permit| permit.failure(Failure::hard()));
    let status = circuit.status();
    assert_eq!((status.hanging, status.tally.slow(), status.tally.calls()), (0, 19, 19));
}

#[test]
fn a_ramp_lowers_the_number_of_hanging_calls_that_is_needed() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).ramp(secs(600)).consecutive_failures(5));
    open(&circuit);
    close(&circuit, &clock);
    let mut under_way = Vec::new();
    while under_way.len() < 5 {
        under_way.extend(circuit.try_acquire());
        clock.advance(millis(1));
    }
    clock.advance(millis(2_300));
    assert_eq!(state(&circuit), State::Open);
    let Reason::Relapsed { rule } = why(&circuit) else { panic!("{}", why(&circuit)) };
    assert!(matches!(*rule, Reason::SlowCallRate { slow: 5, calls: 5, hanging: 5, .. }), "{rule}");
}

#[test]
fn a_restarted_circuit_knows_no_call_that_hangs() {
    let (circuit, clock) = rig(slow_rule);
    let _under_way = begin(&circuit, 19);
    clock.advance(secs(3));
    let snapshot = circuit.snapshot();
    assert_eq!(snapshot.tally.slow(), 0, "a hanging call is not persisted");
    let restarted = Circuit::new(slow_rule(settings(&clock)).build().unwrap());
    restarted.adopt(&snapshot, Reason::Restored);
    assert_eq!((hanging(&restarted), state(&restarted)), (0, State::Closed));
    // A restore within the era loses no call.
    circuit.adopt(&snapshot, Reason::Restored);
    assert_eq!(hanging(&circuit), 19);
}

#[test]
fn calls_that_hang_take_the_places_of_the_oldest_calls_of_a_ring() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).window(Window::calls(100)));
    succeed(&circuit, 1_000);
    let under_way = begin(&circuit, 49);
    clock.advance(millis(2_300));
    assert_eq!((state(&circuit), circuit.status().slow_call_rate), (State::Closed, Some(0.49)));
    let more = begin(&circuit, 1);
    clock.advance(millis(2_300));
    reject(&circuit);
    drop((under_way, more));
}

/// One of ten calls takes a minute, so that 60 calls hang at any time beside the 90 quick calls of the window.
#[test]
fn long_polls_of_a_healthy_service_open_no_circuit() {
    for window in [Window::time(secs(10)), Window::calls(100)] {
        let (circuit, clock) = rig(|settings| slow_rule(settings).slow_call_rate(0.3).window(window));
        let mut polls = VecDeque::new();
        for second in 0..1_200 {
            succeed(&circuit, 9);
            polls.push_back(admit(&circuit));
            if second >= 60 {
                polls.pop_front().unwrap().success();
            }
            clock.advance(secs(1));
            assert_eq!(state(&circuit), State::Closed, "second {second}: {}", circuit.status());
        }
        assert!(hanging(&circuit) >= 57, "{}", circuit.status());
    }
}

#[test]
fn a_restored_window_and_calls_that_hang_count_together() {
    let clock = tower_circuit_breaker::clock::MockClock::new();
    let circuit = Circuit::new(no_rules(settings(&clock)).slow_call_rate(0.5).slower_than(secs(1)).build().unwrap());
    let mut snapshot = circuit.snapshot();
    snapshot.tally = tower_circuit_breaker::window::Tally::new(30, 0.0, 10);
    let under_way = begin(&circuit, 10);
    circuit.adopt(&snapshot, Reason::Restored);
    fail(&circuit, 1);
    clock.advance(millis(1_100));
    assert_eq!((state(&circuit), hanging(&circuit)), (State::Closed, 10), "20 of 41");
    drop(under_way);
}

#[derive(Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}
