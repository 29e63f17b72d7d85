//! Where records are kept: a register with a clock.
//!
//! A [`Store`] keeps bytes by name, changes them only for whoever knows what is there, and says what time it is. It knows no
//! state machine: what the bytes mean is decided in [`record`](crate::record), so that every store has the same semantics, is
//! about a hundred lines, and passes one conformance suite unchanged (`conformance`, feature `test-util`).
//!
//! No call ever waits for a store. The coordinator asks it in the background, with a deadline.

pub(crate) mod any;
mod audit;
#[cfg(feature = "test-util")]
pub mod conformance;
mod error;
#[cfg(feature = "test-util")]
mod faulty;
#[cfg(feature = "file")]
mod file;
pub(crate) mod health;
mod memory;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
pub mod schema;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tiered;
mod watch;

use std::fmt;
use std::time::Duration;

#[cfg(any(feature = "file", feature = "sqlite"))]
use crate::clock::Clock;
pub use crate::keep::StoreKind;
use crate::record::Timestamp;
pub use any::AnyStore;
pub(crate) use any::DynStore;
pub use audit::{AuditFilter, AuditRow};
pub use error::{StoreError, StoreErrorKind};
#[cfg(feature = "test-util")]
pub use faulty::{Fault, Faults, FaultyStore, Operation};
#[cfg(feature = "file")]
pub use file::FileStore;
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use redis::RedisStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use tiered::TieredStore;
pub use watch::{Watch, WatchEvent, WatchSender};

/// A register with a clock.
///
/// # Write your own
///
/// `examples/custom_store.rs` is one, with the conformance suite run against it. Write plain `async fn`s; the futures must be
/// `Send`. An implementation may be asked by several tasks at once.
///
/// # Cancel safety
///
/// Every future may be dropped at any await, and is when its deadline has passed. A write that was dropped has happened or has
/// not; nothing may be left half done.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns what it is called in metrics and logs: `redis`, `postgres`.
    fn kind(&self) -> &'static str;

    /// Returns which store gave that etag: itself, unless it is made of several.
    fn origin(&self, etag: &Etag) -> &'static str {
        let _any = etag;
        self.kind()
    }

    /// Returns what is kept under each name, in the order of the names, and the time.
    ///
    /// # Errors
    ///
    /// If it could not find out. Nothing being there is not an error, and an error never means that nothing is there.
    fn load_many(&self, names: &[String]) -> impl Future<Output = Result<Loaded, StoreError>> + Send;

    /// Writes if what is there is what the writer expects.
    ///
    /// # Errors
    ///
    /// If it could not. After [`TimedOut`](StoreErrorKind::TimedOut) it may have been written all the same.
    fn compare_and_set(&self, write: &Write) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Deletes what is kept under the name, if it has that etag. Returns whether it was so.
    ///
    /// # Errors
    ///
    /// If it could not. After [`TimedOut`](StoreErrorKind::TimedOut) it may have been deleted all the same.
    fn delete(&self, name: &str, etag: &Etag) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns the names under which something is kept, sorted.
    ///
    /// # Errors
    ///
    /// If it could not find out.
    fn list(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// Begins to tell of changes, if it can: `None` unless overridden. There is a poll behind it, so it need not be reliable,
    /// but it must say [`Gap`](WatchEvent::Gap) when it may have missed something.
    ///
    /// # Errors
    ///
    /// If it could, but not now.
    fn watch(&self) -> impl Future<Output = Result<Option<Watch>, StoreError>> + Send {
        async { Ok(None) }
    }

    /// Appends rows to the audit, each once however often it is given.
    ///
    /// # Errors
    ///
    /// If it could not; then all may be given again.
    fn append_audit(&self, rows: &[AuditRow]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes rows of the audit that are older than that, the oldest first, and returns whether there may be more of them.
    ///
    /// It is asked again, so it may delete some now and others later, and must not take long however many there are. Unless this
    /// is overridden nothing is deleted.
    ///
    /// # Errors
    ///
    /// If it could not.
    fn trim_audit(&self, before: Timestamp) -> impl Future<Output = Result<bool, StoreError>> + Send {
        let _any = before;
        async { Ok(false) }
    }

    /// Returns the newest rows that pass the filter, oldest first.
    ///
    /// # Errors
    ///
    /// If it could not find out.
    fn audit(&self, filter: &AuditFilter) -> impl Future<Output = Result<Vec<AuditRow>, StoreError>> + Send;
}

/// Names one version of what is kept under a name. Opaque: only the store that gave it can compare it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Etag(Box<str>);

impl Etag {
    /// Returns the etag with that text.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is kept under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores make them")]
pub struct Versioned {
    /// The bytes as they were written.
    pub bytes: Vec<u8>,
    /// Which version of them it is.
    pub etag: Etag,
}

/// What `load_many` found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores make them")]
pub struct Loaded {
    /// What is kept under each name that was asked for, in that order.
    pub entries: Vec<Option<Versioned>>,
    /// The time of the store.
    pub now: Timestamp,
}

/// A write that a store makes only if nobody was faster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a write is made of all its parts")]
pub struct Write {
    /// Under which name: 1 to 200 bytes of printable, non-space text.
    pub name: String,
    /// What is expected to be there. `None`: nothing.
    pub expected: Option<Etag>,
    /// What is to be there.
    pub bytes: Vec<u8>,
    /// How long a store that forgets must remember it at least. `None`: until it is deleted. Stores that do not forget ignore it.
    pub ttl: Option<Duration>,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a write was made or it was not")]
pub enum Written {
    /// It was made.
    Applied {
        /// Names what was written.
        etag: Etag,
        /// The time of the store.
        now: Timestamp,
    },
    /// Something else was there.
    Conflict {
        /// What is there.
        current: Option<Versioned>,
        /// The time of the store.
        now: Timestamp,
    },
}

/// Waits for the answer of a store, but not longer than `limit`.
///
/// # Cancel safety
///
/// Dropped while waiting, the operation is dropped too.
pub(crate) async fn answer_within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(StoreError::no_answer_within(limit)))
}

/// Refuses what is too long for any store.
pub(crate) fn check_length(write: &Write) -> Result<(), StoreError> {
    let (bytes, allowed) = (write.bytes.len(), crate::record::CircuitRecord::MAX_BYTES);
    if bytes <= allowed {
        return Ok(());
    }
    Err(StoreError::refused(format!("the record of `{}` has {bytes} bytes, allowed are {allowed}", write.name)))
}

/// The host's time, for stores whose server is the host.
#[cfg(any(feature = "file", feature = "sqlite"))]
pub(crate) fn host_time() -> Timestamp {
    crate::clock::MonotonicClock::new().wall().into()
}
