//! A store in an SQLite file, which is durable, needs no server, and is shared by the processes of one host.
//!
//! Every change is one statement, so that a change is never half done. No transaction reads first and writes later,
//! because SQLite can refuse the write of such a transaction without waiting for the lock. A commit is on the disk
//! before the operation returns (`synchronous = FULL`). Otherwise a power cut could undo the opening of a circuit. A
//! commit takes about 0.2 ms on an SSD, and sometimes 4 ms. One connection runs all operations. [`watch`](Store::watch)
//! opens a second connection, which checks five times a second for writes of other connections.
//!
//! Each operation first checks that the path still leads to the open file. If the file was replaced or deleted, the
//! operation opens the file at the path, so that all instances use the same file again.
//!
//! Network file systems are not supported, because SQLite cannot rely on their locks.
//!
//! This source file is longer than others, because a reader of the SQL statements also needs the operations that use
//! them.

mod connection;
mod error;
mod files;
mod poll;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{Row, query};

use super::schema::SchemaMode;
use super::sql::{Columns, bounded, new_etag, signed, text, unsigned, without_nul};
use super::{
    AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, Watch, Write, Written, host_time, too_long,
};
use crate::keep::Address;
use crate::record::{CircuitRecord, Timestamp};
use connection::{Entered, Lane};

/// Keeps records in an SQLite file. Clones share one connection.
///
/// The first operation opens the file. This operation also creates the file, its folder and the tables, unless
/// [`schema`](Self::schema) sets another mode. If this fails, the next operation tries again. If another process keeps
/// the file locked for half of the [`store_timeout`](crate::coordinator::RegistryBuilder::store_timeout) (1 s of the
/// default 2 s), the operation fails as [`Unavailable`](super::StoreErrorKind::Unavailable).
///
/// # Rights
///
/// A new folder has the mode 0700, and the files in it 0600. In an existing folder, a new file gets the owner and the
/// group of the folder if the process may set them. The file gets the mode of the folder without the rights to execute.
/// A file that is a link, a pipe or a device is refused. A warning is logged once if every user may write to the folder
/// or the file. On systems other than unix, the operating system sets the rights, and the store does not notice a
/// replaced file.
///
/// # A file that hangs
///
/// The store runs one operation at a time on a thread, and sqlx has another thread for each connection. If the caller
/// has dropped an operation, its work on the disk can still be under way. Once this work has run for 500 ms since its
/// beginning, further operations fail at once as `Unavailable`, until the work ends. SQLite interrupts a statement soon
/// after the caller has dropped its operation, or after one minute.
#[derive(Clone)]
pub struct SqliteStore {
    lane: Arc<Lane>,
}

