//! A store that counts the operations on records, on top of another store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tower_circuit_breaker::store::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Watch, Write, Written};

/// Counts the operations. Clones share the store and the counts.
#[derive(Debug, Clone)]
pub(crate) struct Counting<S> {
    store: S,
    /// Writes, loads, and names in loads.
    counts: Arc<[AtomicU64; 3]>,
    /// The start of each write, with its name.
    writes: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl<S: Store> Counting<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, counts: Arc::default(), writes: Arc::default() }
    }

    /// Returns the numbers of writes of a record, of loads, and of names in these loads, since the start.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        // Relaxed, because the counts publish no other data.
        let [writes, loads, names] = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        (writes, loads, names)
    }

    /// Returns the start of the last write of this name before a time.
    pub(crate) fn last_write(&self, name: &str, before: Instant) -> Option<Instant> {
        let writes = self.writes.lock().expect("no thread panics with the lock");
        writes.iter().filter(|(written, at)| written == name && *at < before).map(|(_, at)| *at).max()
    }

    fn add(&self, kind: usize, count: usize) {
        // Relaxed, because the counts publish no other data.
        self.counts[kind].fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl<S: Store> Store for Counting<S> {
    fn kind(&self) -> &'static str {
        "counting"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.add(1, 1);
        self.add(2, names.len());
        self.store.load_many(names).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        self.add(0, 1);
        self.writes.lock().expect("no thread panics with the lock").push((write.name.clone(), Instant::now()));
        self.store.compare_and_set(write).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        self.store.delete(name, etag).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.store.list().await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        self.store.watch().await
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.store.append_audit(rows).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.store.audit(filter).await
    }
}
