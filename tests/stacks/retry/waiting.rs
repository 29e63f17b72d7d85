//! Waiting for the circuit instead of taking the rejection for the answer.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::retry::RetryPolicy;
use tower_circuit_breaker::{Rejected, State};

use super::{MINUTE, MS, Server, boxed, circuit, exact, now, operator, state, trip};

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_the_circuit_makes_the_due_probe() {
    let (circuit, server) = (circuit(), Server::up());
    trip(&circuit);
    let retries = exact().build().unwrap().wait_for_circuit(MINUTE, 1);
    let began = now();
    boxed(&circuit, &server, retries).oneshot(()).await.unwrap();
    assert_eq!(began.elapsed(), MINUTE + MS * 100, "what the rejection said, and a step of the backoff");
    assert_eq!((server.calls(), circuit.status().totals.rejected), (1, 1));
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_attempts_are_used_up_still_waits_for_the_circuit() {
    // The failures that it may retry open the circuit; the last attempt is the one that is rejected, and becomes the probe.
    let (circuit, server) = (circuit(), Server::down_for(5));
    let retries = exact().attempts(6).build().unwrap().wait_for_circuit(MINUTE, 1);
    boxed(&circuit, &server, retries).oneshot(()).await.unwrap();
    assert_eq!((server.calls(), circuit.status().totals.rejected), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_be_too_long_is_not_begun() {
    let (circuit, server) = (circuit(), Server::up());
    let retries = exact().build().unwrap().wait_for_circuit(MINUTE - MS, 9);
    trip(&circuit);
    let began = now();
    assert!(boxed(&circuit, &server, retries.clone()).oneshot(()).await.is_err(), "60 s are too long");
    circuit.reset(&operator(), To::Closed);
    circuit.trip(&operator(), None);
    let held = boxed(&circuit, &server, retries).oneshot(()).await.unwrap_err();
    assert_eq!(Rejected::find(held.as_ref()).unwrap().retry_after(), None, "until somebody resets it");
    assert_eq!((began.elapsed(), circuit.status().totals.rejected), (Duration::ZERO, 2));
}

#[tokio::test(start_paused = true)]
async fn a_half_open_circuit_is_awaited_in_limited_steps_of_the_backoff() {
    let (circuit, server) = (circuit(), Server::up());
    circuit.reset(&operator(), To::HalfOpen);
    let probe = circuit.try_acquire().unwrap();
    let retries = exact().backoff(MS * 100, MS * 200).build().unwrap().wait_for_circuit(MINUTE, 3);
    let began = now();
    assert!(boxed(&circuit, &server, retries.clone()).oneshot(()).await.is_err());
    assert_eq!((began.elapsed(), circuit.status().totals.rejected), (MS * 500, 4), "100, 200 and 200 ms");
    let mut waiting = JoinSet::new();
    waiting.spawn(boxed(&circuit, &server, retries).oneshot(()));
    tokio::time::sleep(MS * 150).await;
    probe.success();
    waiting.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((server.calls(), circuit.status().totals.rejected), (1, 6));
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_the_same_circuit_do_not_return_together() {
    let (circuit, server) = (circuit(), Server::up());
    trip(&circuit);
    let retries = RetryPolicy::builder().jitter(1.0).build().unwrap().wait_for_circuit(MINUTE, 3);
    let service = boxed(&circuit, &server, retries);
    let began = now();
    let answers = join_all((0..20).map(|_| service.clone().oneshot(()))).await;
    assert!(answers.iter().all(Result::is_ok));
    let mut at = server.asked_at(began);
    assert!(at.iter().all(|at| (MINUTE + MS * 100..=MINUTE + MS * 201).contains(at)), "{at:?}");
    at.dedup();
    assert!(at.len() > 5, "within 100 ms of each other, not at once: {at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_during_its_wait_makes_no_attempt() {
    let (circuit, server) = (circuit(), Server::up());
    trip(&circuit);
    let service = boxed(&circuit, &server, exact().build().unwrap().wait_for_circuit(MINUTE, 1));
    assert!(tokio::time::timeout(MINUTE / 2, service.oneshot(())).await.is_err());
    tokio::time::advance(2 * MINUTE).await;
    assert_eq!((server.calls(), circuit.status().probes.in_flight), (0, 0));
}
