//! A store in PostgreSQL: durable, shared by all instances, with the server's clock.
//!
//! Every operation is a short transaction: `BEGIN` with its limits, one statement, `COMMIT`. The transaction keeps the parts of the
//! protocol on one server connection behind a pooler such as PgBouncer (statements are unnamed, and nothing is set for the
//! session), it bounds what the server does for a client that has gone away, and it makes certain that a write whose connection
//! broke before the commit was not made. Changes are told by `LISTEN`; behind a pooler that cannot be, and the poll remains.
//!
//! The tables are found by the connection's `search_path`; `?options[search_path]=ops` in the address names another schema.

mod connection;
mod error;
mod listener;
mod statements;
mod tables;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Row, query};
use tokio::time::timeout;

use super::schema::SchemaMode;
use super::sql::{Columns, bounded, new_etag, signed, text, without_nul};
use super::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Watch, Write, Written};
use crate::keep::STORE_TIMEOUT;
use crate::record::Timestamp;
use crate::sync::{AtomicBool, Relaxed};
use connection::{Lanes, Lease};
use statements::{APPEND, AUDIT, DELETE, INSERT, LIST, LOAD, TRIM, TRIMMED_AT_ONCE, UPDATE, audited, loaded, time};

/// Keeps records in PostgreSQL. Clones share two connections.
///
/// Nothing is connected before the first operation, so the application starts with the database down; that operation also makes the
/// tables, unless [`schema`](Self::schema) says otherwise. Whatever fails is tried again by the next operation: a server that
/// comes back, and a password that is corrected there, need no restart here. An operation takes at most 1.8 s.
///
/// Its operations need tokio's time and I/O drivers.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Session>,
    mode: SchemaMode,
}

struct Session {
    options: PgConnectOptions,
    lanes: Lanes,
    /// Whether the tables were seen. Cleared when one turns out to be missing.
    ready: AtomicBool,
}

