//! Registries on tokio's clock, and the few words that the tests speak.

use std::time::Duration;

use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::coordinator::{RegistryBuilder, Sharing};
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::{
    AuditFilter, Fault, FaultyStore, Hint, MemoryStore, Store, StoreErrorKind, Write, Written,
};
use tower_circuit_breaker::{By, Circuit, Config, OpenDuration, Outcome, Registry, State};

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The default settings without jitter, on tokio's clock.
pub(crate) fn settings(name: &str) -> ConfigBuilder {
    Config::builder(name).clock(TokioClock::new()).open_for(OpenDuration::default().jitter(0.0))
}

pub(crate) fn builder(store: &(impl Store + Clone), instance: &str) -> RegistryBuilder {
    Registry::builder().store(store.clone()).instance(instance)
}

/// An instance that shares that store.
pub(crate) struct Instance {
    pub(crate) registry: Registry,
    pub(crate) circuit: Circuit,
}

impl Instance {
    /// Starts an instance with one circuit, and waits for its restore.
    pub(crate) async fn start(store: &(impl Store + Clone), id: &str, sharing: Sharing) -> Self {
        Self::with(store, id, sharing, settings("payments").build().unwrap()).await
    }

    pub(crate) async fn with(store: &(impl Store + Clone), id: &str, sharing: Sharing, config: Config) -> Self {
        let registry = builder(store, id).sharing(sharing).build().unwrap();
        let circuit = registry.circuit(config).unwrap();
        assert!(registry.restore(secs(5)).await.unwrap().is_complete(), "the store answers");
        Self { registry, circuit }
    }

    /// Ends as an orderly process does.
    pub(crate) async fn end(self) {
        let report = self.registry.shutdown(secs(5)).await;
        assert!(report.is_complete(), "{report:?}");
    }
}

pub(crate) fn state(circuit: &Circuit) -> State {
    circuit.status().state
}

pub(crate) fn call(circuit: &Circuit, times: u32, outcome: Outcome) {
    for _ in 0..times {
        match circuit.try_acquire() {
            Ok(permit) => permit.record(outcome),
            Err(rejected) => panic!("it should have been admitted: {rejected}"),
        }
    }
}

pub(crate) fn fail(circuit: &Circuit, times: u32) {
    call(circuit, times, Outcome::failure());
}

pub(crate) fn succeed(circuit: &Circuit, times: u32) {
    call(circuit, times, Outcome::Success);
}

pub(crate) fn alice() -> By {
    By::new("alice", "maintenance").unwrap()
}

/// What the store holds of that circuit.
pub(crate) async fn record(store: &impl Store, name: &str) -> Option<CircuitRecord> {
    let loaded = store.load_many(&[name.to_owned()]).await.unwrap();
    let entry = loaded.entries.into_iter().next().unwrap()?;
    Some(CircuitRecord::decode(name, &entry.bytes, loaded.now).unwrap())
}

/// Replaces the bytes that the store has under that name.
pub(crate) async fn put(store: &impl Store, name: &str, bytes: &[u8]) {
    let name = name.to_owned();
    let present = store.load_many(std::slice::from_ref(&name)).await.unwrap().entries.remove(0);
    let expected = present.map(|entry| entry.etag);
    let write = Write { name, expected, bytes: bytes.to_vec(), ttl: None, hint: Hint::Any };
    assert!(matches!(store.compare_and_set(&write).await.unwrap(), Written::Applied { .. }));
}

/// Runs the test of that name in a process whose environment disables that circuit.
pub(crate) fn passes_under_the_kill_switch(test: &str, circuit: &str) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", test]).env("CIRCUIT_BREAKER_DISABLED", circuit).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Lets virtual time pass, and everything happen in it.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// A store whose time goes as tokio's.
pub(crate) fn memory() -> MemoryStore {
    MemoryStore::with_clock(TokioClock::new())
}

/// The same, with faults to be switched on.
pub(crate) fn faulty() -> FaultyStore<MemoryStore> {
    FaultyStore::new(memory())
}

/// Every operation fails.
pub(crate) const DOWN: Fault = Fault::Fail(StoreErrorKind::Unavailable);

/// The rows of the audit as `action instance`, oldest first.
pub(crate) async fn audited(store: &impl Store) -> Vec<String> {
    let rows = store.audit(&AuditFilter::new().limit(10_000)).await.unwrap();
    rows.iter().map(|row| format!("{} {}", row.action, row.instance)).collect()
}
