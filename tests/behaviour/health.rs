//! Health probes that are run by a future of the application, in virtual time.

#![expect(clippy::disallowed_methods, reason = "tasks are spawned as an application does")]

#[cfg(feature = "health")]
mod address;
mod hanging;
mod required;
mod runner;
mod service;

use std::time::Duration;

use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::state::HealthResult;
use tower_circuit_breaker::{Config, Failure, OpenDuration, Reason, State};

use crate::rig::{fail, last, millis, secs, state, succeed, why};
use service::{Service, circuit, pass, recorder};

const EVERY: Duration = Duration::from_millis(250);

#[tokio::test(start_paused = true)]
async fn a_health_probe_is_never_called_while_the_circuit_is_closed() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    let run = tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    pass(secs(3600)).await;
    succeed(&circuit, 3);
    pass(secs(3600)).await;
    assert_eq!((service.checks(), circuit.status().health.unwrap().running), (0, true));
    fail(&circuit, 5);
    pass(secs(1)).await;
    assert_eq!(state(&circuit), State::HalfOpen);
    succeed(&circuit, 3);
    let before = service.checks();
    pass(secs(3600)).await;
    assert_eq!(service.checks(), before, "closed again");
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn a_successful_health_probe_ends_the_opening_at_once() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    fail(&circuit, 5);
    pass(secs(2)).await;
    assert_eq!((state(&circuit), service.checks() >= 6), (State::Open, true));
    service.recover();
    pass(millis(300)).await;
    let edge = last(&circuit);
    assert_eq!((edge.to.state, edge.reason.as_str()), (State::HalfOpen, "health_probe"));
    assert!(edge.reason.to_string().starts_with("a health probe succeeded after 2"), "{}", edge.reason);
    assert_eq!(circuit.status().totals.failures, 5, "the failures of health probes are no failures of calls");
}

#[tokio::test(start_paused = true)]
async fn users_lose_no_call_half_a_second_after_the_service_is_back() {
    for seed in 0..20 {
        let (circuit, service) = (circuit(|settings| settings.seed(seed)), Service::down());
        let run = tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
        // The outage lasts for longer than the first openings.
        for _ in 0..2_000 {
            drop(service.call(&circuit).await);
            pass(millis(10)).await;
        }
        service.recover();
        pass(millis(500)).await;
        for call in 0..100 {
            let answer = service.call(&circuit).await;
            assert!(answer.is_ok(), "seed {seed}, call {call}: {answer:?}");
            pass(millis(10)).await;
        }
        assert_eq!(state(&circuit), State::Closed);
        run.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_while_half_open_changes_nothing() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    fail(&circuit, 5);
    pass(secs(1)).await;
    let (era, checks) = (circuit.status().era, service.checks());
    pass(secs(10)).await;
    assert!(service.checks() > checks + 10, "health probes go on");
    let status = circuit.status();
    assert_eq!((status.state, status.era, status.probes.successes), (State::HalfOpen, era, 0));
}

#[tokio::test(start_paused = true)]
async fn a_health_probe_that_calls_contradict_ends_no_further_opening() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    fail(&circuit, 5);
    pass(secs(1)).await;
    assert_eq!(state(&circuit), State::HalfOpen, "the health endpoint is shallow");
    fail(&circuit, 1);
    pass(millis(9_900)).await;
    assert_eq!(state(&circuit), State::Open, "the second opening lasts its full 10 s");
    pass(millis(100)).await;
    fail(&circuit, 1);
    assert_eq!((state(&circuit), last(&circuit).lasts), (State::Open, Some(secs(20))));
    pass(secs(5)).await;
    assert_eq!(state(&circuit), State::Open, "the health probes succeed");
    service.fall();
    pass(secs(1)).await;
    service.recover();
    pass(secs(1)).await;
    assert_eq!((state(&circuit), why(&circuit).as_str()), (State::HalfOpen, "health_probe"), "believed again");
}

