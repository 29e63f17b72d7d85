//! The watch of a database file, which polls a counter of SQLite five times a second.
//!
//! SQLite does not report changes, but counts them. The result of `PRAGMA data_version` on one connection differs after
//! every commit of another connection. The query costs 6 µs and reads no table. The counter does not show which row has
//! changed, so each change is reported as a gap.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, raw_sql};
use tokio::time::{MissedTickBehavior, interval};

use super::connection::Lane;
use super::error::meaning;
use crate::store::{StoreError, Watch, WatchSender};

/// Begins to watch the file. Every commit after the return of this function is reported.
pub(super) async fn watch(lane: Arc<Lane>) -> Result<Watch, StoreError> {
    let mut connection = lane.aside().await?;
    let version = data_version(&mut connection).await.map_err(|error| meaning(&error, lane.path()))?;
    let (sender, watch) = Watch::channel();
    #[expect(clippy::disallowed_methods, reason = "the task ends with its watch")]
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = poll(&lane, connection, version, &sender) => {}
        }
    });
    Ok(watch)
}

async fn poll(lane: &Lane, connection: SqliteConnection, mut version: i64, sender: &WatchSender) {
    let mut connection = Some(connection);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if connection.is_none() {
            connection = lane.aside().await.ok();
        }
        let Some(open) = &mut connection else { continue };
        match data_version(open).await {
            Ok(now) if now == version => {}
            Ok(now) => {
                version = now;
                sender.gap();
            }
            // Counters of different connections cannot be compared. The smallest number differs from every counter, so
            // the next connection reports a gap.
            Err(_) => {
                connection = None;
                version = i64::MIN;
            }
        }
    }
}

async fn data_version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    raw_sql("PRAGMA data_version").fetch_one(connection).await?.try_get(0)
}

const PERIOD: Duration = Duration::from_millis(200);