impl SqliteStore {
    /// Creates the store of a file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with(path.into(), SqliteConnectOptions::new())
    }

    /// Creates the store of an address. `sqlite://data/circuit_breaker.db` is a path below the working directory, and
    /// `sqlite:///var/lib/app/circuit_breaker.db` is a path from the root. `?mode=ro` permits only reading.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if the text is not such an address, or names no file. For records in
    /// memory use [`MemoryStore`](super::MemoryStore).
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let refused = |problem: &str| StoreError::refused(format!("the address `{url}` {problem}"));
        if !url.starts_with("sqlite:") {
            return Err(refused("does not begin with `sqlite:`"));
        }
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(refused("names no file; use `MemoryStore` for records in memory"));
        }
        Address::parse(url)?;
        let options = SqliteConnectOptions::from_str(url).map_err(|error| refused(&format!("is invalid: {error}")))?;
        let path = options.get_filename().to_owned();
        if path.as_os_str().is_empty() {
            return Err(refused("names no file; use `MemoryStore` for records in memory"));
        }
        let store = Self::with(path, options);
        Ok(if url.contains("mode=ro") { store.schema(SchemaMode::Verify) } else { store })
    }

    fn with(path: PathBuf, options: SqliteConnectOptions) -> Self {
        Self { lane: Arc::new(Lane::new(path, options, SchemaMode::Create)) }
    }

    /// Sets whether the store creates, checks or assumes the file and its tables. Default: [`SchemaMode::Create`],
    /// which creates a missing file and missing tables. When this mode creates tables, it also switches the file to
    /// write-ahead logging. The other modes do not change the journal mode.
    #[must_use]
    pub fn schema(self, mode: SchemaMode) -> Self {
        Self { lane: Arc::new(self.lane.with_mode(mode)) }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.lane.path()
    }

    /// Creates or verifies the file and its tables now, as [`schema`](Self::schema) says. Without this call, the first
    /// operation of the store creates or verifies them.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if a table or column is missing, or if the process has no right to
    /// write to the file.
    /// [`Corrupt`](super::StoreErrorKind::Corrupt) if the file is no database. Otherwise
    /// [`Unavailable`](super::StoreErrorKind::Unavailable).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, all tables are created or none. The call can be repeated.
    pub async fn ensure_schema(&self) -> Result<(), StoreError> {
        self.lane.run(async |_| Ok(())).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// # Cancel safety
///
/// Every future may be dropped. An operation that has not begun has no effect. A statement that has begun is finished
/// or interrupted, and an interrupted statement has no effect.
impl Store for SqliteStore {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let (wanted, count) = (serde_json::to_string(names).expect("strings have a JSON form"), names.len());
        let load = async move |lane: &mut Entered<'_>| {
            let rows = query(LOAD).bind(wanted).bind(LONGEST).fetch_all(lane.connection()).await;
            let now = host_time();
            let mut entries = vec![None; count];
            for row in lane.check(rows)? {
                let index: i64 = lane.decoded(row.try_get(0))?;
                if let Some(entry) = usize::try_from(index).ok().and_then(|index| entries.get_mut(index)) {
                    *entry = Some(lane.decoded(versioned(&row, 1))?);
                }
            }
            Ok(Loaded { entries, now })
        };
        self.lane.run(load).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        let record = text(write)?.to_owned();
        let columns = Columns::of(write);
        let (name, expected) = (write.name.clone(), write.expected.clone());
        let replace = async move |lane: &mut Entered<'_>| {
            let (now, etag) = (host_time(), new_etag());
            let done = query(if expected.is_some() { UPDATE } else { INSERT })
                .bind(&name)
                .bind(columns.state)
                .bind(columns.failures)
                .bind(columns.successes)
                .bind(columns.last_failure_at)
                .bind(columns.last_state_change)
                .bind(columns.total_failures)
                .bind(columns.total_successes)
                .bind(bounded(now))
                .bind(columns.generation)
                .bind(etag.as_str())
                .bind(record)
                .bind(expected.as_ref().map(Etag::as_str))
                .execute(lane.connection())
                .await;
            if lane.check(done)?.rows_affected() == 1 {
                return Ok(Written::Applied { etag, now });
            }
            let current = query(CURRENT).bind(&name).bind(LONGEST).fetch_optional(lane.connection()).await;
            let current = lane.check(current)?.map(|row| versioned(&row, 0)).transpose();
            Ok(Written::Conflict { current: lane.decoded(current)?, now: host_time() })
        };
        self.lane.run(replace).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let (name, etag) = (name.to_owned(), etag.clone());
        let delete = async move |lane: &mut Entered<'_>| {
            let done = query(DELETE).bind(name).bind(etag.as_str()).execute(lane.connection()).await;
            Ok(lane.check(done)?.rows_affected() == 1)
        };
        self.lane.run(delete).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let list = async |lane: &mut Entered<'_>| {
            let rows = query(LIST).fetch_all(lane.connection()).await;
            Ok(named(&lane.check(rows)?))
        };
        self.lane.run(list).await
    }

    async fn unwritten_since(&self, before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        let after = after.to_owned();
        let list = async move |lane: &mut Entered<'_>| {
            let rows = query(UNWRITTEN).bind(bounded(before)).bind(after).fetch_all(lane.connection()).await;
            Ok(named(&lane.check(rows)?))
        };
        self.lane.run(list).await
    }

    /// Reports each changed record within about 200 ms, even if this process made the change. Reports a
    /// [`Gap`](super::WatchEvent::Gap) after the file was replaced or deleted, and after each change of a file with
    /// more than 20 000 records.
    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        self.ensure_schema().await?;
        poll::watch(self.lane.clone()).await.map(Some)
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let rows = serde_json::to_string(&without_nul(rows)).expect("rows have a JSON form");
        let append = async move |lane: &mut Entered<'_>| {
            let done = query(APPEND).bind(rows).bind(bounded(Timestamp::from_millis(u64::MAX)));
            let done = done.execute(lane.connection()).await;
            lane.check(done).map(drop)
        };
        self.lane.run(append).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        let trim = async move |lane: &mut Entered<'_>| {
            let done = query(TRIM).bind(bounded(before)).execute(lane.connection()).await;
            Ok(lane.check(done)?.rows_affected() == TRIMMED_AT_ONCE)
        };
        self.lane.run(trim).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let filter = filter.clone();
        let find = async move |lane: &mut Entered<'_>| {
            let rows = query(AUDIT)
                .bind(filter.service)
                .bind(filter.since.map(bounded))
                .bind(signed(filter.limit.try_into().unwrap_or(u64::MAX)))
                .bind(filter.user)
                .fetch_all(lane.connection())
                .await;
            let rows = lane.check(rows)?.iter().rev().map(audited).collect();
            lane.decoded(rows)
        };
        self.lane.run(find).await
    }
}

