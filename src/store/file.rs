//! A store with one JSON file for each circuit in one folder, for a single host and for people who read the state with
//! `cat`.
//!
//! ```text
//! breakers/payments.json            the record
//! breakers/payments.json.lock       locked while the record is written; never deleted
//! breakers/payments.json.corrupt    the last content of payments.json that was not a record of `payments`, if any
//! breakers/payments.json.….tmp      a record that is being written, or a remainder of a killed writer, deleted after a minute
//! breakers/audit.jsonl              the audit, one row per line
//! breakers/audit.old.jsonl          the older rows of the audit
//! ```
//!
//! A write takes the lock, compares the etag, writes a temporary file, and renames that file. Therefore a reader sees
//! either the old or the new record, even if the writer is killed. Two processes that share a folder lose no write. The
//! store synchronises the file and the folder to the disk before it answers a write.
//!
//! Network file systems are not supported, because their locks and renames are less reliable.

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

/// Keeps each record in its own file. Clones share the folder, and other stores may use the same folder too.
///
/// The constructor does not access the disk. A missing folder holds no records, and the first write creates the folder.
///
/// # Names
///
/// A file has the name of its circuit, with an escape such as `%2F` for every byte except lower-case letters, digits,
/// `.`, `_` and `-`. Therefore no name leads out of the folder, and two names never share a file on a file system that
/// treats `A` and `a` alike. If the name of the file would exceed 120 bytes, a hash replaces its end.
///
/// # Faults
///
/// | | loading | writing |
/// |---|---|---|
/// | a file is incomplete, too long, or of another program | returns the bytes, which do not decode as a record | replaces the bytes and keeps a copy as `….json.corrupt` |
/// | a file cannot be read | no value, with one warning | [`Refused`](super::StoreErrorKind::Refused) |
/// | another process holds the lock for longer than `lock_wait` | | [`Unavailable`](super::StoreErrorKind::Unavailable) |
/// | the disk is full | | `Unavailable`, and nothing is changed |
/// | no permission, read-only | | `Refused` |
/// | the folder is a file, or may not be entered | `Refused` | `Refused` |
///
/// Every error message names the path.
///
/// # Etags
///
/// An etag is a hash of the bytes. Therefore two writes of the same bytes have the same etag.
///
/// # Cancel safety
///
/// The work on the disk runs on another thread and continues if the future is dropped. Therefore a dropped write
/// happens completely or not at all.
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
    /// Creates the store of a folder, without an access to the disk.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = Folder::new(folder.into());
        Self { log: Log::default(), folder, writers: Writers::default(), poll_interval: Duration::from_millis(250) }
    }

    /// Sets the time for which a write waits for a lock of another process. Default: 200 ms.
    #[must_use]
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.folder.lock_wait = wait;
        self
    }

    /// Sets the interval at which a watch reads the folder. At least 1 ms. Default: 250 ms.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Sets the size of the audit file at which a new file begins. The full file is kept until the new file is full
    /// too. Default: 16 MiB.
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

/// Runs the work on a thread that may block on the disk. The thread finishes the work even if the future is dropped.
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

/// The 16 locks for the writers of this process, where the hash of a name selects the lock. A writer that waits for its
/// lock does not occupy a thread. A writer that waits for the lock on the disk polls and occupies a thread, so only
/// writers of different processes should compete for the lock on the disk.
#[derive(Debug, Clone, Default)]
struct Writers([Arc<Mutex<()>>; 16]);

impl Writers {
    /// Waits until this writer may write the record of this name. The work on the disk owns the guard, so that the next
    /// writer begins only after the work has ended, even if the future of this writer was dropped.
    async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let [.., last] = fnv1a(name.bytes()).to_be_bytes();
        Arc::clone(&self.0[usize::from(last) % self.0.len()]).lock_owned().await
    }
}
