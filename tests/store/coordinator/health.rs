//! Health probes that the task of a registry runs.

#![expect(clippy::disallowed_types, reason = "loom does not run this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::health::HealthProbe;
use tower_circuit_breaker::state::HealthResult;
use tower_circuit_breaker::{Circuit, Registry, State};

use crate::rig::{Instance, builder, fail, memory, millis, pass, secs, settings, state};

#[derive(Debug, Clone, Default)]
struct Service(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    up: AtomicBool,
    checks: AtomicU64,
    under_way: AtomicU64,
    most: AtomicU64,
}

struct End(Service);

impl Drop for End {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    fn checks(&self) -> u64 {
        self.0.checks.load(Ordering::Relaxed)
    }

    fn probe(&self, circuit: &Circuit) -> HealthProbe {
        let service = self.clone();
        circuit.probe_with(millis(250), move || {
            let service = service.clone();
            async move {
                let inner = &service.0;
                inner.checks.fetch_add(1, Ordering::Relaxed);
                inner.most.fetch_max(inner.under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let _end = End(service.clone());
                pass(millis(20)).await;
                if inner.up.load(Ordering::Relaxed) { Ok(()) } else { Err("down") }
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_of_a_registry_runs_the_probes_that_it_gets() {
    let (store, service) = (memory(), Service::default());
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    one.registry.probe(service.probe(&one.circuit)).unwrap();
    pass(secs(60)).await;
    assert_eq!(service.checks(), 0, "closed");
    fail(&one.circuit, 5);
    pass(secs(2)).await;
    assert!(service.checks() > 4);
    service.0.up.store(true, Ordering::Relaxed);
    pass(millis(400)).await;
    assert_eq!(state(&one.circuit), State::HalfOpen);
    one.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_health_probes_and_the_next_start_runs_them_again() {
    let (store, service) = (memory(), Service::default());
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    one.registry.probe(service.probe(&one.circuit).required()).unwrap();
    pass(secs(1)).await;
    fail(&one.circuit, 5);
    pass(secs(2)).await;
    assert!(one.registry.shutdown(secs(5)).await.is_complete());
    let checks = service.checks();
    pass(secs(60)).await;
    let health = one.circuit.status().health.unwrap();
    assert_eq!((service.checks(), health.running, one.circuit.would_admit()), (checks, false, true));
    one.registry.start().unwrap();
    pass(secs(2)).await;
    assert!(service.checks() > checks + 4, "open still, because no call has come");
    let registry = one.registry;
    drop(registry);
    pass(millis(1)).await;
    let checks = service.checks();
    pass(secs(60)).await;
    assert_eq!((service.checks(), one.circuit.status().health.unwrap().running), (checks, false), "no registry");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_circuits_of_a_registry_keep_its_bound() {
    let (store, service) = (memory(), Service::default());
    let registry = builder(&store, "a").health_probes_at_once(5).build().unwrap();
    registry.start().unwrap();
    let config = |n: usize| settings(&format!("service-{n}")).build().unwrap();
    let circuits: Vec<Circuit> = (0..1_000).map(|n| registry.circuit(config(n)).unwrap()).collect();
    for circuit in &circuits {
        registry.probe(service.probe(circuit)).unwrap();
    }
    pass(secs(1)).await;
    circuits.iter().for_each(|circuit| fail(circuit, 5));
    pass(secs(3)).await;
    assert_eq!(service.0.most.load(Ordering::Relaxed), 5);
    assert!(service.checks() <= 5 * 50 * 3, "five checks of 20 ms at the same time: {}", service.checks());
}

#[tokio::test(start_paused = true)]
async fn the_task_runs_the_probe_of_an_address_in_the_configuration() {
    let store = memory();
    // Port 1 has no server.
    let config = settings("payments").health("http://127.0.0.1:1/healthz").health_every(millis(10)).build().unwrap();
    let one = Instance::with(&store, "a", Sharing::Advise, config).await;
    assert!(one.circuit.status().health.unwrap().running);
    fail(&one.circuit, 5);
    let health = loop {
        pass(millis(10)).await;
        match one.circuit.status().health.filter(|health| health.last.is_some()) {
            Some(health) => break health,
            None => std::thread::yield_now(),
        }
    };
    assert!(matches!(health.last, Some(HealthResult::Failed | HealthResult::TimedOut)), "{health:?}");
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_a_store_runs_no_probe() {
    let registry = Registry::new();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    let refused = registry.probe(Service::default().probe(&circuit)).unwrap_err().to_string();
    assert_eq!(
        refused,
        "health_probe is for a registry without a store, allowed is a registry with a store, or the future of `HealthProbe::run` \
         in a task of your own"
    );
    let registry = builder(&memory(), "a").health_probes_at_once(0).build().unwrap_err().to_string();
    assert_eq!(registry, "health_probes_at_once is 0, allowed is 1 to 1000");
}

/// Nothing but the task looks: a status would open the circuit itself.
#[tokio::test(start_paused = true)]
async fn the_task_of_a_registry_opens_a_circuit_whose_calls_hang() {
    let rules = settings("payments").slow_call_rate(0.5).slower_than(secs(2)).min_calls(20);
    let one = Instance::with(&memory(), "a", Sharing::Advise, rules.build().unwrap()).await;
    let _under_way: Vec<_> = (0..20).map(|_| one.circuit.try_acquire().unwrap()).collect();
    pass(millis(1_900)).await;
    assert!(one.circuit.would_admit());
    pass(millis(1_500)).await;
    assert!(!one.circuit.would_admit(), "within a second after slower_than and a bucket");
    assert_eq!(one.circuit.status().transitions[0].reason.as_str(), "slow_call_rate");
}
