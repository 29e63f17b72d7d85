//! The watch of a database file, which polls a counter of SQLite five times a second.
//!
//! SQLite does not report changes, but counts them. The result of `PRAGMA data_version` on one connection differs after
//! every commit of another connection. The query costs 6 µs and reads no table. The counter does not show which row has
//! changed, so each change is reported as a gap. A replaced or deleted file is reported as a gap too, so that the
//! instances load the new file and write their knowledge to it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Row, raw_sql};
use tokio::time::{MissedTickBehavior, interval};

use super::connection::{Lane, Opened, block_on};
use super::error::meaning;
use crate::keep::STORE_TIMEOUT;
use crate::store::{StoreError, Watch, WatchSender, answer_within};
use crate::sync::Mutex;

/// The connection of the watch, and the counter that was reported last.
#[derive(Default)]
struct Seen {
    opened: Option<Opened>,
    /// Counters of different connections cannot be compared, so a new connection has none.
    version: Option<i64>,
}

/// Begins to watch the file. Every commit after the return of this function is reported.
pub(super) async fn watch(lane: Arc<Lane>) -> Result<Watch, StoreError> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    look(&lane, &seen).await?;
    let (sender, watch) = Watch::channel();
    #[expect(clippy::disallowed_methods, reason = "the task ends with its watch")]
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = poll(&lane, &seen, &sender) => {}
        }
    });
    Ok(watch)
}

async fn poll(lane: &Arc<Lane>, seen: &Arc<Mutex<Seen>>, sender: &WatchSender) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_lost = false;
    loop {
        ticks.tick().await;
        // A query that hangs is given up, so that other operations do not wait for it.
        let looked = answer_within(STORE_TIMEOUT, look(lane, seen)).await;
        let is_lost = looked.is_err();
        if is_lost && !was_lost || matches!(looked, Ok(true)) {
            sender.gap();
        }
        was_lost = is_lost;
    }
}

/// Queries the counter. Returns true if the counter has changed or if the file was opened again.
async fn look(lane: &Arc<Lane>, seen: &Arc<Mutex<Seen>>) -> Result<bool, StoreError> {
    let (at, seen) = (Arc::clone(lane), Arc::clone(seen));
    lane.run_aside(move || {
        let Seen { opened, version } = &mut *seen.lock();
        let mut open = match opened.take().and_then(|mut open| open.is_current(at.path()).then_some(open)) {
            Some(open) => open,
            None => {
                *version = None;
                at.aside()?
            }
        };
        let counted = block_on(async {
            raw_sql("PRAGMA data_version").fetch_one(&mut open.connection).await?.try_get::<i64, _>(0)
        });
        let now = counted.map_err(|error| meaning(&error, at.path()))?;
        *opened = Some(open);
        Ok(version.replace(now) != Some(now))
    })
    .await
}

const PERIOD: Duration = Duration::from_millis(200);
