//! A circuit on a clock that the test moves, and the few words that the tests speak.

use std::time::Duration;

use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::outcome::Weight;
use tower_circuit_breaker::state::{By, Reason, Transition};
use tower_circuit_breaker::{Circuit, Config, Failure, OpenDuration, Outcome, Permit, Rejected, State};

/// The default settings without jitter: open for 5, 10, 20, 40, 60 s.
pub(crate) fn settings(clock: &MockClock) -> ConfigBuilder {
    Config::builder("payments").clock(clock.clone()).open_for(OpenDuration::default().jitter(0.0)).seed(1)
}

/// A circuit with those settings, but for what `change` changes.
pub(crate) fn rig(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock) {
    let clock = MockClock::new();
    let config = change(settings(&clock)).build().unwrap();
    (Circuit::new(config), clock)
}

/// Leaves only the rules that a test sets.
pub(crate) fn no_rules(settings: ConfigBuilder) -> ConfigBuilder {
    settings.without_failure_rate().without_consecutive_failures()
}

#[track_caller]
pub(crate) fn admit(circuit: &Circuit) -> Permit {
    circuit.try_acquire().unwrap_or_else(|rejected| panic!("it should have been admitted: {rejected}"))
}

#[track_caller]
pub(crate) fn reject(circuit: &Circuit) -> Rejected {
    circuit.try_acquire().expect_err("it should have been rejected")
}

#[track_caller]
pub(crate) fn call(circuit: &Circuit, times: u32, outcome: Outcome) {
    for _ in 0..times {
        admit(circuit).record(outcome);
    }
}

#[track_caller]
pub(crate) fn succeed(circuit: &Circuit, times: u32) {
    call(circuit, times, Outcome::Success);
}

#[track_caller]
pub(crate) fn fail(circuit: &Circuit, times: u32) {
    call(circuit, times, Outcome::failure());
}

#[track_caller]
pub(crate) fn time_out(circuit: &Circuit, times: u32) {
    call(circuit, times, Outcome::timeout());
}

pub(crate) fn weighing(weight: f64) -> Failure {
    Failure::new(Weight::new(weight).unwrap())
}

pub(crate) fn state(circuit: &Circuit) -> State {
    circuit.status().state
}

/// Lets calls fail until the circuit opens; returns for how long.
#[track_caller]
pub(crate) fn open(circuit: &Circuit) -> Option<Duration> {
    for _ in 0..100 {
        if state(circuit) == State::Open {
            return last(circuit).lasts;
        }
        fail(circuit, 1);
    }
    panic!("a hundred failures did not open it");
}

/// Opens the circuit, waits, and returns its first probe.
#[track_caller]
pub(crate) fn probe(circuit: &Circuit, clock: &MockClock) -> Permit {
    clock.advance(open(circuit).expect("it recovers by itself"));
    let probe = admit(circuit);
    assert!(probe.is_probe(), "the first call after the wait is a probe");
    probe
}

/// Waits until an open circuit probes, and closes it.
#[track_caller]
pub(crate) fn close(circuit: &Circuit, clock: &MockClock) {
    clock.advance(reject(circuit).retry_after().expect("it recovers by itself"));
    for _ in 0..10_000 {
        if state(circuit) == State::Closed {
            return;
        }
        succeed(circuit, 1);
    }
    panic!("ten thousand successes did not close it");
}

#[track_caller]
pub(crate) fn last(circuit: &Circuit) -> Transition {
    circuit.status().transitions.pop().expect("something has happened")
}

/// Why the circuit is what it is.
#[track_caller]
pub(crate) fn why(circuit: &Circuit) -> Reason {
    last(circuit).reason
}

pub(crate) fn alice() -> By {
    By::new("alice", "maintenance").unwrap()
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const NANO: Duration = Duration::from_nanos(1);
