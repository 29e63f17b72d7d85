//! Tests of applications that pause tokio's time: the stores that keep their promises in such tests, as docs/troubleshooting.md says.
//!
//! Tokio moves a paused clock to the next timer as soon as its tasks wait. A store in memory never waits, and tokio leaves the clock
//! alone while a blocking task works on a file. A socket or a thread of its own is neither, so that every timeout runs out at once.

use std::time::Duration;

use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt, service_fn};
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::operation::Kept;
use tower_circuit_breaker::store::{MemoryStore, Store, TieredStore};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Registry, State};

use crate::file::Folder;
use crate::rig::{alice, builder, fail, millis, secs, settings, state};

/// A process of the application, whose first call waits for the restore.
fn process(store: &(impl Store + Clone), name: &str) -> (Registry, Circuit) {
    let registry = builder(store, name).first_call_waits(secs(1)).build().unwrap();
    registry.start().unwrap();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    (registry, circuit)
}

/// Opens a circuit in one process, and restores the circuit in the next.
async fn restarts(store: impl Store + Clone) {
    #[expect(clippy::disallowed_methods, reason = "tokio's clock stands still, and must")]
    let now = Instant::now;
    let began = now();
    let (registry, circuit) = process(&store, "first");
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    let answer = registry.trip("payments", &alice(), None).await.unwrap();
    assert!(matches!(answer.kept, Kept::Stored { .. }), "{}", answer.kept);
    registry.resume("payments", &alice()).await.unwrap();
    fail(&circuit, 5);
    assert_eq!(state(&circuit), State::Open);
    let report = registry.shutdown(secs(1)).await;
    assert!(report.is_complete(), "{report:?}");

    let (registry, circuit) = process(&store, "second");
    let inner = service_fn(async |(): ()| Ok::<_, std::io::Error>(()));
    let answer = CircuitBreakerLayer::new(&circuit).layer(inner).oneshot(()).await;
    answer.expect_err("the first call waits for the restore, and the circuit is open");
    assert!(registry.shutdown(secs(1)).await.is_complete());
    assert!(began.elapsed() < millis(500), "timers ran out: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_store_in_memory_survives_restarts_in_paused_time() {
    restarts(MemoryStore::with_clock(TokioClock::new())).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_of_files_survives_restarts_in_paused_time() {
    let folder = Folder::new();
    restarts(folder.store()).await;
}

#[tokio::test(start_paused = true)]
async fn tiers_of_memory_and_files_survive_restarts_in_paused_time() {
    let folder = Folder::new();
    restarts(TieredStore::new(MemoryStore::with_clock(TokioClock::new()), folder.store())).await;
}

/// Returns true if a circuit that opened ten minutes ago by tokio's time admits a call after a restart.
async fn probes_ten_minutes_later(store: impl Store + Clone) -> bool {
    let (registry, circuit) = process(&store, "first");
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    fail(&circuit, 5);
    assert!(registry.shutdown(secs(1)).await.is_complete());
    advance(Duration::from_secs(600)).await;
    let (registry, circuit) = process(&store, "second");
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    circuit.would_admit()
}

#[tokio::test(start_paused = true)]
async fn advanced_time_passes_only_in_a_store_on_the_clock_of_tokio() {
    let folder = Folder::new();
    assert!(probes_ten_minutes_later(MemoryStore::with_clock(TokioClock::new())).await);
    assert!(!probes_ten_minutes_later(MemoryStore::new()).await);
    assert!(!probes_ten_minutes_later(folder.store()).await);
}
