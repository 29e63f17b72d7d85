//! The watch of the table of records, which is a connection with `LISTEN`.
//!
//! Every role of the database may notify every channel. Therefore a notification only makes the coordinator load a
//! record. A notification that does not have the form of this crate is ignored. The name of the channel contains the
//! OID of the table. Therefore a store does not receive the notifications for another schema of the same database.
//!
//! sqlx's listener reconnects after some errors and not after others, and does not notice a network that has become
//! silent. Therefore this module never lets a listener reconnect. After any failure a new listener replaces the old
//! listener, after a pause that grows with each failure. The watch is interrupted until then, so that the coordinator
//! polls. The new listener begins with a gap. After 15 s without a notification a query checks that the connection
//! still listens.
//!
//! Behind a pooler there is no watch. In PgBouncer's transaction mode a `LISTEN` succeeds, but stays on a connection of
//! the server that the pooler lends to other clients. The notifications would break the statements of those clients.
//! Therefore a listener sends a parameter with a random value at the start of its connection, and then reads the
//! parameter back. PostgreSQL returns the value. A pooler refuses the parameter, drops it, or returns the value of
//! another client. `LISTEN` is sent only if the server returns the value of this connection.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Row, raw_sql};
use tokio::time::{sleep, timeout};

use super::error::{is_unknown_parameter, meaning};
use super::server::Server;
use super::statements::{CHANNEL, IS_LISTENING, version_of};
use crate::random;
use crate::store::watch::pause;
use crate::store::{StoreError, Watch, WatchSender, time_limit};

/// Begins to listen, and returns the watch. Every commit after the return of this function is reported. Returns `None`
/// behind a pooler.
pub(super) async fn watch(server: &Server) -> Result<Option<Watch>, StoreError> {
    // The first connection and the listener each get less than half of the caller's limit. Therefore both fit into the
    // limit.
    let limit = time_limit::limit() / 20 * 9;
    let Some(listener) = listen(server, limit).await? else { return Ok(None) };
    let (sender, watch) = Watch::channel();
    sender.gap();
    let server = server.clone();
    #[expect(clippy::disallowed_methods, reason = "the task ends with its watch")]
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = keep_listening(&server, limit, listener, &sender) => {}
        }
    });
    Ok(Some(watch))
}

/// Replaces the listener after each failure. Ends only if a pooler has been put in front of the server.
async fn keep_listening(server: &Server, limit: Duration, first: PgListener, sender: &WatchSender) {
    let (mut listener, mut failures) = (Some(first), 0);
    loop {
        if let Some(listener) = listener.take()
            && relay(listener, limit, sender).await
        {
            failures = 0;
        }
        sender.interrupt();
        sleep(pause(failures, LONGEST_PAUSE)).await;
        failures += 1;
        match listen(server, limit).await {
            Ok(Some(replacement)) => {
                sender.gap();
                listener = Some(replacement);
            }
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

/// Reports notifications until the connection fails. Returns true if a notification or a successful check has proved
/// that the connection was alive. In this case the next pause of the caller is the shortest one again.
async fn relay(mut listener: PgListener, limit: Duration, sender: &WatchSender) -> bool {
    let mut alive = false;
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                if let Some((version, name)) = notification.payload().split_once(' ') {
                    let (etag, hint) = version_of(version);
                    sender.changed_with(name, etag, hint);
                }
            }
            Ok(Ok(None) | Err(_)) => return alive,
            Err(_) if is_listening(&mut listener, limit).await => {}
            Err(_) => return alive,
        }
        alive = true;
    }
}

/// Opens a connection that listens for changes of the table of records. Returns `None` behind a pooler.
async fn listen(server: &Server, limit: Duration) -> Result<Option<PgListener>, StoreError> {
    let mark = format!("{:016x}", random::bits());
    let search_path = server.search_path.as_deref().map(|path| ("search_path", path));
    let options = server.options.clone().options([(MARK, &*mark)].into_iter().chain(search_path));
    // A plain connection is tried first, because it returns the error of the server at once. sqlx's listener needs a
    // pool, and the pool would only report a timeout.
    match timeout(limit, options.connect()).await.map_err(|_| silent(limit))? {
        Ok(connection) => drop(connection),
        Err(error) if is_unknown_parameter(&error) => return Ok(None),
        Err(error) => return Err(server.failed(&error)),
    }
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None).acquire_timeout(limit);
    let pool = pool.connect_lazy_with(options);
    let failed = |error: sqlx::Error| meaning(&error);
    let listening = async {
        let mut listener = PgListener::connect_with(&pool).await.map_err(failed)?;
        let shown = raw_sql(CHANNEL).fetch_one(&mut listener).await.map_err(failed)?;
        if shown.try_get::<Option<String>, _>(0).map_err(failed)? != Some(mark) {
            return Ok(None);
        }
        let Some(channel) = shown.try_get::<Option<String>, _>(1).map_err(failed)? else {
            return Err(StoreError::refused("the database has no table `circuit_breaker_states`"));
        };
        listener.eager_reconnect(false);
        listener.listen(&channel).await.map_err(failed)?;
        Ok(Some(listener))
    };
    timeout(limit, listening).await.map_err(|_| silent(limit))?
}

fn silent(limit: Duration) -> StoreError {
    StoreError::timed_out(format!("the database did not listen {}", time_limit::described(limit)))
}

/// Returns true if the server still counts this connection as a listener of the table. The query must use the
/// connection itself, because PostgreSQL shows each connection only the channels of that connection.
async fn is_listening(listener: &mut PgListener, limit: Duration) -> bool {
    let query = raw_sql(IS_LISTENING).fetch_one(listener);
    matches!(timeout(limit, query).await, Ok(Ok(row)) if row.try_get(0).unwrap_or(false))
}

/// The name of the parameter by which a listener detects a pooler. PostgreSQL accepts unknown parameters if their names
/// have a dot.
const MARK: &str = "circuit_breaker.listener";
/// The longest pause before another attempt to listen. A new listener ends the backoff of the registry (the pause after
/// a failure). Therefore an operator's act reaches this instance within two seconds after the server answers again.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);
const SILENCE: Duration = Duration::from_secs(15);
