//! Two connections, and a transaction on one of them.
//!
//! Not sqlx's pool, for four reasons that were measured or read there: while a server is down it retries until its timeout and then
//! says only that it timed out; it tests a returned connection without a timeout, so that a silent network takes the slot for
//! good; it can be made in a runtime only; and a query that was dropped runs on and is waited for. Here a connection goes back
//! after a commit only, and whatever else happens to it closes it.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, raw_sql};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::meaning;
use crate::store::StoreError;
use crate::sync::Mutex;

pub(super) struct Lanes {
    options: PgConnectOptions,
    permits: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
}

impl Lanes {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, permits: Semaphore::new(2), idle: Mutex::default() }
    }

    /// Begins a transaction, on a new connection if no idle one is alive.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let permit = self.permits.acquire().await.expect("it is never closed");
        loop {
            let idle = self.idle.lock().pop();
            let Some(mut connection) = idle else { break };
            // That it does not begin is how a connection shows that it died while nobody used it: nothing was changed by that.
            if let Ok(Ok(_)) = timeout(IDLE_TIMEOUT, raw_sql(BEGIN).execute(&mut connection)).await {
                return Ok(Lease { connection, lanes: self, _permit: permit });
            }
        }
        let connected = async {
            let mut connection = self.options.connect().await.map_err(|error| meaning(&error))?;
            raw_sql(BEGIN).execute(&mut connection).await.map_err(|error| meaning(&error))?;
            Ok(connection)
        };
        // Boxed: it is rare, and every operation's future would be as large.
        let connected = timeout(CONNECT_TIMEOUT, Box::pin(connected)).await;
        let connection = connected.unwrap_or_else(|_| Err(silent()))?;
        Ok(Lease { connection, lanes: self, _permit: permit })
    }
}

fn silent() -> StoreError {
    StoreError::unavailable(format!("the database let nobody in within {} ms", CONNECT_TIMEOUT.as_millis()))
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("idle", &self.idle.lock().len()).finish_non_exhaustive()
    }
}

/// A transaction. Dropped before the commit, its connection is closed and the server undoes it.
pub(super) struct Lease<'a> {
    connection: PgConnection,
    lanes: &'a Lanes,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Commits and gives the connection back.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        if let Err(error) = raw_sql("COMMIT").execute(&mut self.connection).await {
            if let sqlx::Error::Io(error) = error {
                // The one moment in which it is not known on which side of it the server was.
                let problem = format!("the connection broke at the commit, which was made or not: {error}");
                return Err(StoreError::timed_out(problem));
            }
            return Err(meaning(&error));
        }
        self.lanes.idle.lock().push(self.connection);
        Ok(())
    }
}

/// The limits hold for the transaction only, so that a pooler can lend the connection to another. The first is for a statement that
/// waits for another writer, the second for a client that fell silent, whose row locks would remain until the network notices.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 1500; \
    SET LOCAL idle_in_transaction_session_timeout = 5000";
/// A second round trip has to fit into the operation's deadline.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
