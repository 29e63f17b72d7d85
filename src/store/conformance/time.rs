//! The cases that take time, for the expiry, the clock and the watch.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Failure;
use super::trial::{Trial, record, writing};
use crate::clock::{Clock, MonotonicClock};
use crate::record::Timestamp;
use crate::store::{AnyStore, Etag, Store, Watch, WatchEvent, Written};

pub(super) async fn forgetting(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let ttl = Duration::from_secs(1);
    let store = &trial.open().await;
    let [short, prolonged, forever] = ["short", "prolonged", "forever"].map(|part| trial.name(part));
    let here = MonotonicClock::new();
    let start = here.precise();
    for name in [&short, &prolonged, &forever] {
        let mut write = writing(name, None, &record(name, 1));
        write.ttl = Some(ttl);
        let written = trial.run("compare_and_set", || store.compare_and_set(&write)).await?;
        let etag = trial.applied("with a ttl of a second", written)?;
        if *name == short {
            continue;
        }
        write.expected = Some(etag);
        write.ttl = (*name == prolonged).then_some(Duration::from_secs(600));
        let written = trial.run("compare_and_set", || store.compare_and_set(&write)).await?;
        trial.applied("with a longer ttl", written)?;
    }
    let mut gone = false;
    while !gone && here.precise().saturating_since(start) < ttl + Duration::from_secs(5) {
        gone = trial.load(store, &short).await?.is_none();
        let age = here.precise().saturating_since(start);
        if gone && (age + COARSE < ttl || !trial.suite.forgets) {
            return Err(trial.failure(format!("expected it to be there after {age:.2?}, found nothing")));
        }
        if !trial.suite.forgets && age > ttl + COARSE {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    trial.same("whether it was forgotten", &gone, &trial.suite.forgets)?;
    trial.same("whether it is listed", &trial.list(store).await?.contains(&short), &!gone)?;
    if gone {
        trial.create(store, &short, &record(&short, 2)).await?;
    }
    for (name, what) in [(&prolonged, "written again with a longer ttl"), (&forever, "written again without a ttl")] {
        trial.holds(what, trial.load(store, name).await?, &record(name, 1))?;
    }
    Ok(())
}

pub(super) async fn clock(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let name = trial.name("a");
    let here = MonotonicClock::new();
    let start = here.precise();
    let mut readings: Vec<(&str, Timestamp)> = Vec::new();
    for number in 0..10 {
        let loaded = trial.run("load_many", || store.load_many(&[])).await?;
        readings.push(("load_many", loaded.now));
        // Only the first write is applied, and the later writes conflict. Therefore the test checks the time in both
        // kinds of answers.
        let write = writing(&name, None, &record(&name, number));
        readings.push(match trial.run("compare_and_set", || store.compare_and_set(&write)).await? {
            Written::Applied { now, .. } => ("compare_and_set", now),
            Written::Conflict { now, .. } => ("a conflict", now),
        });
        sleep(Duration::from_millis(20)).await;
    }
    for pair in readings.windows(2) {
        let [(_, before), (what, after)] = [pair[0], pair[1]];
        if after < before {
            return Err(trial.failure(format!("the time in {what}: expected at least {before}, found {after}")));
        }
    }
    let passed = readings[readings.len() - 1].1.since(readings[0].1);
    let elapsed = here.precise().saturating_since(start);
    // The clock of the store may run a little fast, because clocks are slewed and timestamps are cut to milliseconds.
    if passed.is_zero() || passed > elapsed + Duration::from_secs(5) {
        return Err(trial.failure(format!("expected about {elapsed:.1?} to pass, found {passed:.1?}")));
    }
    Ok(())
}

pub(super) async fn watch(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let name = trial.name("a");
    let Some(mut watch) = trial.run("watch", || store.watch()).await? else {
        return Ok(());
    };
    let [first, second] = [1, 2].map(|number| record(&name, number));
    let etag = trial.create(store, &name, &first).await?;
    await_report(trial, &mut watch, &name, Some(&etag)).await?;
    // The next write goes through a second handle of the store, as in another process.
    let other: &AnyStore = &trial.open().await;
    let current = trial.holds("the first write", trial.load(other, &name).await?, &first)?;
    let written = trial.write(other, &name, Some(&current), &second).await?;
    let replaced = trial.applied("on the etag that was loaded", written)?;
    await_report(trial, &mut watch, &name, Some(&replaced)).await?;
    let current = trial.holds("the second write", trial.load(store, &name).await?, &second)?;
    trial.same("deleting on an old etag", &trial.delete(store, &name, &etag).await?, &false)?;
    trial.same("deleting", &trial.delete(store, &name, &current).await?, &true)?;
    await_report(trial, &mut watch, &name, None).await
}

/// Waits until the watch reports a gap or the awaited change. The awaited change is a change of `name` to `version`
/// (`None` for the deletion), or a change of `name` without a version. Other events are ignored, because other users of
/// the server cause events, and a change may be reported more than once.
async fn await_report(
    trial: &Trial<'_, '_>,
    watch: &mut Watch,
    name: &str,
    version: Option<&Etag>,
) -> Result<(), Failure> {
    let change = version.map_or("the deletion", |_| "the write");
    let reported = async {
        loop {
            match watch.next().await {
                Some(WatchEvent::Gap) => return Ok(()),
                Some(WatchEvent::Changed { name: changed, etag, .. })
                    if changed == name && (etag.is_none() || etag.as_ref() == version) =>
                {
                    return Ok(());
                }
                Some(WatchEvent::Changed { .. }) => {}
                None => {
                    return Err(trial.failure(format!("expected a report of {change}, found the end of the watch")));
                }
            }
        }
    };
    let silence = |_| Err(trial.failure(format!("expected a report of {change}, found none within 5 s")));
    timeout(Duration::from_secs(5), reported).await.unwrap_or_else(silence)
}

/// The tolerated difference between two correct clocks over a second. Some clocks tick only every ten milliseconds, and
/// each reading is cut to milliseconds.
const COARSE: Duration = Duration::from_millis(50);
