//! Health probes without whose success no call of a user is a probe.

use std::pin::Pin;
use std::task::{Context, Waker};

use tower_circuit_breaker::circuit::NextCall;
use tower_circuit_breaker::health::HealthRun;
use tower_circuit_breaker::{RejectReason, State, To};

use super::EVERY;
use super::service::{Service, circuit, pass};
use crate::rig::{alice, fail, millis, reject, secs, state, succeed, why};

#[tokio::test(start_paused = true)]
async fn no_call_probes_before_a_required_health_probe_has_succeeded() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).required().run().unwrap());
    fail(&circuit, 5);
    pass(secs(4)).await;
    assert!(reject(&circuit).retry_after().is_some(), "the opening itself has an end");
    pass(secs(20)).await;
    let rejected = reject(&circuit);
    assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::Tripped, None), "no time is known");
    assert!(rejected.waits_for_health_probe());
    let sentence = rejected.to_string();
    assert!(sentence.ends_with("; its next probe waits for a health probe"), "{sentence}");
    let status = circuit.status();
    assert_eq!((status.next_call, status.retry_after), (NextCall::Rejected, None));
    assert!(status.to_string().contains("; its next probe waits for a health probe; calls: "), "{status}");
    assert!(status.health.unwrap().holds_back && circuit.is_open() && !circuit.would_admit());
    service.recover();
    pass(millis(350)).await;
    assert!(!rejected.waits_for_health_probe() && circuit.would_admit());
    succeed(&circuit, 3);
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_opening_needs_a_success_of_its_own() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).required().run().unwrap());
    fail(&circuit, 5);
    pass(secs(1)).await;
    assert!(circuit.would_admit(), "half-open by a success");
    service.fall();
    fail(&circuit, 1);
    pass(secs(30)).await;
    assert!(reject(&circuit).waits_for_health_probe(), "opened again");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_task_gets_its_permit_from_the_health_probe() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).required().run().unwrap());
    fail(&circuit, 5);
    let waiting = tokio::spawn({
        let circuit = circuit.clone();
        async move { circuit.acquire().await }
    });
    pass(secs(20)).await;
    assert!(!waiting.is_finished());
    service.recover();
    pass(millis(350)).await;
    assert!(waiting.await.unwrap().is_probe());
}

/// Polls a runner once. A runner that is never polled again is like a runtime that stands still.
fn begin(run: &mut Pin<Box<HealthRun>>) {
    assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[tokio::test(start_paused = true)]
async fn calls_probe_again_after_a_runner_is_silent_for_too_long() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    let mut run = Box::pin(service.probe(&circuit, EVERY).required().run().unwrap());
    begin(&mut run);
    fail(&circuit, 5);
    pass(secs(5)).await;
    assert!(circuit.would_admit(), "ten intervals and the deadline are 3.5 s, and the opening lasts 5 s");
    fail(&circuit, 1);
    circuit.reset(&alice(), To::Closed);
    let open = tower_circuit_breaker::OpenDuration::fixed(secs(1)).jitter(0.0);
    let circuit = crate::health::circuit(|settings| settings.open_for(open));
    let mut run = Box::pin(service.probe(&circuit, EVERY).required().run().unwrap());
    begin(&mut run);
    fail(&circuit, 5);
    pass(millis(3_499)).await;
    assert!(!circuit.would_admit());
    let waiting = tokio::spawn({
        let circuit = circuit.clone();
        async move { circuit.acquire().await }
    });
    pass(millis(2)).await;
    assert!(waiting.is_finished(), "a waiting task has a timer for the bound");
}

#[tokio::test(start_paused = true)]
async fn a_missing_health_endpoint_locks_no_circuit_out_for_ever() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).required().run().unwrap());
    fail(&circuit, 5);
    pass(millis(39_999)).await;
    assert!(!circuit.would_admit(), "5 s of the opening, and 35 s without a success");
    pass(millis(2)).await;
    succeed(&circuit, 3);
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_half_open_era_behind_a_hold_waits_for_a_health_probe() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).required().run().unwrap());
    circuit.trip(&alice(), Some(secs(10)));
    pass(secs(11)).await;
    let rejected = reject(&circuit);
    assert_eq!((state(&circuit), rejected.reason()), (State::HalfOpen, RejectReason::HalfOpen));
    let sentence = rejected.to_string();
    assert!(sentence.starts_with("circuit `payments` is half-open and waits for a health probe"), "{sentence}");
    assert!(!circuit.would_admit());
    service.recover();
    pass(millis(350)).await;
    succeed(&circuit, 3);
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_reset_of_an_operator_needs_no_health_probe() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).required().run().unwrap());
    fail(&circuit, 5);
    pass(secs(10)).await;
    assert!(!circuit.would_admit());
    circuit.reset(&alice(), To::HalfOpen);
    succeed(&circuit, 3);
    assert_eq!((state(&circuit), why(&circuit).as_str()), (State::Closed, "probes_passed"));
}

#[tokio::test(start_paused = true)]
async fn a_required_success_that_calls_contradict_still_lets_calls_probe_later() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).required().run().unwrap());
    fail(&circuit, 5);
    pass(secs(1)).await;
    fail(&circuit, 1);
    pass(millis(9_900)).await;
    assert!(!circuit.would_admit(), "the opening lasts its full time");
    pass(millis(100)).await;
    assert!(circuit.would_admit(), "the success counts for the requirement");
}
