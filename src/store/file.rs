//! One JSON file for each circuit, in one folder: for a single host, and for who wants to read the state with `cat`.
//!
//! ```text
//! breakers/payments.json            the record
//! breakers/payments.json.lock       held while the record is written; stays
//! breakers/payments.json.corrupt    what was there and was no record of `payments`, if that ever happened: the last one
//! breakers/payments.json.….tmp      a record on its way; one that a killed writer left is deleted a minute later
//! breakers/audit.jsonl              the audit, a row a line; audit.old.jsonl is the one before
//! ```
//!
//! A write takes the lock, looks what is there, writes a temporary, and renames it: so whoever reads sees the old record or the
//! new one, whoever is killed leaves either, and two processes on one folder lose nothing. Before it answers, both the file
//! and the folder are synchronised to the disk.
//!
//! What it does not do: network file systems, whose locks and renames promise less, are not supported.

mod folder;
mod lock;
mod log;
mod name;
mod poll;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use super::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Watch, Write, Written};
use crate::digest::fnv1a;
use crate::record::Timestamp;
use folder::Folder;
use log::Log;

/// Keeps each record in a file of its own. Clones are the same store, and so is every other one on that folder.
///
/// Nothing touches the disk before the store is asked something. A folder that is not there holds nothing; the first write
/// makes it.
///
/// # Names
///
/// A file is called as its circuit, with `%2F` for every byte that is no lower-case letter, digit, `.`, `_` or `-`: so that no
/// name leaves the folder, and none meets another where the file system does not tell `A` from `a`. Where that would be longer
/// than 120 bytes, the end is replaced by a hash.
///
/// # What may go wrong
///
/// | | loading | writing |
/// |---|---|---|
/// | torn, foreign or too long | returns the bytes, which are no record | replaces them and keeps a copy as `….json.corrupt` |
/// | a file that cannot be read | absent, with one warning | [`Refused`](super::StoreErrorKind::Refused) |
/// | the lock is held for longer than `lock_wait` | | [`Unavailable`](super::StoreErrorKind::Unavailable), try later |
/// | the disk is full | | `Unavailable`, and nothing was changed |
/// | no permission, read-only | | `Refused` |
/// | the folder is no folder, or cannot be entered | `Refused` | `Refused` |
///
/// Every message names the path.
///
/// # Etags
///
/// An etag is a hash of the bytes. Two writes of the same bytes have the same one.
///
/// # Cancel safety
///
/// The disk's work is done on another thread, and is finished there if the future is dropped: a write that was dropped happens
/// or does not, and is never half done.
///
/// # Examples
///
/// ```
/// use tower_circuit_breaker::store::{FileStore, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = FileStore::new("/var/lib/orders/breakers");
/// assert_eq!(store.list().await?, [""; 0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FileStore {
    folder: Folder,
    log: Log,
    writers: Writers,
    poll_interval: Duration,
}

impl FileStore {
    /// Returns the store in that folder, without looking at it.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = Folder::new(folder.into());
        Self { log: Log::default(), folder, writers: Writers::default(), poll_interval: Duration::from_millis(250) }
    }

    /// Sets how long a write waits for the lock that another process holds. Default: 200 ms.
    #[must_use]
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.folder.lock_wait = wait;
        self
    }

    /// Sets how often a watch looks at the folder, at least a millisecond apart. Default: every 250 ms.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Sets how long the audit grows before it is put aside for a new one; the one before that is deleted. Default: 16 MiB.
    #[must_use]
    pub fn audit_bytes(mut self, bytes: u64) -> Self {
        self.log.bytes = bytes;
        self
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Store for FileStore {
    fn kind(&self) -> &'static str {
        "file"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let (folder, names) = (self.folder.clone(), names.to_vec());
        blocking(move || folder.load_many(&names)).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        super::check_length(write)?;
        let (folder, write) = (self.folder.clone(), write.clone());
        let turn = self.writers.turn(&write.name).await;
        blocking(move || {
            let written = folder.compare_and_set(&write);
            drop(turn);
            written
        })
        .await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let (folder, name, etag) = (self.folder.clone(), name.to_owned(), etag.clone());
        let turn = self.writers.turn(&name).await;
        blocking(move || {
            let deleted = folder.delete(&name, &etag);
            drop(turn);
            deleted
        })
        .await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.folder.clone();
        blocking(move || folder.list()).await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        poll::watch(self.folder.clone(), self.poll_interval).await.map(Some)
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let (folder, log, rows) = (self.folder.clone(), self.log.clone(), rows.to_vec());
        blocking(move || log.append(&folder, &rows)).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        let (folder, log) = (self.folder.clone(), self.log.clone());
        blocking(move || log.trim(&folder, before)).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let (folder, log, filter) = (self.folder.clone(), self.log.clone(), filter.clone());
        blocking(move || log.rows(&folder, &filter)).await
    }
}

/// Does the work on a thread that may wait. It is finished even if nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(StoreError::unavailable("the runtime is being shut down, and the disk was not touched")),
        },
    }
}

/// Lets the writers of one process take turns, so that the lock on the disk is contended by other processes only.
#[derive(Debug, Clone, Default)]
struct Writers([Arc<Mutex<()>>; 16]);

impl Writers {
    /// Waits for its turn. The work takes it along, so that a dropped writer is not overtaken.
    async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let [.., last] = fnv1a(name.bytes()).to_be_bytes();
        Arc::clone(&self.0[usize::from(last) % self.0.len()]).lock_owned().await
    }
}
