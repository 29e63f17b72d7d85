//! Half-open makes progress on a healthy service, whatever lies around the breaker: nested layers, hedges, callers who give
//! up early, and services whose calls take long.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::hedge::{Hedge, Policy};
use tower::util::UnsyncBoxService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::circuit::NextCall;
use tower_circuit_breaker::clock::{Clock, MockClock, TokioClock};
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Error, State};

use crate::parts::{Ask, obey, state};

const SECOND: Duration = Duration::from_secs(1);

fn circuit() -> (Circuit, MockClock) {
    let clock = MockClock::new();
    (Circuit::new(Config::builder("nested").clock(clock.clone()).build().unwrap()), clock)
}

/// Opens the circuit.
async fn open(circuit: &Circuit) {
    for _ in 0..5 {
        drop(circuit.call(obey(Ask::Fail)).await);
    }
    assert_eq!(state(circuit), State::Open);
}

/// Opens the circuit and waits until it probes.
async fn outage(circuit: &Circuit, clock: &MockClock) {
    open(circuit).await;
    clock.advance(10 * SECOND);
}

#[tokio::test]
async fn nested_layers_of_one_circuit_recover_with_the_probes_of_one() {
    let (circuit, clock) = circuit();
    outage(&circuit, &clock).await;
    let layer = CircuitBreakerLayer::new(&circuit);
    let layers = ServiceBuilder::new().layer(layer.clone()).map_err(BoxError::from).layer(layer.clone()).layer(layer);
    let mut service = layers.service(service_fn(obey));
    for call in 1..=3 {
        assert_eq!(state(&circuit), if call == 1 { State::Open } else { State::HalfOpen });
        assert!(service.ready().await.unwrap().call(Ask::Succeed).await.is_ok(), "call {call}");
    }
    assert_eq!(state(&circuit), State::Closed, "three probes of the outermost layer");
}

#[tokio::test]
async fn a_nested_call_that_is_made_while_the_outer_call_is_polled_takes_no_slot() {
    let (circuit, clock) = circuit();
    outage(&circuit, &clock).await;
    for call in 1..=3 {
        // As a router does: the inner service is made ready and called when the outer future is polled.
        let inner = CircuitBreakerLayer::new(&circuit).layer(service_fn(obey));
        let outer = circuit.call(async {
            let first = inner.clone().oneshot(Ask::Succeed).await;
            tokio::task::yield_now().await;
            // And a second time after the task was suspended, without tower.
            first.and(circuit.call(obey(Ask::Succeed)).await.map_err(BoxError::from))
        });
        assert!(outer.await.is_ok(), "call {call}");
    }
    assert_eq!((state(&circuit), circuit.totals().rejected), (State::Closed, 0));
}

#[tokio::test]
async fn a_circuit_says_inside_a_probe_that_a_nested_call_is_admitted() {
    let (circuit, clock) = circuit();
    outage(&circuit, &clock).await;
    let said = circuit.call(async {
        // The outer call is the only probe that is admitted.
        Ok::<_, std::io::Error>((
            circuit.status().next_call,
            circuit.would_admit(),
            circuit.try_acquire().unwrap().is_probe(),
        ))
    });
    assert_eq!(said.await.unwrap(), (NextCall::Admitted, true, false));
    assert_eq!(circuit.status().next_call, NextCall::Probe, "outside of the call");
}

#[tokio::test]
async fn a_nested_failure_fails_the_outer_probe_once() {
    let (circuit, clock) = circuit();
    outage(&circuit, &clock).await;
    let result = circuit.call(async { circuit.call(obey(Ask::Fail)).await }).await;
    assert!(matches!(result, Err(Error::Inner(Error::Inner(_)))), "the service has failed, and nothing was rejected");
    assert_eq!(circuit.status().attempt, 2, "it opened again");
}

#[tokio::test]
async fn a_call_of_another_task_is_no_nested_call() {
    let (circuit, clock) = circuit();
    outage(&circuit, &clock).await;
    let result = circuit.call(spawned(&circuit)).await;
    assert!(matches!(result, Err(Error::Inner(Error::Rejected(_)))), "one probe at a time");
    // The rejection is no verdict, so that a second probe may run beside the first one from now on.
    for _ in 0..3 {
        drop(circuit.call(spawned(&circuit)).await);
    }
    clock.advance(60 * SECOND);
    drop(circuit.try_acquire());
    assert_eq!(state(&circuit), State::Closed);
}

