//! A store with one JSON file for each circuit in one folder. The store is for a single host, and people can read the
//! files with `cat`.
//!
//! ```text
//! breakers/payments.json            the record
//! breakers/payments.json.lock       locked while the record is written; deleted with the record
//! breakers/payments.json.corrupt    the last content of payments.json that was not a record of `payments`, if any
//! breakers/payments.json.….tmp      a record under way, or left by a killed writer and deleted after a later start
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
mod lines;
mod lock;
mod log;
mod name;
mod poll;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::DiskThread;
use super::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Watch, Write, Written};
use crate::record::Timestamp;
use folder::Folder;
use log::Log;

/// Keeps each record in its own file. Clones share the folder, and other stores may use the same folder too.
///
/// The constructor does not access the disk. A missing folder holds no records, and the first write creates the folder.
///
/// # Names
///
/// A file has the name of its circuit. Lower-case letters, digits, `.`, `_` and `-` stay, and an escape such as `%2F`
/// replaces every other byte. A `.` at the beginning is escaped too. Therefore no name leads out of the folder. Two
/// names never share a file, even on a file system that treats `A` and `a` alike. If the name of the file would exceed
/// 120 bytes, the SHA-256 of the circuit's name replaces the end.
///
/// # Rights
///
/// A new folder has the mode 0700, and the files in it 0600. In an existing folder, a new file gets the owner and the
/// group of the folder if the process may set them. The file gets the mode of the folder without the right to execute.
/// Links are not followed for files, and only regular files are opened. A warning is logged once if every user may
/// write to the folder. On systems other than unix, the system sets the rights.
///
/// # Faults
///
/// | | loading | writing |
/// |---|---|---|
/// | a file is incomplete, too long, or of another program | returns the bytes, which do not decode as a record | replaces the bytes and keeps a copy as `….json.corrupt` |
/// | a file cannot be read, or is a link, a pipe, a device or a folder | returns a text with the reason, which does not decode as a record, with at most one warning a minute | [`Refused`](super::StoreErrorKind::Refused) |
/// | another process holds the lock for longer than `lock_wait` | | [`Unavailable`](super::StoreErrorKind::Unavailable) |
/// | the disk hangs | `Unavailable` at once, if the work of an earlier operation has run for 10 s, or for 500 ms if its future was dropped | as for loading |
/// | the disk is full | | `Unavailable`, and nothing is changed |
/// | no permission, read-only | | `Refused` |
/// | the folder is a file, or the process has no right to enter the folder | `Refused` | `Refused` |
///
/// Every error message names the path.
///
/// # Etags
///
/// An etag is the SHA-256 of the bytes. Therefore two writes of the same bytes have the same etag.
///
/// # Cancel safety
///
/// The work on the disk runs on a thread of the store, one operation at a time. If a future is dropped before the turn
/// of its operation, nothing is done. If the future is dropped later, the work is still done completely. The thread
/// ends after the last clone of the store was dropped and the work under way has ended. Neither the end of the runtime
/// nor the end of the program waits for the thread.
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
    disk: DiskThread,
    poll_interval: Duration,
}

impl FileStore {
    /// Creates the store of a folder, without an access to the disk.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = Folder::new(folder.into());
        let disk = DiskThread::new("breaker-file", folder.path());
        Self { log: Log::default(), folder, disk, poll_interval: Duration::from_millis(250) }
    }

    /// Sets the time for which a write waits for a lock that another process holds. Default: 200 ms.
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

    /// Sets the size at which the audit file counts as full and a new file begins. The full file is kept until the new
    /// file is full too. Default: 16 MiB.
    #[must_use]
    pub fn audit_bytes(mut self, bytes: u64) -> Self {
        self.log.bytes = bytes;
        self
    }

    /// Returns the path of the folder.
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
        self.disk.run(move || folder.load_many(&names)).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        super::check_length(write)?;
        let (folder, write) = (self.folder.clone(), write.clone());
        self.disk.run(move || folder.compare_and_set(&write)).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let (folder, name, etag) = (self.folder.clone(), name.to_owned(), etag.clone());
        self.disk.run(move || folder.delete(&name, &etag)).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.folder.clone();
        self.disk.run(move || folder.list()).await
    }

    async fn unwritten_since(&self, before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        let (folder, after) = (self.folder.clone(), after.to_owned());
        self.disk.run(move || folder.unwritten_since(before, &after)).await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        poll::watch(self.folder.clone(), self.disk.clone(), self.poll_interval).await.map(Some)
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let (folder, log, rows) = (self.folder.clone(), self.log.clone(), rows.to_vec());
        self.disk.run(move || log.append(&folder, &rows)).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        let (folder, log) = (self.folder.clone(), self.log.clone());
        self.disk.run(move || log.trim(&folder, before)).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let (folder, log, filter) = (self.folder.clone(), self.log.clone(), filter.clone());
        self.disk.run(move || log.rows(&folder, &filter)).await
    }
}