/// Returns the record and its etag from two columns of a row. The SQL statement leaves out a record that is too long,
/// so that the value of another program cannot fill the memory of this process.
fn versioned(row: &SqliteRow, first: usize) -> Result<Versioned, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get(first)?;
    let etag = Etag::new(lossy(row, first + 1)?.unwrap_or_default());
    Ok(Versioned { bytes: bytes.unwrap_or_else(too_long), etag })
}

/// Returns a text column, with replacement characters for bytes that are not UTF-8, because SQLite can store any bytes
/// in a text column.
fn lossy(row: &SqliteRow, index: usize) -> Result<Option<String>, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get(index)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn audited(row: &SqliteRow) -> Result<AuditRow, sqlx::Error> {
    Ok(AuditRow {
        id: lossy(row, 0)?.unwrap_or_default(),
        service: lossy(row, 1)?.unwrap_or_default(),
        action: lossy(row, 2)?.unwrap_or_default(),
        reason: lossy(row, 3)?.unwrap_or_default(),
        user: lossy(row, 4)?,
        instance: lossy(row, 5)?.unwrap_or_default(),
        timestamp: Timestamp::from_millis(unsigned(row.try_get(6)?)),
        generation: unsigned(row.try_get(7)?),
    })
}

/// Selects a text column. If the text is longer than any text of this crate, the expression gives `(too long)` instead.
/// The expression ends with a comma.
macro_rules! bounded_text {
    ($column:literal) => {
        concat!("CAST(CASE WHEN octet_length(", $column, ") > 65536 THEN '(too long)' ELSE ", $column, " END AS BLOB),")
    };
}

/// Returns the names in the rows. A name that is not UTF-8 was written by another program, and is left out.
fn named(rows: &[SqliteRow]) -> Vec<String> {
    rows.iter().filter_map(|row| String::from_utf8(row.try_get(0).ok()?).ok()).collect()
}

/// The etag of a row, as an SQL expression. A person or another program can write an etag of any type and length, so a
/// long etag is replaced by its length.
macro_rules! version {
    () => {
        "coalesce(CASE WHEN octet_length(etag) <= 100 THEN CAST(etag AS TEXT) ELSE 'long:' || octet_length(etag) END, '')"
    };
}

/// The length of the longest record, in bytes, for the SQL statements.
const LONGEST: i64 = 64 * 1024;
const _: () = assert!(CircuitRecord::MAX_BYTES == 64 * 1024, "`LONGEST` is the same number");
const LOAD: &str = concat!(
    "SELECT wanted.key, CAST(CASE WHEN octet_length(s.record) <= ?2 THEN s.record END AS BLOB), ",
    version!(),
    " FROM json_each(?1) AS wanted JOIN circuit_breaker_states AS s ON s.service = wanted.value"
);
const CURRENT: &str = concat!(
    "SELECT CAST(CASE WHEN octet_length(record) <= ?2 THEN record END AS BLOB), ",
    version!(),
    " FROM circuit_breaker_states WHERE service = ?1"
);
const LIST: &str = "SELECT CAST(service AS BLOB) FROM circuit_breaker_states WHERE octet_length(service) <= 200
    ORDER BY service";