#[tokio::test(start_paused = true)]
async fn a_health_endpoint_that_fails_now_and_then_costs_no_more_calls_than_none() {
    for fails_each in [2, 4, 10] {
        let (circuit, service) = (circuit(|settings| settings), Service::up());
        let probe = circuit.probe_with(EVERY, move || {
            let service = service.clone();
            async move {
                service.check().await?;
                if service.checks().is_multiple_of(fails_each) { Err("a backend is down".to_owned()) } else { Ok(()) }
            }
        });
        tokio::spawn(probe.run().unwrap());
        fail(&circuit, 5);
        let mut calls = 0;
        for _ in 0..6_000 {
            pass(millis(100)).await;
            if let Ok(permit) = circuit.try_acquire() {
                calls += 1;
                permit.failure(Failure::hard());
            }
        }
        // Without health probes the openings of 5, 10, 20, 40 and 60 s leave room for 12 calls.
        assert!(calls <= 14, "one of {fails_each} fails: {calls} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_health_probe_obeys_the_retry_after_of_the_service() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    let ask = Failure::hard().trips_at_once().with_retry_after(secs(30));
    circuit.try_acquire().unwrap().failure(ask);
    pass(millis(29_900)).await;
    assert_eq!(state(&circuit), State::Open);
    pass(millis(500)).await;
    assert_eq!(why(&circuit).as_str(), "health_probe");
}

#[tokio::test(start_paused = true)]
async fn a_late_retry_after_keeps_health_probes_from_ending_the_opening() {
    let (circuit, service) = (circuit(|settings| settings), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    let late = circuit.try_acquire().unwrap();
    fail(&circuit, 5);
    late.failure(Failure::hard().trips_at_once().with_retry_after(secs(60)));
    service.recover();
    pass(secs(59)).await;
    assert_eq!(state(&circuit), State::Open);
}

#[tokio::test(start_paused = true)]
async fn only_an_operator_ends_an_opening_with_manual_recovery() {
    use tower_circuit_breaker::config::Recovery;
    let (circuit, service) = (circuit(|settings| settings.recovery(Recovery::Manual)), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    fail(&circuit, 5);
    pass(secs(600)).await;
    let health = circuit.status().health.unwrap();
    assert_eq!((state(&circuit), health.last), (State::Open, Some(HealthResult::Passed)), "the result is shown");
}

#[tokio::test(start_paused = true)]
async fn status_and_events_have_the_results_of_health_probes() {
    let (seen, results) = recorder();
    let observer = observer_fn(move |_, event: &Event<'_>| {
        if let Event::HealthProbe { result, .. } = event {
            seen.lock().unwrap().push(*result);
        }
    });
    let (circuit, service) = (circuit(|settings| settings.observer(observer)), Service::down());
    assert_eq!(circuit.status().health, None, "no runner has begun");
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    fail(&circuit, 5);
    pass(millis(350)).await;
    let health = circuit.status().health.unwrap();
    assert_eq!((health.last, health.passed, health.failed), (Some(HealthResult::Failed), 0, 1));
    assert_eq!(
        health.last_text.as_deref(),
        Some("cannot reach http://payments/…"),
        "without the secrets of an address"
    );
    assert!(health.last_for.unwrap() < EVERY && !health.required && !health.holds_back);
    service.recover();
    pass(millis(350)).await;
    let health = circuit.status().health.unwrap();
    assert_eq!((health.last, health.last_text, health.failed), (Some(HealthResult::Passed), None, 1));
    assert_eq!(results.lock().unwrap()[..2], [HealthResult::Failed, HealthResult::Passed]);
    assert_eq!(u64::try_from(results.lock().unwrap().len()).unwrap(), health.passed + health.failed);
}

#[tokio::test(start_paused = true)]
async fn a_result_of_an_ended_era_has_no_effect() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    service.takes(millis(400));
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    fail(&circuit, 5);
    pass(millis(400)).await;
    assert_eq!((service.checks(), service.ended()), (1, 0), "under way");
    circuit.reset(&crate::rig::alice(), tower_circuit_breaker::To::Closed);
    fail(&circuit, 5);
    pass(millis(450)).await;
    assert_eq!((state(&circuit), service.ended()), (State::Open, 0), "the check of the first opening was dropped");
}

#[test]
fn the_times_of_a_health_probe_have_ranges() {
    let circuit = tower_circuit_breaker::Circuit::new(Config::new("payments").unwrap());
    let probe = |every| circuit.probe_with(every, || async { Ok::<(), String>(()) });
    for (probe, error) in [
        (probe(millis(9)), "health_probe.every is 9 ms, allowed is 10 ms to 3600 s"),
        (probe(Duration::MAX), "health_probe.every is "),
        (probe(EVERY).deadline(Duration::ZERO), "health_probe.deadline is 0 s, allowed is 1 ms to 60 s"),
    ] {
        let refused = probe.run().unwrap_err().to_string();
        assert!(refused.starts_with(error), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_open_duration_still_ends_an_opening_without_a_success() {
    let open = OpenDuration::fixed(secs(5)).jitter(0.0);
    let (circuit, service) = (circuit(|settings| settings.open_for(open)), Service::down());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    fail(&circuit, 5);
    pass(secs(5)).await;
    succeed(&circuit, 1);
    assert_eq!(why(&circuit), Reason::WaitElapsed { waited: secs(5) });
}
