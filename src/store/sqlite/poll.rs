//! The watch of a database file, which polls a counter of SQLite five times a second.
//!
//! SQLite does not report changes, but counts commits. The result of `PRAGMA data_version` on one connection changes
//! after every commit of another connection. The query costs 6 µs and reads no table. The counter does not show which
//! row has changed, and also counts commits to other tables. Therefore the watch compares the etags of all records
//! after each change of the counter, and only the changed records are loaded. A replaced or deleted file is reported as
//! a gap. The instances then load the new file and write their states to it. While the file cannot be read, the watch
//! is interrupted, so that the coordinator polls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, raw_sql};
use tokio::time::{MissedTickBehavior, interval};

use super::connection::{Lane, Opened, block_on};
use super::error::meaning;
use super::{ETAGS, lossy};
use crate::keep::STORE_TIMEOUT;
use crate::store::{Etag, StoreError, Watch, WatchSender, answer_within};
use crate::sync::Mutex;

/// The connection of the watch, with the counter and the etags at the last poll.
#[derive(Default)]
struct Seen {
    opened: Option<Opened>,
    /// The counter at the last poll. `None` for a new connection, because each connection has a separate counter.
    version: Option<i64>,
    /// The etag of each record, by name. `None` if there are more records than [`MOST_COMPARED`].
    etags: Option<BTreeMap<String, Etag>>,
}

/// The difference between two polls.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    /// The names and new etags of the changed records. A deleted record has no etag.
    Records(Vec<(String, Option<Etag>)>),
    /// Any record may have changed, because the changed records are unknown.
    All,
}

/// Begins to watch the file, and returns the watch. Every commit after the return of this function is reported.
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
        // After this time a query that hangs is given up, so that other operations do not wait for the query.
        let looked = answer_within(STORE_TIMEOUT, look(lane, seen)).await;
        let is_lost = looked.is_err();
        match looked {
            // The previous query has failed or was given up, but may have stored the new counter and the new etags in
            // `seen`. The present query then misses these changes, so a gap is reported.
            Ok(_) if was_lost => sender.gap(),
            Ok(Change::Nothing) => {}
            Ok(Change::Records(records)) => records.into_iter().for_each(|(name, etag)| sender.changed(&name, etag)),
            Ok(Change::All) => sender.gap(),
            Err(_) if was_lost => {}
            Err(_) => {
                sender.gap();
                sender.interrupt();
            }
        }
        was_lost = is_lost;
    }
}

/// Queries the counter, and returns the changes since the last query. Compares the etags only if the counter has
/// changed or the file was opened again.
async fn look(lane: &Arc<Lane>, seen: &Arc<Mutex<Seen>>) -> Result<Change, StoreError> {
    let (at, seen) = (Arc::clone(lane), Arc::clone(seen));
    lane.run_aside(move || {
        let Seen { opened, version, etags } = &mut *seen.lock();
        let mut open = match opened.take().and_then(|mut open| open.is_current(at.path()).then_some(open)) {
            Some(open) => open,
            None => {
                (*version, *etags) = (None, None);
                at.aside()?
            }
        };
        let looked = block_on(async {
            let now = raw_sql("PRAGMA data_version").fetch_one(&mut open.connection).await?.try_get::<i64, _>(0)?;
            if version.replace(now) == Some(now) {
                return Ok(Change::Nothing);
            }
            // A commit between the query of the counter and the query of the etags changes the counter again. Therefore
            // no change is missed.
            let before = std::mem::replace(etags, read_etags(&mut open.connection).await?);
            Ok(before.zip(etags.as_ref()).map_or(Change::All, |(before, after)| compare(before, after)))
        });
        let looked = looked.map_err(|error: sqlx::Error| meaning(&error, at.path()))?;
        *opened = Some(open);
        Ok(looked)
    })
    .await
}

async fn read_etags(connection: &mut SqliteConnection) -> Result<Option<BTreeMap<String, Etag>>, sqlx::Error> {
    let rows = raw_sql(ETAGS).fetch_all(connection).await?;
    if rows.len() > MOST_COMPARED {
        return Ok(None);
    }
    let mut etags = BTreeMap::new();
    for row in &rows {
        if let (Some(name), Some(etag)) = (lossy(row, 0)?, lossy(row, 1)?) {
            etags.insert(name, Etag::new(etag));
        }
    }
    Ok(Some(etags))
}

fn compare(mut before: BTreeMap<String, Etag>, after: &BTreeMap<String, Etag>) -> Change {
    let mut changed = Vec::new();
    for (name, etag) in after {
        if before.remove(name).as_ref() != Some(etag) {
            changed.push((name.clone(), Some(etag.clone())));
        }
    }
    changed.extend(before.into_keys().map(|name| (name, None)));
    if changed.is_empty() { Change::Nothing } else { Change::Records(changed) }
}

/// The largest number of records whose etags are compared. A longer comparison would delay other operations.
const MOST_COMPARED: usize = 20_000;
const _: () = assert!(MOST_COMPARED + 1 == 20_001, "`ETAGS` has the same limit");

const PERIOD: Duration = Duration::from_millis(200);
