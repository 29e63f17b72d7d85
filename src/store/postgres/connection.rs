//! The two connections to the server, and the transactions on them.
//!
//! sqlx's pool is not used, for four reasons that were measured or found in its source. While a server is down, a pool
//! retries until its timeout and then reports only the timeout. A pool tests a returned connection without a timeout,
//! and a silent network occupies the slot for good. A pool can be created only inside a runtime. A query whose future
//! was dropped runs on in the pool, and the next user of the connection waits for that query. This module uses a
//! connection again only after a commit, and closes the connection in every other case.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, raw_sql};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::meaning;
use super::server::Server;
use crate::store::StoreError;
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

    /// Begins a transaction, on an idle connection if one is alive, else on a new connection.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        loop {
            let idle = self.idle.lock().pop();
            let Some(mut connection) = idle else { break };
            // A connection that died while it was idle fails or hangs at this statement. Nothing was changed, so the
            // next connection is tried.
            if let Ok(Ok(_)) = timeout(IDLE_TIMEOUT, raw_sql(BEGIN).execute(&mut connection)).await {
                return Ok(Lease { connection, lanes: self, _permit: permit });
            }
        }
        let connected = async {
            let mut connection = self.server.options.connect().await.map_err(|error| self.server.failed(&error))?;
            raw_sql(BEGIN).execute(&mut connection).await.map_err(|error| meaning(&error))?;
            Ok(connection)
        };
        // The future is boxed, because a new connection is rare and would enlarge the future of every operation.
        let connected = timeout(CONNECT_TIMEOUT, Box::pin(connected)).await;
        let connection = connected.unwrap_or_else(|_| Err(silent()))?;
        Ok(Lease { connection, lanes: self, _permit: permit })
    }
}

fn silent() -> StoreError {
    StoreError::unavailable(format!("the database accepted no connection within {} ms", CONNECT_TIMEOUT.as_millis()))
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("idle", &self.idle.lock().len()).finish_non_exhaustive()
    }
}

/// A transaction. If it is dropped before the commit, its connection is closed and the server rolls the transaction
/// back.
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

/// The limits apply to this transaction only, because a pooler may lend the connection to another client afterwards.
/// The first limit is for a statement that waits for another writer. The second limit is for a silent client, whose row
/// locks would remain until the network notices that the client is gone.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 1500; \
    SET LOCAL idle_in_transaction_session_timeout = 5000";
/// This limit is short, because after it the operation still needs a new connection within its deadline.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
