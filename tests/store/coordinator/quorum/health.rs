//! Health probes that the instances of a fleet share.

#![expect(clippy::disallowed_types, reason = "loom does not run this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::health::HealthProbe;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Circuit, State};

use super::{state, three};
use crate::rig::{Instance, audited, fail, memory, millis, pass, record, secs, settings};

/// A service with a health endpoint.
#[derive(Debug, Clone, Default)]
struct Service(Arc<(AtomicBool, AtomicU64)>);

impl Service {
    fn set(&self, up: bool) {
        self.0.0.store(up, Ordering::Relaxed);
    }

    fn checks(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }

    fn probe(&self, circuit: &Circuit) -> HealthProbe {
        let service = self.clone();
        circuit.probe_with(millis(500), move || {
            service.0.1.fetch_add(1, Ordering::Relaxed);
            let up = service.0.0.load(Ordering::Relaxed);
            async move { if up { Ok(()) } else { Err("down") } }
        })
    }
}

/// Lets each circuit try one call. Returns true if a call reached the service.
fn call(circuits: &[&Circuit], up: bool) -> bool {
    let permits = circuits.iter().filter_map(|circuit| circuit.try_acquire().ok());
    permits
        .map(|permit| if up { permit.success() } else { permit.failure(tower_circuit_breaker::Failure::hard()) })
        .count()
        > 0
}

#[tokio::test(start_paused = true)]
async fn a_health_probe_of_one_instance_begins_the_round_of_the_fleet_early() {
    let store = memory();
    let instances = three(&store).await;
    let service = Service::default();
    for one in &instances {
        one.registry.probe(service.probe(&one.circuit)).unwrap();
    }
    let circuits: Vec<&Circuit> = instances.iter().map(|one| &one.circuit).collect();
    fail(circuits[0], 5);
    fail(circuits[1], 5);
    pass(secs(1)).await;
    assert!(circuits.iter().all(|circuit| state(circuit) == State::Open));
    service.set(true);
    let is_open = async || record(&store, "payments").await.unwrap().fleet.unwrap().state == State::Open;
    // The opening lasts for another 4 s, and an instance waits 2.6 s at most.
    for _ in 0..350 {
        if is_open().await {
            pass(millis(10)).await;
        }
    }
    assert!(!is_open().await, "a round has begun");
    pass(millis(50)).await;
    assert!(circuits.iter().all(|circuit| state(circuit) == State::HalfOpen), "all instances join the round");
    let reasons = circuits.iter().map(|circuit| circuit.status().transitions.pop().unwrap());
    assert_eq!(reasons.clone().filter(|edge| matches!(edge.reason, Reason::HealthProbe { .. })).count(), 1);
    assert_eq!(reasons.filter(|edge| edge.reason == Reason::Fleet).count(), 2);
    assert!(!call(&circuits, true), "each probe needs its lease");
    for _ in 0..300 {
        call(&circuits, true);
        pass(millis(10)).await;
    }
    assert!(circuits.iter().all(|circuit| state(circuit) == State::Closed));
    let rows = audited(&store).await;
    assert_eq!(rows.iter().filter(|row| row.starts_with("half_opened")).count(), 1, "one round: {rows:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_makes_about_one_check_in_each_interval() {
    let (store, service) = (memory(), Service::default());
    let mut instances = Vec::new();
    for id in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        instances.push(Instance::start(&store, id, Sharing::Quorum).await);
    }
    pass(secs(25)).await;
    for one in &instances {
        one.registry.probe(service.probe(&one.circuit)).unwrap();
    }
    pass(secs(1)).await;
    instances[..2].iter().for_each(|one| fail(&one.circuit, 5));
    pass(secs(10)).await;
    assert!(instances.iter().all(|one| state(&one.circuit) == State::Open));
    let before = service.checks();
    for _ in 0..500 {
        // The calls keep the circuits from staying half-open without a probe.
        call(&instances.iter().map(|one| &one.circuit).collect::<Vec<_>>(), false);
        pass(millis(200)).await;
    }
    let checks = service.checks() - before;
    assert!(
        (120..280).contains(&checks),
        "100 s have 200 intervals, and ten instances would make 2 000 checks: {checks}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shallow_health_endpoint_begins_one_early_round_of_the_fleet() {
    let store = memory();
    let instances = three(&store).await;
    let service = Service::default();
    service.set(true);
    for one in &instances {
        one.registry.probe(service.probe(&one.circuit)).unwrap();
    }
    let circuits: Vec<&Circuit> = instances.iter().map(|one| &one.circuit).collect();
    fail(circuits[0], 5);
    fail(circuits[1], 5);
    for _ in 0..3_000 {
        call(&circuits, false);
        pass(millis(10)).await;
    }
    let rows = audited(&store).await;
    let rounds = rows.iter().filter(|row| row.starts_with("half_opened")).count();
    // The second opening lasts 10 s, and the third one 20 s, whichever instance has made the check.
    assert_eq!(rounds, 2, "an early one, and one after 10 s: {rows:?}");
    assert!(circuits.iter().all(|circuit| state(circuit) != State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_required_health_probe_of_one_instance_lets_the_others_probe() {
    let (store, service) = (memory(), Service::default());
    let instances = three(&store).await;
    for one in &instances {
        one.registry.probe(service.probe(&one.circuit).required()).unwrap();
    }
    let circuits: Vec<&Circuit> = instances.iter().map(|one| &one.circuit).collect();
    fail(circuits[0], 5);
    fail(circuits[1], 5);
    pass(secs(1)).await;
    for _ in 0..1_000 {
        assert!(!call(&circuits, false), "no call probes in these 10 s");
        pass(millis(10)).await;
    }
    service.set(true);
    for _ in 0..500 {
        call(&circuits, true);
        pass(millis(10)).await;
    }
    assert!(circuits.iter().all(|circuit| state(circuit) == State::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_instance_alone_checks_in_each_interval() {
    let (store, service) = (memory(), Service::default());
    let settings = settings("payments").build().unwrap();
    let one = Instance::with(&store, "a", Sharing::Quorum, settings).await;
    one.registry.probe(service.probe(&one.circuit)).unwrap();
    pass(secs(25)).await;
    fail(&one.circuit, 5);
    pass(millis(4_500)).await;
    assert!((7..12).contains(&service.checks()), "{}", service.checks());
    service.set(true);
    pass(millis(700)).await;
    assert_eq!(state(&one.circuit), State::HalfOpen);
}
