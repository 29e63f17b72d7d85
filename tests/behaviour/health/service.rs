//! A service that is up or down, with a health endpoint of its own.

#![expect(clippy::disallowed_types, reason = "loom does not run this")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::health::HealthProbe;
use tower_circuit_breaker::state::HealthResult;
use tower_circuit_breaker::{Circuit, Config, Failure, OpenDuration, Rejected};

#[derive(Debug, Clone, Default)]
pub(super) struct Service(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    up: AtomicBool,
    checks: AtomicU64,
    ended: AtomicU64,
    takes_ms: AtomicU64,
    under_way: AtomicU64,
    most: AtomicU64,
}

impl Service {
    pub(super) fn up() -> Self {
        let service = Self::default();
        service.recover();
        service
    }

    pub(super) fn down() -> Self {
        Self::default()
    }

    pub(super) fn recover(&self) {
        self.0.up.store(true, Ordering::Relaxed);
    }

    pub(super) fn fall(&self) {
        self.0.up.store(false, Ordering::Relaxed);
    }

    /// Sets the duration of a check.
    pub(super) fn takes(&self, time: Duration) {
        self.0.takes_ms.store(time.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    /// The checks that have begun.
    pub(super) fn checks(&self) -> u64 {
        self.0.checks.load(Ordering::Relaxed)
    }

    /// The checks that have ended with an answer.
    pub(super) fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// The largest number of checks that were under way at the same time.
    pub(super) fn most_at_once(&self) -> u64 {
        self.0.most.load(Ordering::Relaxed)
    }

    pub(super) async fn check(&self) -> Result<(), String> {
        let inner = &self.0;
        inner.checks.fetch_add(1, Ordering::Relaxed);
        let under_way = inner.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        inner.most.fetch_max(under_way, Ordering::Relaxed);
        let _end = OnDrop(self.clone());
        tokio::time::sleep(Duration::from_millis(inner.takes_ms.load(Ordering::Relaxed))).await;
        inner.ended.fetch_add(1, Ordering::Relaxed);
        if inner.up.load(Ordering::Relaxed) { Ok(()) } else { Err("cannot reach http://payments/secret".to_owned()) }
    }

    pub(super) fn probe(&self, circuit: &Circuit, every: Duration) -> HealthProbe {
        let service = self.clone();
        circuit.probe_with(every, move || {
            let service = service.clone();
            async move { service.check().await }
        })
    }

    /// A call of a user, which takes a millisecond.
    pub(super) async fn call(&self, circuit: &Circuit) -> Result<bool, Rejected> {
        let permit = circuit.try_acquire()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let up = self.0.up.load(Ordering::Relaxed);
        if up {
            permit.success();
        } else {
            permit.failure(Failure::hard());
        }
        Ok(up)
    }
}

struct OnDrop(Service);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A circuit on tokio's clock, with openings of 5, 10, 20, 40 and 60 s.
pub(super) fn circuit(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Circuit {
    let settings = Config::builder("payments").clock(TokioClock::new());
    let settings = settings.open_for(OpenDuration::default().jitter(0.0)).consecutive_failures(5);
    Circuit::new(change(settings).build().unwrap())
}

pub(super) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

type Results = Arc<Mutex<Vec<HealthResult>>>;

pub(super) fn recorder() -> (Results, Results) {
    let results = Results::default();
    (Arc::clone(&results), results)
}
