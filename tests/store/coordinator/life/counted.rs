//! A store that can panic, and whose handles are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tower_circuit_breaker::store::{
    AuditFilter, AuditRow, Etag, Loaded, MemoryStore, Store, StoreError, Watch, Write, Written,
};

use crate::rig::memory;

/// A store that can panic, and whose handles are counted.
#[derive(Debug, Clone)]
pub(super) struct Counted(pub(super) Arc<Inside>);

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) inner: MemoryStore,
    pub(super) panics: AtomicBool,
    pub(super) dies: AtomicBool,
}

impl Counted {
    pub(super) fn new(dies: bool) -> Self {
        Self(Arc::new(Inside { inner: memory(), panics: AtomicBool::new(false), dies: AtomicBool::new(dies) }))
    }

    fn look(&self) -> &MemoryStore {
        assert!(!self.0.panics.load(Relaxed), "as the test wants it");
        &self.0.inner
    }
}

impl Store for Counted {
    fn kind(&self) -> &'static str {
        "counted"
    }
    fn origin(&self, _: &Etag) -> &'static str {
        assert!(!self.0.dies.load(Relaxed), "as the test wants it");
        "counted"
    }
    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.look().load_many(names).await
    }
    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        self.look().compare_and_set(write).await
    }
    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        self.look().delete(name, etag).await
    }
    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.look().list().await
    }
    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        self.look().watch().await
    }
    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.look().append_audit(rows).await
    }
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.look().audit(filter).await
    }
}
