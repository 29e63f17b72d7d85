//! A store of your own, checked by the suite of stores: `cargo run --features store,test-util --example custom_store`.
//!
//! The store is a map in this process. A store on a real medium keeps the map elsewhere, and does the same.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use tower_circuit_breaker::clock::{Clock, MonotonicClock};
use tower_circuit_breaker::record::{CircuitRecord, Timestamp};
use tower_circuit_breaker::store::conformance::{Case, Suite};
use tower_circuit_breaker::store::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, Write, Written};

/// Clones are the same store.
#[derive(Debug, Clone, Default)]
struct MapStore {
    /// How many writes there were: an etag that names one of them never names another.
    records: Arc<RwLock<(u64, BTreeMap<String, Versioned>)>>,
    audit: Arc<RwLock<Vec<AuditRow>>>,
}

impl Store for MapStore {
    fn kind(&self) -> &'static str {
        "map"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let records = self.records.read().map_err(poisoned)?;
        Ok(Loaded { entries: names.iter().map(|name| records.1.get(name).cloned()).collect(), now: now() })
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        if write.bytes.len() > CircuitRecord::MAX_BYTES {
            return Err(StoreError::refused(format!("the record of `{}` is too long", write.name)));
        }
        // Held from the look to the write: in between, nobody else may write.
        let (writes, records) = &mut *self.records.write().map_err(poisoned)?;
        let current = records.get(&write.name);
        if current.map(|current| &current.etag) != write.expected.as_ref() {
            return Ok(Written::Conflict { current: current.cloned(), now: now() });
        }
        *writes += 1;
        let etag = Etag::new(writes.to_string());
        records.insert(write.name.clone(), Versioned { bytes: write.bytes.clone(), etag: etag.clone() });
        Ok(Written::Applied { etag, now: now() })
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let (_, records) = &mut *self.records.write().map_err(poisoned)?;
        Ok(records.get(name).is_some_and(|current| current.etag == *etag) && records.remove(name).is_some())
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.records.read().map_err(poisoned)?.1.keys().cloned().collect())
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let mut audit = self.audit.write().map_err(poisoned)?;
        for row in rows {
            if audit.iter().all(|known| known.id != row.id) {
                audit.push(row.clone());
            }
        }
        Ok(())
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let audit = self.audit.read().map_err(poisoned)?;
        let newest = audit.iter().rev().filter(|row| filter.passes(row)).take(filter.limit);
        Ok(newest.cloned().collect::<Vec<_>>().into_iter().rev().collect())
    }
}

fn now() -> Timestamp {
    MonotonicClock::new().wall().into()
}

fn poisoned<T>(_: T) -> StoreError {
    StoreError::unavailable("a writer panicked")
}

#[tokio::main]
async fn main() -> ExitCode {
    let store = MapStore::default();
    let suite = Suite::new(|| async { store.clone() });
    let mut code = ExitCode::SUCCESS;
    for case in Case::ALL {
        match suite.check(*case).await {
            Ok(()) => println!("passed {case:>14}: {}", case.rule()),
            Err(failure) => {
                println!("FAILED {failure}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
