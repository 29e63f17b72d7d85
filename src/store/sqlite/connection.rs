//! The single connection to the file, which the thread of the store uses for one operation at a time.
//!
//! The first operation opens the connection. After any failure except a locked file, the connection is closed, and the
//! next operation opens the file again. The connection is also closed if the path no longer leads to the open file,
//! because the file was replaced or deleted.
//!
//! The store does not use sqlx's pool. A pool needs a runtime at its creation, and spawns a task for each returned
//! connection. A pool with a single connection would bring no gain, because it would run one operation at a time too.
//! sqlx runs the statements of each connection on a separate thread, and the thread of the store waits for the answers.
//! Therefore a file that hangs blocks at most three threads: the thread of the store, sqlx's thread for this
//! connection, and sqlx's thread for the connection of the watch. No thread of a runtime waits for the disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, query, raw_sql};

use super::error::{is_busy, meaning};
use super::files::Files;
use crate::clock::{Clock, MonotonicClock};
use crate::store::StoreError;
use crate::store::disk::{self, DiskThread};
use crate::store::schema::{SQLITE, SchemaMode, TABLES};
use crate::store::time_limit::limit;
use crate::sync::Mutex;
use crate::telemetry::lines::{Lines, Omitted, warn};

/// The connection to the database file, and the thread that uses the connection.
pub(super) struct Lane {
    path: PathBuf,
    options: SqliteConnectOptions,
    mode: SchemaMode,
    disk: DiskThread,
    opened: Mutex<Option<Opened>>,
    warned: Mutex<bool>,
    /// Limits the log lines about a replaced file, because a script could replace the file again and again.
    replaced: Mutex<Lines>,
    clock: MonotonicClock,
}

impl Lane {
    pub(super) fn new(path: PathBuf, options: SqliteConnectOptions, mode: SchemaMode) -> Self {
        // With `./` in front, a relative path is never interpreted as `:memory:` or as an address with `file:`.
        let anchored = if path.is_relative() { Path::new(".").join(&path) } else { path.clone() };
        let options = options
            .filename(anchored)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let disk = DiskThread::new("breaker-sqlite", &path);
        Self {
            path,
            options,
            mode,
            disk,
            opened: Mutex::default(),
            warned: Mutex::default(),
            replaced: Mutex::default(),
            clock: MonotonicClock::new(),
        }
    }

