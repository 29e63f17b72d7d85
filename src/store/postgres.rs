//! A store in PostgreSQL, which is durable, shared by all instances, and uses the clock of the server.
//!
//! Every operation is a short transaction of `BEGIN` with its time limits, one or two statements, and `COMMIT`. The
//! transaction has three benefits. All steps of an operation run on one connection of the server, also behind a pooler
//! such as PgBouncer. The server stops the work for a client that has gone away. If the connection of a write breaks
//! before the commit, the write was certainly not made.
//!
//! A pooler may lend a connection to another client after each transaction. Therefore statements are unnamed, and no
//! setting outlives its transaction.
//!
//! `LISTEN` reports changes. `LISTEN` does not work behind a pooler, where only the coordinator's poll finds changes.
//!
//! The `search_path` of the transaction selects the schema of the tables. `?options[search_path]=ops` in the address
//! selects another schema than the default.

mod address;
mod connection;
mod error;
mod listener;
mod server;
mod statements;
mod tables;

use std::fmt;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Row, query};
use tokio::time::timeout;

use super::schema::SchemaMode;
use super::sql::{Columns, bounded, new_etag, signed, text, without_nul};
use super::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Watch, Write, Written, time_limit};
use crate::record::Timestamp;
use crate::sync::{AtomicBool, Relaxed};
use connection::{Lanes, Lease};
use server::Server;
use statements::{
    APPEND, AUDIT, DELETE, INSERT, LIST, LOAD, TRIM, TRIMMED_AT_ONCE, UNWRITTEN, UPDATE, audited, listed, loaded, time,
    version_with,
};

/// Keeps records in PostgreSQL. Clones share two connections.
///
/// The first operation connects, so an application can start while the database is down. That operation also creates
/// the tables, unless [`schema`](Self::schema) sets another mode. After a failure the next operation tries again.
/// Therefore neither a restarted server nor a corrected password needs a restart of the application. An operation takes
/// at most nine tenths of the [`store_timeout`](crate::coordinator::RegistryBuilder::store_timeout). Within that time,
/// a new connection takes at most eight tenths of the `store_timeout`.
///
/// The operations need tokio's time and I/O drivers.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Session>,
    mode: SchemaMode,
}

struct Session {
    server: Server,
    lanes: Lanes,
    /// True after the tables were checked. A statement that finds a table missing clears the flag.
    ready: AtomicBool,
}

