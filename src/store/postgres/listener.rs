//! What `LISTEN` hears, for as long as somebody watches.
//!
//! sqlx's listener reconnects by itself after some errors and not after others, and nothing in it notices a network that fell
//! silent. So here it never reconnects: whatever ends it, it is built anew, after a pause that grows, and a gap is told once it
//! listens again. When nothing was heard for 15 s it is asked whether it still listens.
//!
//! Through a pooler nothing may listen. In PgBouncer's transaction mode a `LISTEN` succeeds and stays behind on a server connection
//! that others are lent next: what it hears breaks their statements. So each listener's connection is given a random mark at its
//! start, which PostgreSQL shows and a pooler refuses, drops or has another of; without the mark it does not listen.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Row, raw_sql};
use tokio::time::{sleep, timeout};

use super::error::{is_unknown_parameter, meaning};
use crate::random;
use crate::store::watch::pause;
use crate::store::{StoreError, Watch, WatchSender};

/// Begins to listen: what is committed after it has returned is told. `None` if there is a pooler between.
pub(super) async fn watch(options: &PgConnectOptions) -> Result<Option<Watch>, StoreError> {
    let Some(listener) = listen(options).await? else { return Ok(None) };
    let (sender, watch) = Watch::channel();
    sender.gap();
    let options = options.clone();
    #[expect(clippy::disallowed_methods, reason = "ends when the watch is dropped")]
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = keep_listening(&options, listener, &sender) => {}
        }
    });
    Ok(Some(watch))
}

/// Ends only if a pooler has come between.
async fn keep_listening(options: &PgConnectOptions, first: PgListener, sender: &WatchSender) {
    let (mut listener, mut failures) = (Some(first), 0);
    loop {
        if let Some(listener) = listener.take()
            && relay(listener, sender).await
        {
            failures = 0;
        }
        sleep(pause(failures, LONGEST_PAUSE)).await;
        failures += 1;
        match listen(options).await {
            Ok(Some(anew)) => {
                sender.gap();
                listener = Some(anew);
            }
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

/// Tells what is heard until nothing is any more. Returns whether anything was, be it only that it still listens.
async fn relay(mut listener: PgListener, sender: &WatchSender) -> bool {
    let mut heard = false;
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => sender.changed(notification.payload(), None),
            Ok(Ok(None) | Err(_)) => return heard,
            Err(_) if is_listening(&mut listener).await => {}
            Err(_) => return heard,
        }
        heard = true;
    }
}

/// Returns `None` if there is a pooler between.
async fn listen(options: &PgConnectOptions) -> Result<Option<PgListener>, StoreError> {
    let mark = format!("{:016x}", random::bits());
    let options = options.clone().options([(MARK, &mark)]);
    // What is wrong shows here at once, where sqlx's pool would only time out.
    match timeout(ANSWER, options.connect()).await.map_err(|_| silent())? {
        Ok(connection) => drop(connection),
        Err(error) if is_unknown_parameter(&error) => return Ok(None),
        Err(error) => return Err(meaning(&error)),
    }
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None).acquire_timeout(ANSWER);
    let pool = pool.connect_lazy_with(options);
    let listening = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        let shown =
            raw_sql("SELECT current_setting('circuit_breaker.listener', true)").fetch_one(&mut listener).await?;
        if shown.try_get::<Option<String>, _>(0)? != Some(mark) {
            return Ok(None);
        }
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(Some(listener))
    };
    let listening = timeout(ANSWER, listening).await.map_err(|_| silent())?;
    listening.map_err(|error: sqlx::Error| meaning(&error))
}

fn silent() -> StoreError {
    StoreError::timed_out(format!("the database did not listen within {} ms", ANSWER.as_millis()))
}

/// Asks on the connection itself.
async fn is_listening(listener: &mut PgListener) -> bool {
    let asked = raw_sql("SELECT 'circuit_breaker' IN (SELECT pg_listening_channels())").fetch_one(listener);
    matches!(timeout(ANSWER, asked).await, Ok(Ok(row)) if row.try_get(0).unwrap_or(false))
}

const CHANNEL: &str = "circuit_breaker";
/// A setting of our own, which PostgreSQL accepts because of its dot.
const MARK: &str = "circuit_breaker.listener";
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(15);
/// Below half of the coordinator's deadline: a connection and a listener fit into it.
const ANSWER: Duration = Duration::from_millis(900);