/// A call of the circuit in a task of its own.
async fn spawned(circuit: &Circuit) -> Result<&'static str, Error<std::io::Error>> {
    let circuit = circuit.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { circuit.call(obey(Ask::Succeed)).await });
    tasks.join_next().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_panic_of_a_probe_leaves_no_note_of_it() {
    let (circuit, clock) = circuit();
    outage(&circuit, &clock).await;
    let panicking = circuit.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { panicking.call(obey(Ask::Panic)).await });
    assert!(tasks.join_next().await.unwrap().is_err());
    assert_eq!(state(&circuit), State::Open);
    clock.advance(20 * SECOND);
    let probe = circuit.try_acquire().unwrap();
    assert!(probe.is_probe());
    assert!(circuit.try_acquire().is_err(), "this thread polls no probe");
}

#[derive(Clone)]
struct Always;

impl Policy<u32> for Always {
    fn clone_request(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn can_retry(&self, _: &u32) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_around_the_breaker_does_not_delay_the_recovery() {
    let mut firsts = Vec::new();
    let clock = TokioClock::new();
    for hedged in [false, true] {
        let circuit = Circuit::new(Config::builder("search").clock(clock).seed(1).build().unwrap());
        // In milliseconds; 0: the service is down.
        let latency = Rc::new(Cell::new(10));
        let milliseconds = Rc::clone(&latency);
        let guarded = CircuitBreakerLayer::new(&circuit).layer(service_fn(move |number: u32| {
            let milliseconds = milliseconds.get();
            async move {
                if milliseconds == 0 {
                    return Err(std::io::Error::other("down"));
                }
                sleep(Duration::from_millis(milliseconds)).await;
                Ok(number)
            }
        }));
        let mut service: UnsyncBoxService<u32, u32, BoxError> = if hedged {
            UnsyncBoxService::new(Hedge::new(guarded, Always, 10, 0.95, 60 * SECOND))
        } else {
            UnsyncBoxService::new(guarded)
        };
        for _ in 0..200 {
            service.ready().await.unwrap().call(1).await.unwrap();
            sleep(Duration::from_millis(700)).await;
        }
        latency.set(0);
        let mut calls = 0;
        while state(&circuit) == State::Closed {
            assert!(calls < 1_000, "the outage does not open the circuit");
            calls += 1;
            drop(service.ready().await.unwrap().call(1).await);
        }
        latency.set(100);
        let back = clock.now();
        let mut first = None;
        while clock.now().saturating_since(back) < 120 * SECOND {
            if service.ready().await.unwrap().call(1).await.is_ok() {
                first.get_or_insert(clock.now().saturating_since(back));
            }
            sleep(SECOND / 10).await;
        }
        assert_eq!(state(&circuit), State::Closed, "hedged: {hedged}");
        firsts.push(first.expect("it recovers"));
    }
    assert!(firsts[1] <= firsts[0] + SECOND, "{firsts:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_who_give_up_early_do_not_keep_a_healthy_service_out() {
    let clock = TokioClock::new();
    let circuit = Circuit::new(Config::builder("reports").clock(clock).build().unwrap());
    open(&circuit).await;
    let began = clock.now();
    while state(&circuit) != State::Closed {
        assert!(clock.now().saturating_since(began) < 60 * SECOND, "{:?}", circuit.status());
        // The service needs 900 ms, and its callers wait for 500 ms.
        let answer = async {
            sleep(9 * SECOND / 10).await;
            Ok::<_, std::io::Error>(())
        };
        drop(timeout(SECOND / 2, circuit.call(answer)).await);
        sleep(SECOND / 10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_recovers_however_long_its_calls_take() {
    let clock = TokioClock::new();
    for seconds in [20_u32, 29, 31, 40, 60, 61, 90, 200] {
        let circuit = Circuit::new(Config::builder("reports").clock(clock).build().unwrap());
        open(&circuit).await;
        let service = CircuitBreakerLayer::new(&circuit).layer(service_fn(move |(): ()| async move {
            sleep(seconds * SECOND).await;
            Ok::<_, std::io::Error>(())
        }));
        let (began, mut calls) = (clock.now(), JoinSet::new());
        while state(&circuit) != State::Closed {
            assert!(
                clock.now().saturating_since(began) < (8 * seconds + 120) * SECOND,
                "{seconds} s a call: {:?}",
                circuit.status()
            );
            calls.spawn(service.clone().oneshot(()));
            sleep(SECOND).await;
        }
    }
}
