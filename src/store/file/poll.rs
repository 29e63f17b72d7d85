//! The watch of a folder, which reads the metadata of all files again and again, and reports the differences.
//!
//! Reading metadata is cheap, needs no crate for each operating system, and sees the writes of other processes. The
//! pause between two readings grows with their duration, so that a folder with very many files costs little, too. Each
//! reading is compared with the previous reading. Therefore the watch finds a change only if the change lasts until the
//! next reading. While the folder cannot be read, or is read only seldom, the watch is interrupted, so that the
//! coordinator polls.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::time::Duration;
use std::time::SystemTime;

use super::folder::Folder;
use super::lock::failed;
use crate::clock::{Clock, MonotonicClock};
use crate::keep::STORE_TIMEOUT;
use crate::store::disk::{DiskThread, Identity};
use crate::store::{StoreError, Watch, WatchSender, answer_within};

/// Maps the stem of each file (its name without the extension) to the metadata and the circuit of the file. The circuit
/// is `None` if its name cannot be read from the file.
type Seen = BTreeMap<String, (Marks, Option<String>)>;

/// The metadata that change with each write of a file. Each rename brings a new inode, so that even two writes within
/// one tick of the file system's clock differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    length: u64,
    modified: Option<SystemTime>,
    file: Identity,
}

/// Begins to watch the folder, and returns the watch. Fails if the folder cannot be read. The task of the watch ends
/// soon after the watch is dropped.
pub(super) async fn watch(folder: Folder, disk: DiskThread, interval: Duration) -> Result<Watch, StoreError> {
    let first = folder.clone();
    let seen =
        disk.run(move || scan(&first, &Seen::new()).map_err(|error| failed("read", first.path(), &error))).await?;
    let (sender, watch) = Watch::channel();
    #[expect(clippy::disallowed_methods, reason = "the task ends with its watch")]
    tokio::spawn(keep_watching(folder, disk, interval, seen, sender));
    Ok(watch)
}

async fn keep_watching(folder: Folder, disk: DiskThread, interval: Duration, mut seen: Seen, sender: WatchSender) {
    let clock = MonotonicClock::new();
    let mut pause = interval;
    let (mut has_failed, mut was_late) = (false, false);
    loop {
        let is_late = has_failed || pause > PROMPT;
        if is_late {
            sender.interrupt();
        } else if was_late {
            sender.gap();
        }
        was_late = is_late;
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let began = clock.precise();
        let (folder, before) = (folder.clone(), seen.clone());
        // If the folder cannot be read, the next successful reading is compared with the last successful reading.
        let scan = move || scan(&folder, &before).map_err(|_| StoreError::unavailable("not now"));
        // A scan that hangs is given up after a time limit, so that other operations do not wait for the scan.
        let scanned = answer_within(STORE_TIMEOUT, disk.run(scan)).await;
        has_failed = scanned.is_err();
        let Ok(after) = scanned else { continue };
        report(&seen, &after, &sender);
        seen = after;
        pause = pause_after(clock.precise().saturating_since(began), interval);
    }
}

/// Returns the time until the next reading, after a reading that took the time `reading`.
fn pause_after(reading: Duration, interval: Duration) -> Duration {
    interval.max(reading.saturating_mul(SHARE))
}

/// The ratio of a pause to the duration of the previous reading. With this ratio a watch reads the folder for at most a
/// fiftieth of the time. A folder with 50 000 files is read in about 60 ms, and therefore every 3 s.
const SHARE: u32 = 50;

/// The longest pause with which a watch reports changes soon enough. With a longer pause the watch is interrupted, so
/// that the coordinator polls.
const PROMPT: Duration = Duration::from_secs(5);

/// Reports the files that are new, different or gone.
fn report(before: &Seen, after: &Seen, sender: &WatchSender) {
    let changed = after.iter().filter(|(stem, (marks, _))| before.get(*stem).is_none_or(|(old, _)| old != marks));
    let gone = before.iter().filter(|(stem, _)| !after.contains_key(*stem));
    for (_, (_, name)) in changed.chain(gone) {
        match name {
            Some(name) => sender.changed(name, None),
            // The circuit of this file is unknown, so the receiver must load the records of all circuits.
            None => sender.gap(),
        }
    }
}

/// Reads the metadata of every file. If `before` has the circuit of a file, the circuit is not read from the file
/// again.
fn scan(folder: &Folder, before: &Seen) -> io::Result<Seen> {
    let entry = |(stem, metadata): (String, Metadata)| {
        let marks = Marks { length: metadata.len(), modified: metadata.modified().ok(), file: Identity::of(&metadata) };
        // A file whose circuit could not be determined is read again only after a change, because other programs can
        // put many such files into the folder.
        let known = before.get(&stem).and_then(|(old, name)| (name.is_some() || *old == marks).then(|| name.clone()));
        let name = known.unwrap_or_else(|| folder.name(&stem));
        (stem, (marks, name))
    };
    Ok(folder.files()?.into_iter().map(entry).collect())
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_watch_reads_a_full_folder_for_at_most_a_fiftieth_of_the_time() {
        let millis = Duration::from_millis;
        for (reading, pause) in [(0, 250), (5, 250), (60, 3_000), (1_000, 50_000)] {
            assert_eq!(pause_after(millis(reading), millis(250)), millis(pause), "after {reading} ms");
        }
    }
}