    pub(super) fn with_mode(&self, mode: SchemaMode) -> Self {
        Self::new(self.path.clone(), self.options.clone(), mode)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` with the connection, after all earlier operations have ended. Opens the file first if necessary.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl AsyncFnOnce(&mut Entered<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let lane = Arc::clone(self);
        // A statement waits for a lock of another process for at most half of the operation's time limit. Therefore the
        // operation can still end in time, with an error that names the lock.
        let busy = limit() / 2;
        let work = move || {
            let mut opened = lane.opened.lock();
            if opened.take_if(|opened| !opened.is_current(&lane.path)).is_some()
                && let Some(more) = lane.replaced.lock().next(lane.clock.now()).map(Omitted)
            {
                let path = lane.path.display();
                warn(format_args!("`{path}` was replaced or deleted, and is opened again{more}"));
            }
            if opened.is_none() {
                *opened = Some(lane.open()?);
            }
            if let Some(opened) = &mut *opened {
                opened.set_busy_timeout(busy).map_err(|error| meaning(&error, &lane.path))?;
            }
            block_on(work(&mut Entered { opened: &mut opened, path: &lane.path }))
        };
        self.disk.run(work).await
    }

    /// Runs `work` on the thread of the store. `work` does not get the connection that all operations share.
    pub(super) async fn run_aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.disk.run(work).await
    }

    /// Opens a second connection, for the watch. A connection does not notice its own writes, so the watch needs a
    /// connection that writes nothing. Call this function only on the thread of the store.
    pub(super) fn aside(&self) -> Result<Opened, StoreError> {
        self.connect().map_err(|error| error.meaning(&self.path))
    }

    /// Opens the file, and creates or checks its tables. If every user may write to the file or its folder, logs a
    /// warning once for the store.
    fn open(&self) -> Result<Opened, StoreError> {
        let create = self.mode == SchemaMode::Create;
        let opened = self.prepare(create).and_then(|()| {
            let mut opened = self.connect()?;
            block_on(self.ensure(&mut opened.connection, create))?;
            // SQLite may have created the write-ahead log during the check of the tables. Therefore the identities
            // (device and inode numbers) of the files are read again, so that a later replacement of the log is
            // noticed.
            opened.files = Files::at(&self.path).map_err(|error| self.unusable(&error))?;
            Ok(opened)
        });
        let opened = opened.map_err(|error| error.meaning(&self.path))?;
        for path in [disk::folder_of(&self.path), &self.path] {
            if disk::is_writable_by_all(path) && !std::mem::replace(&mut *self.warned.lock(), true) {
                let path = path.display();
                warn(format_args!("every user may write to `{path}`, and with that open and close circuits"));
            }
        }
        Ok(opened)
    }

    fn connect(&self) -> Result<Opened, Failed> {
        let files = Files::at(&self.path).map_err(|error| self.unusable(&error))?;
        let mut connection = block_on(self.options.connect())?;
        let should_end = self.disk.should_end(LONGEST_STATEMENT);
        block_on(async {
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(STEPS, move || !should_end());
            Ok::<_, sqlx::Error>(())
        })?;
        let now = Files::at(&self.path).map_err(|error| self.unusable(&error))?;
        if !now.has_database_of(&files) {
            let path = self.path.display();
            return Err(Failed::Store(StoreError::unavailable(format!("`{path}` was replaced while it was opened"))));
        }
        Ok(Opened { connection, files: now, busy: BUSY_TIMEOUT })
    }

    /// Creates the folder and an empty file, if `create` is true and the file is missing. SQLite copies the mode and
    /// the owner of this file to its other files, such as the write-ahead log (`-wal`) and the index of that log
    /// (`-shm`).
    fn prepare(&self, create: bool) -> Result<(), Failed> {
        if create {
            super::files::create(&self.path).map_err(|error| self.unusable(&error))?;
        }
        Ok(())
    }

    async fn ensure(&self, connection: &mut SqliteConnection, create: bool) -> Result<(), Failed> {
        if self.mode == SchemaMode::Assume {
            return Ok(());
        }
        match self.verify(connection).await {
            Err(Failed::Store(_)) if create => self.create(connection).await,
            verified => verified,
        }
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
            thread::sleep(BUSY_TIMEOUT / 20);
        }
        raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        raw_sql(SQLITE).execute(&mut *connection).await?;
        raw_sql("COMMIT").execute(&mut *connection).await?;
        self.verify(connection).await
    }

    async fn verify(&self, connection: &mut SqliteConnection) -> Result<(), Failed> {
        let place = format!("`{}`", self.path.display());
        for table in &TABLES {
            let kind = query("SELECT type FROM pragma_table_list(?1) WHERE schema = 'main'");
            let kind = kind.bind(table.name).fetch_optional(&mut *connection).await?;
            let kind: Option<String> = kind.map(|row| row.try_get(0)).transpose()?;
            // A view in place of a table is refused, because a query of a view may never end.
            if let Some(kind) = kind.filter(|kind| kind != "table") {
                let problem = format!("`{}` in {place} is a {kind} and not a table", table.name);
                return Err(Failed::Store(StoreError::refused(problem)));
            }
            let rows =
                query("SELECT name FROM pragma_table_info(?1)").bind(table.name).fetch_all(&mut *connection).await?;
            let columns = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
            table.verify(&columns, &place).map_err(Failed::Store)?;
        }
        Ok(())
    }

    fn unusable(&self, error: &std::io::Error) -> Failed {
        Failed::Store(super::error::of_disk(error, &self.path))
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("path", &self.path).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// An open connection, and the identities of its files.
pub(super) struct Opened {
    pub(super) connection: SqliteConnection,
    files: Files,
    /// The longest time that a statement waits for a lock of another process.
    busy: Duration,
}

impl Opened {
    /// Sets the longest time that a statement waits for a lock of another process.
    fn set_busy_timeout(&mut self, busy: Duration) -> Result<(), sqlx::Error> {
        if self.busy != busy {
            let millis = i32::try_from(busy.as_millis()).unwrap_or(i32::MAX);
            let set = AssertSqlSafe(format!("PRAGMA busy_timeout = {millis}"));
            block_on(raw_sql(set).execute(&mut self.connection))?;
            self.busy = busy;
        }
        Ok(())
    }

    /// Returns true if the path still leads to the open files.
    ///
    /// If the database was replaced or deleted, this function also renames the log and the index of the old database.
    /// Otherwise SQLite would apply them to the new database.
    pub(super) fn is_current(&mut self, path: &Path) -> bool {
        match Files::at(path) {
            Ok(now) if now.is_of_another(&self.files) => {
                self.files.set_aside(path, &now);
                false
            }
            Ok(now) => {
                self.files = now;
                true
            }
            // The path now leads to a link or a pipe, which cannot be the open file, or the path cannot be examined.
            Err(_) => false,
        }
    }
}

/// Exclusive access to the connection during one operation.
pub(super) struct Entered<'a> {
    opened: &'a mut Option<Opened>,
    path: &'a Path,
}

impl Entered<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        let opened = self.opened.as_mut();
        &mut opened.expect("`check` closes the connection only with an error, which ends the operation").connection
    }

    /// Returns the result of a statement as a result of the store. After any error except a locked file, this function
    /// closes the connection. The next operation then opens the file and checks the tables again.
    pub(super) fn check<T>(&mut self, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        done.map_err(|error| {
            if !is_busy(&error) {
                *self.opened = None;
            }
            meaning(&error, self.path)
        })
    }

    /// Returns a decoded value, or an error if the value cannot be decoded. The connection stays open in either case.
    pub(super) fn decoded<T>(&self, value: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        value.map_err(|error| meaning(&error, self.path))
    }
}

enum Failed {
    Sqlite(sqlx::Error),
    Store(StoreError),
}

impl Failed {
    fn meaning(self, path: &Path) -> StoreError {
        match self {
            Self::Sqlite(error) => meaning(&error, path),
            Self::Store(error) => error,
        }
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Blocks this thread until a future of sqlx completes, and returns the output. No runtime is needed, because the
/// connection's own thread wakes the future.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        thread::park();
    }
}

/// The longest time that a statement waits for a lock of another process while the file is being opened.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// The time after which a statement is interrupted, even if the caller sets no deadline.
const LONGEST_STATEMENT: Duration = Duration::from_secs(60);
/// SQLite's virtual machine runs this number of instructions, and then checks again if the statement must end. These
/// instructions take less than a millisecond.
const STEPS: i32 = 10_000;
