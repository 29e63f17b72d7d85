//! A store in the memory of this process, for tests and as the reference for other stores.
//!
//! One lock makes every operation atomic. The records end with the process, so an application that must keep them needs
//! another store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{
    AuditFilter, AuditRow, Etag, Hint, Loaded, Store, StoreError, Versioned, Watch, WatchSender, Write, Written,
    check_length,
};
use crate::clock::{Clock, MonotonicClock, Tick};
use crate::record::Timestamp;
use crate::sync::Mutex;

/// Keeps records in memory. Clones share the records, so that several registries can use one store.
///
/// The time of the store is the wall time at its creation plus the time that the injected clock has counted since.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Register>,
}

#[derive(Debug)]
struct Register {
    clock: Box<dyn Clock>,
    started: (Tick, Timestamp),
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<String, Stored>,
    writes: u64,
    audit: Vec<AuditRow>,
    audited: BTreeSet<String>,
    watchers: Vec<WatchSender>,
}

#[derive(Debug)]
struct Stored {
    value: Versioned,
    expires: Option<Timestamp>,
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(MonotonicClock::new())
    }

    /// Creates an empty store whose time follows this clock.
    #[must_use]
    pub fn with_clock(clock: impl Clock) -> Self {
        let started = (clock.now(), Timestamp::from(clock.wall()));
        Self { shared: Arc::new(Register { clock: Box::new(clock), started, kept: Mutex::default() }) }
    }

    /// Deletes every record, like the flush of a cache, and reports a gap to the watches. The audit stays.
    pub fn flush(&self) {
        let mut kept = self.shared.kept.lock();
        kept.entries.clear();
        kept.watchers.iter().for_each(WatchSender::gap);
    }

    fn now(&self) -> Timestamp {
        let (tick, time) = self.shared.started;
        time.saturating_add(self.shared.clock.now().saturating_since(tick))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    /// Returns the value of a name, or `None` if the name has no value. A value whose TTL has passed is removed first,
    /// because no task removes expired values.
    fn live(&mut self, name: &str, now: Timestamp) -> Option<Versioned> {
        if self.entries.get(name).is_some_and(|entry| entry.expires.is_some_and(|at| at <= now)) {
            self.entries.remove(name);
        }
        self.entries.get(name).map(|entry| entry.value.clone())
    }

    /// Reports a change to the watches, and forgets the watches that were dropped.
    fn notify(&mut self, name: &str, etag: Option<&Etag>, hint: Hint) {
        self.watchers.retain(|watcher| !watcher.is_closed());
        self.watchers.iter().for_each(|watcher| watcher.changed_with(name, etag.cloned(), hint));
    }
}

impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let now = self.now();
        let mut kept = self.shared.kept.lock();
        Ok(Loaded { entries: names.iter().map(|name| kept.live(name, now)).collect(), now })
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        check_length(write)?;
        let now = self.now();
        let mut kept = self.shared.kept.lock();
        let current = kept.live(&write.name, now);
        if current.as_ref().map(|current| &current.etag) != write.expected.as_ref() {
            return Ok(Written::Conflict { current, now });
        }
        kept.writes += 1;
        let etag = Etag::new(kept.writes.to_string());
        let value = Versioned { bytes: write.bytes.clone(), etag: etag.clone() };
        let expires = write.ttl.map(|ttl: Duration| now.saturating_add(ttl));
        kept.entries.insert(write.name.clone(), Stored { value, expires });
        kept.notify(&write.name, Some(&etag), write.hint);
        Ok(Written::Applied { etag, now })
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let now = self.now();
        let mut kept = self.shared.kept.lock();
        let found = kept.live(name, now).is_some_and(|current| current.etag == *etag);
        if found {
            kept.entries.remove(name);
            kept.notify(name, None, Hint::Any);
        }
        Ok(found)
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let now = self.now();
        let mut kept = self.shared.kept.lock();
        kept.entries.retain(|_, entry| entry.expires.is_none_or(|at| at > now));
        Ok(kept.entries.keys().cloned().collect())
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        let (sender, watch) = Watch::channel();
        self.shared.kept.lock().watchers.push(sender);
        Ok(Some(watch))
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let mut kept = self.shared.kept.lock();
        for row in rows {
            if kept.audited.insert(row.id.clone()) {
                kept.audit.push(row.clone());
            }
        }
        Ok(())
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        let mut kept = self.shared.kept.lock();
        let Kept { audit, audited, .. } = &mut *kept;
        for row in audit.extract_if(.., |row| row.timestamp < before) {
            audited.remove(&row.id);
        }
        // One call deletes all old rows, so none are left.
        Ok(false)
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let kept = self.shared.kept.lock();
        let mut rows: Vec<_> =
            kept.audit.iter().rev().filter(|row| filter.passes(row)).take(filter.limit).cloned().collect();
        rows.reverse();
        Ok(rows)
    }
}
