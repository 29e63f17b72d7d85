//! The two connections to the server, and the transactions on them.
//!
//! sqlx's pool is not used, for four reasons that were measured or found in its source. While a server is down, a pool
//! retries until its timeout and then reports only the timeout. A pool tests a returned connection without a timeout,
//! and in a silent network this test blocks a slot of the pool for ever. A pool can be created only inside a runtime. A
//! query whose future was dropped runs on in the pool, and the next user of the connection waits for that query. This
//! module uses a connection again only after a commit, and closes the connection in every other case.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, raw_sql};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::meaning;
use super::server::Server;
use crate::store::{StoreError, time_limit};
use crate::sync::Mutex;

pub(super) struct Lanes {
    server: Server,
    permits: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
}

impl Lanes {
    pub(super) fn new(server: Server) -> Self {
        Self { server, permits: Semaphore::new(2), idle: Mutex::default() }
    }

    /// Begins a transaction on an idle connection that is alive, or on a new connection if no idle connection is alive.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let limit = time_limit::for_connection();
        let silent = || format!("the database accepted no connection {}", time_limit::described(limit));
        timeout(limit, self.leased()).await.unwrap_or_else(|_| Err(StoreError::unavailable(silent())))
    }

    async fn leased(&self) -> Result<Lease<'_>, StoreError> {
        let mut begin = begin(time_limit::limit());
        if let Some(set) = self.server.set_search_path() {
            begin = format!("{begin}; {set}");
        }
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        loop {
            let idle = self.idle.lock().pop();
            let Some(mut connection) = idle else { break };
            // A connection that died while it was idle fails or hangs at this statement. Nothing was changed, so the
            // next connection is tried. The limit is short, because the operation may need a new connection afterwards.
            let alive = raw_sql(AssertSqlSafe(begin.clone())).execute(&mut connection);
            if let Ok(Ok(_)) = timeout(time_limit::limit() / 4, alive).await {
                return Ok(Lease { connection, lanes: self, _permit: permit });
            }
        }
        let connected = async {
            let mut connection = self.server.options.connect().await.map_err(|error| self.server.failed(&error))?;
            raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await.map_err(|error| meaning(&error))?;
            Ok::<_, StoreError>(connection)
        };
        // The future that opens a new connection is boxed. Otherwise this future, which is rarely needed, would enlarge
        // the future of every operation.
        let connection = Box::pin(connected).await?;
        Ok(Lease { connection, lanes: self, _permit: permit })
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("idle", &self.idle.lock().len()).finish_non_exhaustive()
    }
}

/// A transaction on one of the connections. If the transaction is dropped before the commit, the connection is closed
/// and the server rolls the transaction back.
pub(super) struct Lease<'a> {
    connection: PgConnection,
    lanes: &'a Lanes,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Commits, and makes the connection idle again.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        if let Err(error) = raw_sql("COMMIT").execute(&mut self.connection).await {
            if let sqlx::Error::Io(error) = error {
                // The connection broke during the commit, so the client cannot know the result.
                let problem = format!("the connection broke at the commit, which was made or not: {error}");
                return Err(StoreError::timed_out(problem));
            }
            return Err(meaning(&error));
        }
        self.lanes.idle.lock().push(self.connection);
        Ok(())
    }
}

/// Returns the statement that begins a transaction and sets its time limits. `limit` is the time limit of the
/// operation.
///
/// The time limits apply to this transaction only, because a pooler may lend the connection to another client
/// afterwards. `statement_timeout` ends a statement that waits for another writer. This timeout is three quarters of
/// `limit`, so that the error arrives within the limit. `idle_in_transaction_session_timeout` ends the transaction of a
/// silent client. The row locks of the transaction would otherwise remain until the network notices that the client is
/// gone.
fn begin(limit: Duration) -> String {
    let [statement, idle] = [limit / 4 * 3, limit.max(Duration::from_secs(5))].map(|limit| {
        // A limit of 0 would mean no limit.
        i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1)
    });
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {statement}; \
         SET LOCAL idle_in_transaction_session_timeout = {idle}"
    )
}
