//! Calls of services that hang: the slow-call rule counts them while they are under way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::classify::Classifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Outcome, State};

use crate::parts::{Ask, Strict, ask, obey, poll, poll_ready, rejection, settings, state};

const SECOND: Duration = Duration::from_secs(1);

/// Opens if half of at least 20 calls take 2 s or longer.
fn circuit(clock: &MockClock) -> Circuit {
    let rules = settings(clock).window(tower_circuit_breaker::Window::calls(100)).slow_call_rate(0.5);
    Circuit::new(rules.slower_than(2 * SECOND).min_calls(20).build().unwrap())
}

/// Begins a call of a service that is ready.
fn begin<S: Service<Ask>>(service: &mut S, ask: Ask) -> std::pin::Pin<Box<S::Future>> {
    assert!(matches!(poll_ready(service), Poll::Ready(Ok(()))), "the service is ready");
    Box::pin(service.call(ask))
}

fn hanging(circuit: &Circuit) -> u64 {
    circuit.status().hanging
}

#[test]
fn a_service_that_answers_nothing_is_opened_by_its_calls() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = CircuitBreakerLayer::new(&circuit).layer(Strict::default());
    let mut calls = Vec::new();
    for _ in 0..220 {
        let mut call = begin(&mut service, Ask::Hang);
        assert!(poll(&mut call).is_pending());
        calls.push(call);
        clock.advance(SECOND / 100);
    }
    // The calls of the first 200 ms hang.
    let rejected = rejection(ask(&mut service, Ask::Succeed));
    assert!(rejected.to_string().contains("20 of them are still under way"), "{rejected}");
    assert_eq!(service.get_ref().calls.get(), 220, "the call that finds the rule met is not made");
}

#[test]
fn a_service_call_that_is_dropped_or_panics_hangs_no_more() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(obey));
    let mut calls: Vec<_> = (0..3).map(|_| begin(&mut service, Ask::Hang)).collect();
    calls.iter_mut().for_each(|call| assert!(poll(call).is_pending()));
    let _unpolled = begin(&mut service, Ask::Hang);
    assert!(catch_unwind(AssertUnwindSafe(|| ask(&mut service, Ask::Panic))).is_err());
    clock.advance(3 * SECOND);
    assert_eq!(hanging(&circuit), 4, "a call of a service begins with its future");
    calls.pop();
    assert_eq!(hanging(&circuit), 3);
}

#[test]
fn a_panic_before_the_future_leaves_no_call_under_way() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let panics = |_: Ask| -> std::future::Ready<Result<(), std::io::Error>> { panic!("in the call") };
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(panics));
    for _ in 0..3 {
        assert!(catch_unwind(AssertUnwindSafe(|| drop(begin(&mut service, Ask::Succeed)))).is_err());
    }
    clock.advance(3 * SECOND);
    assert_eq!((hanging(&circuit), circuit.totals().failures), (0, 3));
}

/// Needs the duration of each call, and panics at the start of a call that is to panic.
#[derive(Debug, Clone)]
struct Timed;

impl<Res, Err> Classifier<Ask, Res, Err> for Timed {
    const NEEDS_ELAPSED: bool = true;
    type Call = Ask;

    fn start(&self, request: &Ask) -> Ask {
        assert_ne!(*request, Ask::Panic, "as asked");
        *request
    }

    fn finish(&self, _: Ask, _: Result<&Res, &Err>, elapsed: Duration) -> Outcome {
        if elapsed > SECOND { Outcome::Ignored } else { Outcome::Success }
    }
}

#[test]
fn calls_of_a_classifier_that_measures_hang_and_end_as_it_judges() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = CircuitBreakerLayer::new(&circuit).classifier(Timed).layer(service_fn(obey));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(begin(&mut service, Ask::Panic)))).is_err());
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok());
    // The service has answered, but the task does not poll.
    let mut late = begin(&mut service, Ask::Succeed);
    clock.advance(3 * SECOND);
    assert_eq!(hanging(&circuit), 1);
    assert!(poll(&mut late).is_ready());
    let status = circuit.status();
    assert_eq!((status.hanging, status.tally.slow(), status.totals.ignored), (0, 0, 1));
    assert_eq!(state(&circuit), State::Closed);
}
