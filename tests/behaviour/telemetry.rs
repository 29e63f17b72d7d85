//! What the shipped observers tell: metrics to a recorder, transitions to a subscriber.
#![cfg(any(feature = "metrics", feature = "tracing"))]

#[cfg(all(feature = "metrics", feature = "tracing"))]
mod health;
#[cfg(feature = "tracing")]
#[path = "../store/lines.rs"]
mod lines;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

use std::time::Duration;

#[cfg(feature = "tracing")]
use tower_circuit_breaker::Registry;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::{ConfigBuilder, OpenDuration};
use tower_circuit_breaker::state::By;
use tower_circuit_breaker::{Circuit, Config, Failure};

/// Five failures in a row open it for five seconds, one probe closes it.
fn settings(clock: &MockClock) -> ConfigBuilder {
    Config::classic("payments").open_for(OpenDuration::fixed(SECONDS_5)).clock(clock.clone())
}

fn circuit(clock: &MockClock) -> Circuit {
    Circuit::new(settings(clock).build().expect("the settings can work"))
}

fn fail(circuit: &Circuit, times: usize) {
    for _ in 0..times {
        circuit.try_acquire().expect("it is not open yet").failure(Failure::hard());
    }
}

fn succeed(circuit: &Circuit) {
    circuit.try_acquire().expect("it lets the call through").success();
}

fn reject(circuit: &Circuit) {
    assert!(circuit.try_acquire().is_err(), "the call is rejected");
}

fn somebody() -> By {
    By::new("alice", "maintenance").expect("neither is blank")
}

const SECONDS_5: Duration = Duration::from_secs(5);
