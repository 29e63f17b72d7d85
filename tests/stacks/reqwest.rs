//! reqwest's client over loopback: what its errors mean, what its callers get, what a body does after its head.

mod bodies;
mod causes;
mod connector;
mod deadlines;
mod middleware;
mod outcomes;
mod peer;
mod rejections;
mod stacks;
mod tracked;

use std::time::Duration;

use reqwest::{Client, Method, Request};
use tower_circuit_breaker::circuit::Totals;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Circuit, Config, Failure, State};

/// Five failures in a row open it for 60 s, which pass when the test says so.
fn settings(clock: &MockClock) -> ConfigBuilder {
    Config::classic("payments").clock(clock.clone())
}

fn circuit() -> Circuit {
    Circuit::new(settings(&MockClock::new()).build().unwrap())
}

fn trip(circuit: &Circuit) {
    for permit in (0..5).map_while(|_| circuit.try_acquire().ok()) {
        permit.failure(Failure::hard());
    }
    assert_eq!(circuit.status().state, State::Open);
}

/// A client that sees neither proxies nor a timeout.
fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn get(url: &str) -> Request {
    Request::new(Method::GET, url.parse().unwrap())
}

/// Returns how many successes and failures were counted, how much the failures in a row weigh, and how many were ignored.
fn counted(circuit: &Circuit) -> (u64, u64, f64, u64) {
    let status = circuit.status();
    let Totals { successes, failures, ignored, .. } = status.totals;
    (successes, failures, status.run, ignored)
}

/// What a caller of a peer that hangs waits, at most, on real time.
const SHORT: Duration = Duration::from_millis(100);