/// Selects the names and etags of the records, for the watch. The `LIMIT` is one above the number of rows that the
/// watch can compare, so that the watch notices a table with too many rows.
const ETAGS: &str = concat!(
    "SELECT CAST(service AS BLOB), ",
    version!(),
    " FROM circuit_breaker_states WHERE octet_length(service) <= 200 LIMIT 20001"
);
const UNWRITTEN: &str = "SELECT CAST(service AS BLOB) FROM circuit_breaker_states
    WHERE updated_at < strftime('%Y-%m-%dT%H:%M:%fZ', ?1 / 1000.0, 'unixepoch') AND service > ?2
        AND octet_length(service) <= 200 ORDER BY service LIMIT 256";
const DELETE: &str = concat!("DELETE FROM circuit_breaker_states WHERE service = ?1 AND ", version!(), " = ?2");
// SQLite calculates in whole milliseconds, so `unixepoch` reads back exactly the number that `strftime` wrote.
const INSERT: &str =
    "INSERT INTO circuit_breaker_states (service, state, failures, successes, last_failure_at, last_state_change,
        total_failures, total_successes, updated_at, generation, etag, record)
    SELECT ?1, ?2, ?3, ?4, strftime('%Y-%m-%dT%H:%M:%fZ', ?5 / 1000.0, 'unixepoch'),
        strftime('%Y-%m-%dT%H:%M:%fZ', ?6 / 1000.0, 'unixepoch'), ?7, ?8,
        strftime('%Y-%m-%dT%H:%M:%fZ', ?9 / 1000.0, 'unixepoch'), ?10, ?11, ?12
    WHERE ?13 IS NULL ON CONFLICT (service) DO NOTHING";
const UPDATE: &str = concat!(
    "UPDATE circuit_breaker_states SET state = ?2, failures = ?3, successes = ?4,
        last_failure_at = strftime('%Y-%m-%dT%H:%M:%fZ', ?5 / 1000.0, 'unixepoch'),
        last_state_change = strftime('%Y-%m-%dT%H:%M:%fZ', ?6 / 1000.0, 'unixepoch'), total_failures = ?7, total_successes = ?8,
        updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', ?9 / 1000.0, 'unixepoch'), generation = ?10, etag = ?11, record = ?12
    WHERE service = ?1 AND ",
    version!(),
    " = ?13"
);
const APPEND: &str =
    "INSERT INTO circuit_breaker_audit (id, service, action, reason, \"user\", \"timestamp\", generation, instance)
    SELECT value ->> 'id', value ->> 'service', value ->> 'action', value ->> 'reason', value ->> 'user',
        strftime('%Y-%m-%dT%H:%M:%fZ', min(value ->> 'timestamp', ?2) / 1000.0, 'unixepoch'),
        CAST(value ->> 'generation' AS INTEGER), value ->> 'instance'
    FROM json_each(?1) WHERE true ORDER BY key ON CONFLICT (id) DO NOTHING";
// A text that is too long comes from another program, and must not fill the memory of this process.
const AUDIT: &str = concat!(
    "SELECT ",
    bounded_text!("id"),
    bounded_text!("service"),
    bounded_text!("action"),
    bounded_text!("reason"),
    bounded_text!("\"user\""),
    bounded_text!("instance"),
    "CAST(round(unixepoch(\"timestamp\", 'subsec') * 1000) AS INTEGER), CAST(generation AS INTEGER) FROM circuit_breaker_audit
    WHERE (?1 IS NULL OR service = ?1) AND (?2 IS NULL OR \"timestamp\" >= strftime('%Y-%m-%dT%H:%M:%fZ', ?2 / 1000.0, 'unixepoch'))
        AND (?4 IS NULL OR \"user\" = ?4)
    ORDER BY number DESC LIMIT ?3"
);
// The statement checks only the 5 000 oldest rows. Therefore other writers do not wait for long, even if the table has
// many rows.
const TRIM: &str = "DELETE FROM circuit_breaker_audit WHERE number IN (SELECT number FROM
        (SELECT number, \"timestamp\" FROM circuit_breaker_audit ORDER BY number LIMIT 5000)
    WHERE \"timestamp\" < strftime('%Y-%m-%dT%H:%M:%fZ', ?1 / 1000.0, 'unixepoch'))";
const TRIMMED_AT_ONCE: u64 = 5000;
