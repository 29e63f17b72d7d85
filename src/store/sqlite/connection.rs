//! The single connection to the file, with the queue of the operations that wait for it.
//!
//! The first operation opens the connection. After a failure other than a lock the connection is closed, and the next
//! operation opens the file again.
//!
//! sqlx's pool is not used. A pool can be created only inside a runtime, spawns a task for each returned connection,
//! and with a single connection would still run only one operation at a time.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, query, raw_sql};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};

use super::error::{is_busy, meaning};
use crate::store::StoreError;
use crate::store::schema::{SQLITE, SchemaMode, TABLES};

/// The connection, behind the queue of operations.
pub(super) struct Lane {
    path: PathBuf,
    options: SqliteConnectOptions,
    mode: SchemaMode,
    connection: Mutex<Option<SqliteConnection>>,
}

impl Lane {
    pub(super) fn new(path: PathBuf, options: SqliteConnectOptions, mode: SchemaMode) -> Self {
        // With `./` in front, a relative path is never interpreted as `:memory:` or as an address with `file:`.
        let anchored = if path.is_relative() { Path::new(".").join(&path) } else { path.clone() };
        let options = options
            .filename(anchored)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        Self { path, options, mode, connection: Mutex::new(None) }
    }

    pub(super) fn with_mode(&self, mode: SchemaMode) -> Self {
        Self::new(self.path.clone(), self.options.clone(), mode)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the connection, and opens the file if it is not open. The queue also covers the opening, because
    /// several openings at the same time would compete for SQLite's locks.
    pub(super) async fn enter(&self) -> Result<Entered<'_>, StoreError> {
        let waited = timeout(QUEUE_TIMEOUT, self.connection.lock()).await;
        let mut guard = waited.map_err(|_| {
            StoreError::unavailable(format!("`{}` is busy with operations before this one", self.path.display()))
        })?;
        if guard.is_none() {
            *guard = Some(self.open().await.map_err(|error| error.meaning(&self.path))?);
        }
        Ok(Entered { guard, path: &self.path })
    }

    /// Opens another connection, for the watch. A connection does not notice its own writes, so the watch needs a
    /// connection that writes nothing.
    pub(super) async fn aside(&self) -> Result<SqliteConnection, StoreError> {
        self.options.connect().await.map_err(|error| meaning(&error, &self.path))
    }

    async fn open(&self) -> Result<SqliteConnection, Failed> {
        let create = self.mode == SchemaMode::Create;
        if create {
            self.create_folder()?;
        }
        let mut connection = self.options.clone().create_if_missing(create).connect().await?;
        if self.mode != SchemaMode::Assume {
            match self.verify(&mut connection).await {
                Err(Failed::Schema(_)) if create => self.create(&mut connection).await?,
                verified => verified?,
            }
        }
        Ok(connection)
    }

    async fn create(&self, connection: &mut SqliteConnection) -> Result<(), Failed> {
        let mut tries = 0;
        // `busy_timeout` does not apply when a file is switched to write-ahead logging, and several processes that
        // start together may switch the file at the same time. Therefore the loop repeats the switch.
        while let Err(error) = raw_sql("PRAGMA journal_mode = WAL").execute(&mut *connection).await {
            if !is_busy(&error) || tries == 20 {
                return Err(error.into());
            }
            tries += 1;
            sleep(BUSY_TIMEOUT / 20).await;
        }
        raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        raw_sql(SQLITE).execute(&mut *connection).await?;
        raw_sql("COMMIT").execute(&mut *connection).await?;
        self.verify(connection).await
    }

    async fn verify(&self, connection: &mut SqliteConnection) -> Result<(), Failed> {
        for table in &TABLES {
            let rows =
                query("SELECT name FROM pragma_table_info(?1)").bind(table.name).fetch_all(&mut *connection).await?;
            let columns = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
            table.verify(&columns, &format!("`{}`", self.path.display())).map_err(Failed::Schema)?;
        }
        Ok(())
    }

    fn create_folder(&self) -> Result<(), Failed> {
        let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            return Ok(());
        };
        std::fs::create_dir_all(folder).map_err(|error| {
            let problem = format!("the folder `{}` cannot be created: {error}", folder.display());
            let lasts = matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::AlreadyExists
            );
            Failed::Schema(if lasts { StoreError::refused(problem) } else { StoreError::unavailable(problem) })
        })
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("path", &self.path).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Exclusive access to the connection.
///
/// If an operation is dropped in the middle of a statement, the connection stays usable, because SQLite's thread
/// finishes that statement before it begins another statement.
pub(super) struct Entered<'a> {
    guard: MutexGuard<'a, Option<SqliteConnection>>,
    path: &'a Path,
}

impl Entered<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        self.guard.as_mut().expect("`check` closes the connection only with an error, which ends the operation")
    }

    /// Returns the result of a statement. After any error except a lock the connection is closed, so that the next
    /// operation opens the file again and checks its tables again.
    pub(super) fn check<T>(&mut self, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        done.map_err(|error| {
            if !is_busy(&error) {
                *self.guard = None;
            }
            meaning(&error, self.path)
        })
    }
}

enum Failed {
    Sqlite(sqlx::Error),
    Schema(StoreError),
}

impl Failed {
    fn meaning(self, path: &Path) -> StoreError {
        match self {
            Self::Sqlite(error) => meaning(&error, path),
            Self::Schema(error) => error,
        }
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// `BUSY_TIMEOUT` and `QUEUE_TIMEOUT` are shorter than the coordinator's deadline of 2 s, so that an operation ends
/// with an error that names the reason.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
const QUEUE_TIMEOUT: Duration = Duration::from_millis(1500);
