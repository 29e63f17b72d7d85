//! The storage of circuit records behind one trait, [`Store`].
//!
//! A store is a register with a clock. A store keeps bytes by name, replaces them only for a writer that names the
//! present version, and returns its own time. A store does not interpret the bytes. Only [`record`](crate::record)
//! knows the meaning of the bytes. Therefore all stores have the same semantics, and a new store has to implement only
//! the trait. All stores pass one conformance suite unchanged (`conformance`, feature `test-util`). A new store has a
//! file in `store` and is declared in this file. The scheme of the new store's address is listed in `keep.rs`, and
//! `store/open.rs` calls the constructor of the new store.
//!
//! A call through a circuit never waits for a store. The coordinator loads and writes the records in the background,
//! and gives each operation a deadline.

pub(crate) mod any;
mod audit;
#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(any(feature = "file", feature = "sqlite"))]
mod disk;
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
mod time_limit;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod tls;
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
pub(crate) use audit::{order_row_id, row_id};
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
pub(crate) use time_limit::answer_within;
pub use watch::{Hint, Watch, WatchEvent, WatchSender};

/// Stores circuit records by name, with compare-and-set and with a clock.
///
/// # Write your own
///
/// `examples/custom_store.rs` implements a store and runs the conformance suite on it. Write the methods as plain
/// `async fn`s. Their futures must be `Send`. Several tasks may call one store at the same time.
///
/// # Cancel safety
///
/// The caller drops a future after a deadline, so every future may be dropped at any await. A write whose future was
/// dropped must happen completely or not at all.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns the name of the store in metrics and logs, such as `redis` or `postgres`.
    fn kind(&self) -> &'static str;

    /// Returns the kind of the store that holds the version with this etag, for reports and logs. The default is the
    /// kind of this store, and only a store made of several stores overrides this method.
    fn origin(&self, etag: &Etag) -> &'static str {
        let _any = etag;
        self.kind()
    }

    /// Returns the kinds of the two tiers, the fast tier first. `None` if the store has no tiers, which is the default.
    /// Only a store that puts one store in front of another overrides this method. Each instance writes its tiers into
    /// the record. An order through only one of the tiers is then refused, because the order might not reach the
    /// instances.
    fn tiers(&self) -> Option<[&'static str; 2]> {
        None
    }

    /// Returns the kind of the tier to which a write could not copy its version. `etag` comes from this write, which
    /// has just ended. `None` if the version is as durable as the store can make it, which is the default.
    fn lacking(&self, etag: &Etag) -> Option<&'static str> {
        let _any = etag;
        None
    }

    /// Returns the value of each name, in the order of the names, and the time of the store.
    ///
    /// # Errors
    ///
    /// If the store cannot read. A name without a value is no error, and an error never means that a name has no value.
    fn load_many(&self, names: &[String]) -> impl Future<Output = Result<Loaded, StoreError>> + Send;

    /// Replaces the value of a name if the present version is the expected version, and returns [`Written::Applied`].
    /// Otherwise changes nothing, and returns [`Written::Conflict`] with the present value.
    ///
    /// # Errors
    ///
    /// If the store cannot write. After [`TimedOut`](StoreErrorKind::TimedOut) the write may have been made
    /// nevertheless.
    fn compare_and_set(&self, write: &Write) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Deletes the value of a name if the etag names the present version. Returns true if the value was deleted.
    ///
    /// # Errors
    ///
    /// If the store cannot delete. After [`TimedOut`](StoreErrorKind::TimedOut) the value may have been deleted
    /// nevertheless.
    fn delete(&self, name: &str, etag: &Etag) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns the names that have a value, sorted by their bytes.
    ///
    /// # Errors
    ///
    /// If the store cannot read.
    fn list(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// Returns some of the names that follow `after` and whose value was last written before the time `before`, sorted
    /// by their bytes. The result is empty only if there are no more such names.
    ///
    /// The caller deletes the records that no instance needs any more, and calls again with the last name as `after`. A
    /// store that drops a value after its TTL needs no such deletion and returns no names, which is the default.
    ///
    /// # Errors
    ///
    /// If the store cannot read.
    fn unwritten_since(
        &self,
        before: Timestamp,
        after: &str,
    ) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send {
        let _any = (before, after);
        async { Ok(Vec::new()) }
    }

    /// Returns the values of names that [`unwritten_since`](Self::unwritten_since) has returned, so that the caller can
    /// decide which records to delete.
    ///
    /// The default implementation is [`load_many`](Self::load_many). A store that copies loaded values to another store
    /// must override this method and copy nothing. A copy would renew the time to live of an old record.
    ///
    /// # Errors
    ///
    /// If the store cannot read.
    fn load_unwritten(&self, names: &[String]) -> impl Future<Output = Result<Loaded, StoreError>> + Send {
        self.load_many(names)
    }

    /// Opens a watch, on which the store reports changes. Returns `None` if the store cannot report changes, which is
    /// the default.
    ///
    /// A watch need not be reliable, because the coordinator also polls. But a watch that may have missed a change must
    /// report a [`Gap`](WatchEvent::Gap). A watch that can report no more changes must end. While a watch is open, the
    /// coordinator polls less often. A circuit that is closed in this process and in the store is polled at most once a
    /// minute. Any other circuit is polled at most once in 5 s. Polls are more frequent while the fleet of the circuit
    /// votes or probes. Polls are also more frequent while the store refuses the record of the circuit, or while the
    /// version in the store is not known.
    ///
    /// After the end of a watch, the registry polls as without a watch. The registry calls this method again 1 to 3 s
    /// after the end of a watch, and 2.5 to 7.5 s after an error of this method. If the watch begins to observe changes
    /// only after this method has returned, it can miss a change that happens in between. In this case report a gap as
    /// the first event.
    ///
    /// # Errors
    ///
    /// If the store can report changes, but not at present.
    fn watch(&self) -> impl Future<Output = Result<Option<Watch>, StoreError>> + Send {
        async { Ok(None) }
    }

    /// Appends rows to the audit. A row whose id the audit already has is not appended again.
    ///
    /// # Errors
    ///
    /// If the store could not append every row. After this error the caller may append all rows again, also in other
    /// batches. After [`Refused`](StoreErrorKind::Refused) or [`Corrupt`](StoreErrorKind::Corrupt) a registry appends
    /// smaller batches and so finds the refused row. The registry sets this row aside if the store takes other rows.
    fn append_audit(&self, rows: &[AuditRow]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes rows of the audit that are older than `before`, the oldest first. Returns true if more such rows may be
    /// left.
    ///
    /// The caller repeats the call after a result of true. An implementation may therefore delete a part of the rows
    /// each time, and must return soon, however many rows there are. The default implementation deletes nothing.
    ///
    /// # Errors
    ///
    /// If the store cannot delete.
    fn trim_audit(&self, before: Timestamp) -> impl Future<Output = Result<bool, StoreError>> + Send {
        let _any = before;
        async { Ok(false) }
    }

    /// Returns the newest rows that pass the filter, sorted from the oldest to the newest.
    ///
    /// # Errors
    ///
    /// If the store cannot read.
    fn audit(&self, filter: &AuditFilter) -> impl Future<Output = Result<Vec<AuditRow>, StoreError>> + Send;
}

/// The version of a stored value. Only the store that created an etag can interpret the text of the etag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Etag(Box<str>);

impl Etag {
    /// Creates an etag with this text.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text of the etag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A stored value and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores create them")]
pub struct Versioned {
    /// The bytes of the value, as they were written.
    pub bytes: Vec<u8>,
    /// The version of the bytes.
    pub etag: Etag,
}

/// The answer to [`load_many`](Store::load_many).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores create them")]
pub struct Loaded {
    /// The value of each name, in the order in which the names were given. `None` if the name has no value.
    pub entries: Vec<Option<Versioned>>,
    /// The time of the operation by the clock of the store.
    pub now: Timestamp,
}

/// A new value, which the store writes only if the present version is the expected version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a write needs all of its fields")]
pub struct Write {
    /// The name of the value, which has 1 to 200 bytes of printable text without spaces.
    pub name: String,
    /// The version that the writer expects to replace. With `None` the writer expects that the name has no value.
    pub expected: Option<Etag>,
    /// The new value.
    pub bytes: Vec<u8>,
    /// The shortest time for which a store with expiry keeps the value. With `None` the store keeps the value until the
    /// value is deleted. Stores without expiry ignore this field.
    pub ttl: Option<Duration>,
    /// The importance of the write to other instances. A watch reports the importance as a hint. A store ignores the
    /// hint, or passes the hint unchanged to [`WatchSender::changed_with`].
    pub hint: Hint,
}

/// The result of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a write was made or it was not")]
pub enum Written {
    /// The write was made.
    Applied {
        /// The version of the new value.
        etag: Etag,
        /// The time of the operation by the clock of the store.
        now: Timestamp,
    },
    /// The present version was not the expected version, and nothing was changed.
    Conflict {
        /// The present value, or `None` if the name has no value.
        current: Option<Versioned>,
        /// The time of the operation by the clock of the store.
        now: Timestamp,
    },
}

/// Returns an error if the record is longer than `MAX_BYTES`, which is the limit of every store.
pub(crate) fn check_length(write: &Write) -> Result<(), StoreError> {
    let (bytes, allowed) = (write.bytes.len(), crate::record::CircuitRecord::MAX_BYTES);
    if bytes <= allowed {
        return Ok(());
    }
    Err(StoreError::refused(format!("the record of `{}` has {bytes} bytes, allowed are {allowed}", write.name)))
}

/// Returns a substitute for a stored value that is too long for a record. The substitute is one byte longer than the
/// longest record, and has only blanks. Therefore the caller treats the record as damaged.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) fn too_long() -> Vec<u8> {
    vec![b' '; crate::record::CircuitRecord::MAX_BYTES + 1]
}

/// Returns the time of this host, for the stores that have no server with a clock.
#[cfg(any(feature = "file", feature = "sqlite"))]
pub(crate) fn host_time() -> Timestamp {
    crate::clock::MonotonicClock::new().wall().into()
}
