//! The whole thing in real time: a registry with its coordinator on real servers that fail, while calls go on.

#![expect(clippy::disallowed_types, reason = "counts of a test's own thread")]

mod bounds;
mod folders;
mod head;
mod keyed;
mod people;
mod postgres;
mod processes;
mod redis;
mod sqlite;
mod traffic;

use std::time::Duration;

use tower_circuit_breaker::coordinator::{RegistryBuilder, Restored};
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::{AuditFilter, Store};
use tower_circuit_breaker::{Circuit, Config, OpenDuration, Registry, State};

use crate::rig::{fail, millis, secs, state};
use traffic::Traffic;

/// A registry that looks often.
fn builder(store: impl Store, id: &str) -> RegistryBuilder {
    let registry = Registry::builder().store(store).instance(id);
    registry.poll_every(millis(100), millis(300)).store_timeout(millis(600))
}

/// Settings under which nothing closes by itself while a test lasts.
fn settings(name: &str) -> Config {
    let long = OpenDuration::fixed(secs(600)).jitter(0.0);
    Config::builder(name).open_for(long).build().unwrap()
}

/// An instance with one circuit, through which calls go all the time.
struct App {
    registry: Registry,
    circuit: Circuit,
    traffic: Traffic,
}

impl App {
    /// Starts it, and waits for nothing.
    fn launch(store: impl Store, id: &str) -> Self {
        let registry = builder(store, id).build().unwrap();
        let circuit = registry.circuit(settings("payments")).unwrap();
        registry.start().unwrap();
        let traffic = Traffic::through(&circuit);
        Self { registry, circuit, traffic }
    }

    /// Starts it on a store that works.
    async fn restored(store: impl Store, id: &str) -> Self {
        let app = Self::launch(store, id);
        let report = app.registry.restore(secs(10)).await.unwrap();
        assert!(report.is_complete(), "{report}");
        app
    }

    /// Starts it on a store that does not work, and opens the circuit.
    async fn opened_without_a_store(store: impl Store) -> Self {
        let app = Self::launch(store, "a");
        let report = app.registry.restore(millis(1_500)).await.unwrap();
        assert_eq!(report.circuits["payments"], Restored::Waiting, "{report}");
        assert!(report.error.is_some(), "it says why: {report}");
        fail(&app.circuit, 5);
        app.traffic.goes_on().await;
        assert_eq!(state(&app.circuit), State::Open);
        let status = app.registry.store_status().unwrap();
        assert!(status.running && !status.up && status.last_error.is_some(), "{status:?}");
        app
    }

    /// Waits until the store and the circuit say the same, and nothing waits to be written. Asks a store of the test's own.
    async fn settled(&self, store: &impl Store) -> CircuitRecord {
        let mut found = None;
        eventually("the record is that of the circuit", async || {
            let status = self.registry.store_status().unwrap();
            let written = status.up && status.unsaved == 0 && status.audit_rows == 0;
            found = stored(store).await.filter(|_| written);
            let circuit = self.circuit.status();
            let said = |record: &CircuitRecord| (record.state, record.generation, record.instances["a"].state);
            found.as_ref().is_some_and(|record| said(record) == (circuit.state, circuit.generation, circuit.state))
        })
        .await;
        found.unwrap()
    }

    /// Another instance finds the circuit open.
    async fn is_found_open(&self, store: impl Store) {
        let other = Self::restored(store, "b").await;
        assert_eq!(state(&other.circuit), State::Open, "another instance finds it so");
        assert_eq!(state(&self.circuit), State::Open);
    }

    /// Everything was written, and calls went on.
    async fn end(self) {
        self.traffic.goes_on().await;
        let report = self.registry.shutdown(secs(5)).await;
        assert!(report.is_complete(), "{report:?}");
    }
}

/// What the store has of the circuit, if it answers.
async fn stored(store: &impl Store) -> Option<CircuitRecord> {
    let asked = ["payments".to_owned()];
    let asked = tokio::time::timeout(secs(1), store.load_many(&asked));
    let loaded = asked.await.ok()?.ok()?;
    let entry = loaded.entries.into_iter().next()??;
    Some(CircuitRecord::decode("payments", &entry.bytes, loaded.now).unwrap())
}

/// What the audit tells.
async fn actions(store: &impl Store) -> Vec<String> {
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    rows.into_iter().map(|row| row.action).collect()
}

/// Waits until it holds, at most for twenty seconds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(secs(20), waiting).await.is_ok(), "not in time: {what}");
}