impl PostgresStore {
    /// Creates the store of an address such as
    /// `postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/etc/ssl/ca.crt`. Parts that the
    /// address does not have are taken from the `PG…` variables of the environment and from `.pgpass`.
    ///
    /// With `options[search_path]=SCHEMA` the tables are in another schema, even behind a pooler, because the store
    /// sets the search path in each transaction.
    ///
    /// The parameters are `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `host`, `hostaddr`, `port`, `dbname`, `user`,
    /// `password`, `application_name` and `options`, as in libpq. With `sslmode=verify-full` the certificate of the
    /// server is verified with the public CAs and with the CAs in the file `sslrootcert`. The default is `prefer`,
    /// which verifies nothing. If a password would go to a host other than this machine, and the certificate of that
    /// host is not verified, a warning is logged.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if the text is no such address, if a parameter is unknown or has no
    /// effect, or if a file cannot be used. Also `Refused` if the address requires TLS without the feature
    /// `tls-rustls`. The error does not contain the password.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Server::from_url(url).map(Self::of)
    }

    /// Creates the store with these options, for example the options of a pool:
    /// `pool.connect_options().as_ref().clone()`.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if the options require TLS without the feature `tls-rustls`.
    pub fn from_options(options: PgConnectOptions) -> Result<Self, StoreError> {
        Server::from_options(options).map(Self::of)
    }

    fn of(server: Server) -> Self {
        let shared = Session { lanes: Lanes::new(server.clone()), server, ready: AtomicBool::new(false) };
        Self { shared: Arc::new(shared), mode: SchemaMode::Create }
    }

    /// Returns true if the store sends its password over a network to a host whose certificate is not verified.
    #[must_use]
    pub fn exposes_password(&self) -> bool {
        self.shared.server.exposes_password()
    }

    /// Sets the mode of the tables. Depending on the mode, the store creates the tables, only verifies the tables, or
    /// assumes that the tables exist. Default: [`SchemaMode::Create`].
    #[must_use]
    pub const fn schema(mut self, mode: SchemaMode) -> Self {
        self.mode = mode;
        self
    }

    /// Creates or verifies the tables now, as [`schema`](Self::schema) says. Otherwise the first operation does this.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if a table or column is missing, or if the user of the connection
    /// has no right to create a table. Otherwise an error that every operation can return.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, all tables are created or none. The call can be repeated.
    pub async fn ensure_schema(&self) -> Result<(), StoreError> {
        within(self.check_tables()).await
    }

    async fn check_tables(&self) -> Result<(), StoreError> {
        if self.mode != SchemaMode::Assume {
            let mut lease = self.shared.lanes.lease().await?;
            tables::ensure(&mut lease, self.mode).await?;
            lease.commit().await?;
        }
        // Relaxed, because the flag is a hint that publishes nothing. A thread that reads an old value only checks the
        // tables once more.
        self.shared.ready.store(true, Relaxed);
        Ok(())
    }

    /// Begins a transaction. Checks the tables before the first transaction.
    async fn begin(&self) -> Result<Lease<'_>, StoreError> {
        // Relaxed, because the flag is a hint, as in `check_tables`.
        if !self.shared.ready.load(Relaxed) {
            // The future is boxed, because the check is rare and would enlarge the future of every operation.
            Box::pin(self.check_tables()).await?;
        }
        self.shared.lanes.lease().await
    }

    fn failed(&self, error: &sqlx::Error) -> StoreError {
        if error::is_missing_table(error) {
            // Relaxed, because the flag is a hint. An operation that still reads the old value gets the same error and
            // clears the flag again.
            self.shared.ready.store(false, Relaxed);
        }
        error::meaning(error)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options are left out, because they contain the password.
        f.debug_struct("PostgresStore")
            .field("host", &self.shared.server.options.get_host())
            .field("port", &self.shared.server.options.get_port())
            .field("database", &self.shared.server.options.get_database())
            .field("search_path", &self.shared.server.search_path)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Each operation is one short transaction.
///
/// # Cancel safety
///
/// Every future may be dropped. In this case its connection is closed, and the transaction ends without a commit unless
/// the `COMMIT` was already sent.
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
                .bind(write.expected.as_ref().map(Etag::as_str))
                .bind(version_with(write.hint, &etag));
            let row = statement.fetch_one(lease.connection()).await.map_err(|error| self.failed(&error))?;
            if row.try_get::<i64, _>(0).map_err(|error| self.failed(&error))? == 1 {
                let now = time(&row, 1).map_err(|error| self.failed(&error))?;
                lease.commit().await?;
                return Ok(Written::Applied { etag, now });
            }
            // The first statement may have waited for another writer, and saw the table as the table was before that
            // wait. Therefore a second statement reads the present record.
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
            Ok(listed(&rows))
        })
        .await
    }

    async fn unwritten_since(&self, before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        within(async {
            let mut lease = self.begin().await?;
            let found = query(UNWRITTEN).persistent(false).bind(bounded(before)).bind(after);
            let rows = found.fetch_all(lease.connection()).await.map_err(|error| self.failed(&error))?;
            lease.commit().await?;
            Ok(listed(&rows))
        })
        .await
    }

    /// Reports the names of changed records. The first event is a [`Gap`](super::WatchEvent::Gap), and a gap also
    /// follows each reconnection. Returns `None` behind a pooler, because `LISTEN` does not work there.
    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        // The tables must exist before the watch begins, because the name of the channel contains the OID of the table
        // of records. Relaxed, because the flag is a hint, as in `check_tables`.
        if !self.shared.ready.load(Relaxed) {
            within(self.check_tables()).await?;
        }
        listener::watch(&self.shared.server).await
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

/// Runs an operation with a deadline, because the operation would wait for ever in a network that has become silent.
async fn within<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let limit = time_limit::for_operation();
    timeout(limit, operation).await.unwrap_or_else(|_| {
        Err(StoreError::timed_out(format!("the database did not answer {}", time_limit::described(limit))))
    })
}
