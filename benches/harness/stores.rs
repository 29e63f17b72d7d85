//! Stores that only a bench wants: one that never answers, and one that counts who writes.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tower_circuit_breaker::store::{
    AuditFilter, AuditRow, Etag, Loaded, MemoryStore, Store, StoreError, Watch, Write, Written,
};

/// Takes every question and answers none: a black hole in the network.
#[derive(Debug)]
pub(crate) struct Hanging;

impl Store for Hanging {
    fn kind(&self) -> &'static str {
        "hanging"
    }

    async fn load_many(&self, _: &[String]) -> Result<Loaded, StoreError> {
        pending().await
    }

    async fn compare_and_set(&self, _: &Write) -> Result<Written, StoreError> {
        pending().await
    }

    async fn delete(&self, _: &str, _: &Etag) -> Result<bool, StoreError> {
        pending().await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        pending().await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        pending().await
    }

    async fn append_audit(&self, _: &[AuditRow]) -> Result<(), StoreError> {
        pending().await
    }

    async fn audit(&self, _: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        pending().await
    }
}

/// Counts what it is asked. Clones share the counts.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    pub(crate) store: MemoryStore,
    writes: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl Counting {
    pub(crate) fn new(store: MemoryStore) -> Self {
        Self { store, writes: Arc::default(), reads: Arc::default() }
    }

    /// Returns how many writes of a record and rounds of loading there were.
    pub(crate) fn counts(&self) -> (u64, u64) {
        // Relaxed: counts, which publish nothing.
        (self.writes.load(Ordering::Relaxed), self.reads.load(Ordering::Relaxed))
    }
}

impl Store for Counting {
    fn kind(&self) -> &'static str {
        "counting"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.store.load_many(names).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.store.compare_and_set(write).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        self.store.delete(name, etag).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.store.list().await
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.store.append_audit(rows).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.store.audit(filter).await
    }
}
