//! The one connection: opened by the first operation, kept while it works, opened anew by the next one if it did not.
//!
//! Not sqlx's pool: that one can be made in a runtime only, spawns a task for each return, and would let no more through with a
//! single connection.

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

/// Where operations queue for the connection.
pub(super) struct Lane {
    path: PathBuf,
    options: SqliteConnectOptions,
    mode: SchemaMode,
    connection: Mutex<Option<SqliteConnection>>,
}

impl Lane {
    pub(super) fn new(path: PathBuf, options: SqliteConnectOptions, mode: SchemaMode) -> Self {
        // Anchored, a relative path is never taken for `:memory:` or for a `file:` address.
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

    /// Waits for the connection, and opens it if there is none.
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

    /// Returns a connection that looks at nothing but whether others have written.
    pub(super) async fn aside(&self) -> Result<SqliteConnection, StoreError> {
        self.options.connect().await.map_err(|error| meaning(&error, &self.path))
    }

    async fn open(&self) -> Result<SqliteConnection, Failed> {
        let create = self.mode == SchemaMode::Create;
        if create {
            self.make_folder()?;
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
        // SQLite waits for no lock when a file is switched to write-ahead logging, and processes that start together meet here.
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

    fn make_folder(&self) -> Result<(), Failed> {
        let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            return Ok(());
        };
        std::fs::create_dir_all(folder).map_err(|error| {
            let problem = format!("the folder `{}` cannot be made: {error}", folder.display());
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

/// The connection, while nobody else has it.
///
/// Dropped in the middle of a statement it stays usable: SQLite's thread finishes the one before it takes the next.
pub(super) struct Entered<'a> {
    guard: MutexGuard<'a, Option<SqliteConnection>>,
    path: &'a Path,
}

impl Entered<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        self.guard.as_mut().expect("`check` takes it only with an error, on which every operation ends")
    }

    /// Gives the connection up if the statement failed for another reason than a lock: the next operation opens the file anew, and
    /// looks at its tables again.
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

/// Below the coordinator's deadline of 2 s, so that it is told why.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
const QUEUE_TIMEOUT: Duration = Duration::from_millis(1500);
