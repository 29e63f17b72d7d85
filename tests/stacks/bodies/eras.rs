//! Bodies that outlive the era of their call, and bodies of probes.

use std::sync::mpsc::channel;
use std::time::Duration;

use tower::{Layer, service_fn};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{By, Circuit, CircuitBreakerLayer, Config, State, WhenOpen};
use tower_test::mock::Spawn;

use super::parts::*;

fn half_open(clock: &MockClock) -> Circuit {
    let circuit = circuit(clock);
    trip(&circuit);
    clock.advance(MINUTE);
    circuit
}

#[test]
fn a_body_that_ends_in_a_later_era_is_stale() {
    for ending in ["0", "14"] {
        let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
        let mut body =
            head(&mut service(&circuit, &judge), ok([Step::Data("one"), Step::Trailers(ending)])).into_body();
        circuit.reset(&By::new("ops", "a test").unwrap(), To::HalfOpen);
        read(&mut body);
        let status = circuit.status();
        assert_eq!((status.state, status.totals.stale), (State::HalfOpen, 1), "status {ending} decides nothing");
        assert_eq!((status.probes.successes, status.probes.failures), (0, 0));
    }
}

#[test]
fn a_probe_keeps_its_slot_and_closes_when_its_body_ends() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let circuit = half_open(&clock);
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one")])).into_body();
    assert!(frame(&mut body).is_ready());
    assert_eq!((circuit.status().state, circuit.status().probes.in_flight), (State::HalfOpen, 1));
    assert!(circuit.try_acquire().is_err(), "the slot is taken");
    read(&mut body);
    assert_eq!(circuit.status().state, State::Closed);
}

#[test]
fn a_probe_whose_body_fails_reopens() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let circuit = half_open(&clock);
    let request = ok([Step::Data("one"), Step::Fail(std::io::ErrorKind::ConnectionReset)]);
    read(head(&mut service(&circuit, &judge), request).body_mut());
    assert_eq!(circuit.status().state, State::Open);
}

#[test]
fn a_probe_whose_body_is_dropped_early_frees_its_slot() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let circuit = half_open(&clock);
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one"), Step::Data("two")])).into_body();
    assert!(frame(&mut body).is_ready());
    drop(body);
    assert_eq!((circuit.status().state, circuit.status().probes.in_flight), (State::HalfOpen, 0));
    assert!(circuit.try_acquire().is_ok_and(|permit| permit.is_probe()));
}

#[test]
fn a_probe_whose_body_hangs_is_overdue_and_its_end_is_stale() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let circuit = half_open(&clock);
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one"), Step::Pending])).into_body();
    assert!(frame(&mut body).is_ready() && frame(&mut body).is_pending());
    clock.advance(PROBE_DEADLINE - TICK);
    assert!(circuit.try_acquire().is_err());
    assert_eq!(circuit.status().state, State::HalfOpen);
    clock.advance(PROBE_DEADLINE + TICK);
    assert!(circuit.try_acquire().is_err());
    let status = circuit.status();
    assert!(matches!(status.transitions.last().unwrap().reason, Reason::NoSuccess { .. }));
    read(&mut body);
    let status = circuit.status();
    assert_eq!((status.state, status.totals.stale), (State::Open, 1));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_probe_body_wakes_a_service_waiting_for_slots() {
    let circuit = Circuit::new(Config::classic("payments").clock(TokioClock::new()).probes(2).build().unwrap());
    let (judge, _words) = channel();
    trip(&circuit);
    tokio::time::advance(MINUTE).await;
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one")])).into_body();

    let inner = service_fn(|request: http::Request<Reply>| std::future::ready(request.into_body()));
    let layer = CircuitBreakerLayer::new(&circuit).when_open(WhenOpen::Pend).tracked_bodies();
    let mut waiting = Spawn::new(layer.layer(inner));
    assert!(waiting.poll_ready::<http::Request<Reply>>().is_pending());
    assert!(frame(&mut body).is_ready());
    assert!(waiting.poll_ready::<http::Request<Reply>>().is_pending(), "the body has not ended");
    read(&mut body);
    assert!(waiting.is_woken());
    assert!(waiting.poll_ready::<http::Request<Reply>>().is_ready());
}

const MINUTE: Duration = Duration::from_secs(60);
const PROBE_DEADLINE: Duration = Duration::from_secs(30);
