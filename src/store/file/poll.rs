//! The watch of a folder: what its files look like, every quarter of a second.
//!
//! Looking is cheap, needs no crate for each operating system, and sees what other processes do. It compares states, so it
//! misses no change that lasts, and has no gaps.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::time::Duration;
use std::time::SystemTime;

use super::blocking;
use super::folder::Folder;
use super::lock::failed;
use crate::store::{StoreError, Watch, WatchSender};

/// What a file looks like, and whose it is.
type Seen = BTreeMap<String, (Look, Option<String>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

/// Begins to look. The task ends soon after the watch is dropped.
pub(super) async fn watch(folder: Folder, interval: Duration) -> Result<Watch, StoreError> {
    let first = folder.clone();
    let seen =
        blocking(move || look(&first, &Seen::new()).map_err(|error| failed("read", first.path(), &error))).await?;
    let (sender, watch) = Watch::channel();
    #[expect(clippy::disallowed_methods, reason = "somebody has to look, and it ends with the watch")]
    tokio::spawn(keep_looking(folder, interval, seen, sender));
    Ok(watch)
}

async fn keep_looking(folder: Folder, interval: Duration, mut seen: Seen, sender: WatchSender) {
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let (folder, before) = (folder.clone(), seen.clone());
        // What cannot be looked at now is compared with what was there before when it can.
        let Ok(after) = blocking(move || look(&folder, &before).map_err(|_| StoreError::unavailable("not now"))).await
        else {
            continue;
        };
        tell(&seen, &after, &sender);
        seen = after;
    }
}

fn tell(before: &Seen, after: &Seen, sender: &WatchSender) {
    let changed = after.iter().filter(|(stem, (look, _))| before.get(*stem).is_none_or(|(old, _)| old != look));
    let gone = before.iter().filter(|(stem, _)| !after.contains_key(*stem));
    for (_, (_, name)) in changed.chain(gone) {
        match name {
            Some(name) => sender.changed(name, None),
            // Whose file it is cannot be read from it.
            None => sender.gap(),
        }
    }
}

fn look(folder: &Folder, before: &Seen) -> io::Result<Seen> {
    let look = |(stem, metadata): (String, Metadata)| {
        let look = Look { length: metadata.len(), modified: metadata.modified().ok(), inode: inode(&metadata) };
        let known = before.get(&stem).and_then(|(_, name)| name.clone());
        let name = known.or_else(|| folder.name(&stem));
        (stem, (look, name))
    };
    Ok(folder.files()?.into_iter().map(look).collect())
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> u64 {
    0
}