impl PostgresStore {
    /// Returns the store with that address: `postgres://user:password@host:5432/database`. What it does not say is taken from the
    /// `PG…` variables of the environment and from `.pgpass`.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if it is not such an address, or asks for TLS without the feature `tls-rustls`.
    /// The error does not contain the password.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(StoreError::refused("the address of the database does not begin with `postgres://`"));
        }
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| StoreError::refused(format!("the address of the database cannot be used: {error}")))?;
        Self::from_options(options)
    }

    /// Returns the store that connects as those options say, such as those of a pool:
    /// `pool.connect_options().as_ref().clone()`.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if they ask for TLS without the feature `tls-rustls`.
    pub fn from_options(options: PgConnectOptions) -> Result<Self, StoreError> {
        let mode = options.get_ssl_mode();
        if !cfg!(feature = "tls-rustls")
            && matches!(mode, PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull)
        {
            return Err(StoreError::refused(format!(
                "the address of the database asks for TLS (sslmode {mode:?}), which needs the feature `tls-rustls`"
            )));
        }
        // Poolers refuse parameters that they do not know, and numbers are read in binary.
        let options = options.extra_float_digits(None).statement_cache_capacity(0).disable_statement_logging();
        let shared = Session { lanes: Lanes::new(options.clone()), options, ready: AtomicBool::new(false) };
        Ok(Self { shared: Arc::new(shared), mode: SchemaMode::Create })
    }

    /// Sets who makes the tables. Default: [`SchemaMode::Create`].
    #[must_use]
    pub const fn schema(mut self, mode: SchemaMode) -> Self {
        self.mode = mode;
        self
    }

    /// Makes or verifies the tables now, as [`schema`](Self::schema) says. The first operation does it anyhow.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if something is missing or may not be made, else as every operation.
    ///
    /// # Cancel safety
    ///
    /// Dropped, all tables are made or none; it can be called again.
    pub async fn ensure_schema(&self) -> Result<(), StoreError> {
        within(self.see_tables()).await
    }

    async fn see_tables(&self) -> Result<(), StoreError> {
        if self.mode != SchemaMode::Assume {
            let mut lease = self.shared.lanes.lease().await?;
            tables::ensure(&mut lease, self.mode).await?;
            lease.commit().await?;
        }
        // Relaxed: a hint. Who reads it too early looks at the tables once more.
        self.shared.ready.store(true, Relaxed);
        Ok(())
    }

    /// Begins a transaction, after the tables were seen once.
    async fn begin(&self) -> Result<Lease<'_>, StoreError> {
        // Relaxed: as above.
        if !self.shared.ready.load(Relaxed) {
            // Boxed: it is rare, and every operation's future would be as large.
            Box::pin(self.see_tables()).await?;
        }
        self.shared.lanes.lease().await
    }

    fn failed(&self, error: &sqlx::Error) -> StoreError {
        if error::is_missing_table(error) {
            self.shared.ready.store(false, Relaxed);
        }
        error::meaning(error)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the options: they contain the password.
        f.debug_struct("PostgresStore")
            .field("host", &self.shared.options.get_host())
            .field("port", &self.shared.options.get_port())
            .field("database", &self.shared.options.get_database())
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Every operation may be dropped: its connection is closed, and its transaction ends without a commit unless that was on its way.
impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        within(async {
            let mut lease = self.begin().await?;
            let rows = query(LOAD).persistent(false).bind(names).fetch_all(lease.connection()).await;
            let rows = rows.map_err(|error| self.failed(&error))?;
            lease.commit().await?;
            loaded(names, &rows).map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        let record = text(write)?;
        let columns = Columns::of(write);
        let etag = new_etag();
        within(async {
            let mut lease = self.begin().await?;
            let statement = query(if write.expected.is_some() { UPDATE } else { INSERT }).persistent(false);
            let statement = statement
                .bind(&write.name)
                .bind(columns.state)
                .bind(columns.failures)
                .bind(columns.successes)
                .bind(columns.last_failure_at)
                .bind(columns.last_state_change)
                .bind(columns.total_failures)
                .bind(columns.total_successes)
                .bind(columns.generation)
                .bind(etag.as_str())
                .bind(record)
                .bind(write.expected.as_ref().map(Etag::as_str));
            let row = statement.fetch_one(lease.connection()).await.map_err(|error| self.failed(&error))?;
            if row.try_get::<i64, _>(0).map_err(|error| self.failed(&error))? == 1 {
                let now = time(&row, 1).map_err(|error| self.failed(&error))?;
                lease.commit().await?;
                return Ok(Written::Applied { etag, now });
            }
            // A statement of its own: the one above saw the table as it was before it waited for another writer.
            let names = std::slice::from_ref(&write.name);
            let rows = query(LOAD).persistent(false).bind(names).fetch_all(lease.connection()).await;
            let rows = rows.map_err(|error| self.failed(&error))?;
            lease.commit().await?;
            let Loaded { mut entries, now } = loaded(names, &rows).map_err(|error| self.failed(&error))?;
            Ok(Written::Conflict { current: entries.remove(0), now })
        })
        .await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        within(async {
            let mut lease = self.begin().await?;
            let row =
                query(DELETE).persistent(false).bind(name).bind(etag.as_str()).fetch_one(lease.connection()).await;
            let deleted = row.and_then(|row| row.try_get::<i64, _>(0)).map_err(|error| self.failed(&error))?;
            lease.commit().await?;
            Ok(deleted == 1)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        within(async {
            let mut lease = self.begin().await?;
            let rows = query(LIST).persistent(false).fetch_all(lease.connection()).await;
            let rows = rows.map_err(|error| self.failed(&error))?;
            lease.commit().await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(|error| self.failed(&error))
        })
        .await
    }

    /// Tells the name of what changed, after [`Gap`](super::WatchEvent::Gap) at the begin and at each reconnect. `None` through a
    /// pooler: nothing can listen there.
    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        listener::watch(&self.shared.options).await
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        fn column<'a, T>(rows: &'a [AuditRow], of: impl Fn(&'a AuditRow) -> T) -> Vec<T> {
            rows.iter().map(of).collect()
        }
        let rows = without_nul(rows);
        let statement = query(APPEND)
            .persistent(false)
            .bind(column(&rows, |row| row.id.as_str()))
            .bind(column(&rows, |row| row.service.as_str()))
            .bind(column(&rows, |row| row.action.as_str()))
            .bind(column(&rows, |row| row.reason.as_str()))
            .bind(column(&rows, |row| row.user.as_deref()))
            .bind(column(&rows, |row| bounded(row.timestamp)))
            .bind(column(&rows, |row| signed(row.generation)))
            .bind(column(&rows, |row| row.instance.as_str()));
        within(async {
            let mut lease = self.begin().await?;
            statement.execute(lease.connection()).await.map_err(|error| self.failed(&error))?;
            lease.commit().await
        })
        .await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        let statement = query(TRIM).persistent(false).bind(bounded(before));
        within(async {
            let mut lease = self.begin().await?;
            let done = statement.execute(lease.connection()).await.map_err(|error| self.failed(&error))?;
            lease.commit().await?;
            Ok(done.rows_affected() == TRIMMED_AT_ONCE)
        })
        .await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let statement = query(AUDIT)
            .persistent(false)
            .bind(filter.service.as_deref())
            .bind(filter.since.map(bounded))
            .bind(signed(filter.limit.try_into().unwrap_or(u64::MAX)))
            .bind(filter.user.as_deref());
        within(async {
            let mut lease = self.begin().await?;
            let rows = statement.fetch_all(lease.connection()).await.map_err(|error| self.failed(&error))?;
            lease.commit().await?;
            rows.iter().rev().map(audited).collect::<Result<_, _>>().map_err(|error| self.failed(&error))
        })
        .await
    }
}

/// Bounds an operation, however silent the network is.
async fn within<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(DEADLINE, operation).await.unwrap_or_else(|_| {
        Err(StoreError::timed_out(format!("the database did not answer within {} ms", DEADLINE.as_millis())))
    })
}

const DEADLINE: Duration = Duration::from_millis(1800);
// The coordinator must get the error of this deadline before its own limit, because only this error names the database.
const _: () = assert!(DEADLINE.as_millis() < STORE_TIMEOUT.as_millis());

#[cfg(all(test, not(feature = "tls-rustls")))]
mod tests {
    use super::PostgresStore;

    #[test]
    fn an_address_that_asks_for_tls_is_refused_without_the_feature() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let refused =
                PostgresStore::new(&format!("postgres://u:secret@h/d?sslmode={mode}")).unwrap_err().to_string();
            assert!(refused.contains("needs the feature `tls-rustls`") && !refused.contains("secret"), "{refused}");
        }
    }
}
