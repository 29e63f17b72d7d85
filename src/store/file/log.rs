//! The audit of a folder, as one JSON row per line, appended under a lock.
//!
//! A row that is appended twice is kept once. This process remembers the ids of the last 10 000 rows. Before an append,
//! this process also reads the rows that other processes have appended since its last reading. A killed writer may
//! leave an unfinished line. The next append first ends that line, so that the appended row begins on a new line.
//! Readers skip the unfinished line.
//!
//! A full file is renamed and a new file is begun. The rename replaces the previous full file, so the audit has at most
//! two files. A file with a second name (a hard link) counts as full. The second name may belong to another program or
//! to a backup, so no row must be appended to such a file. Of each file at most the last 64 MiB are read, or twice the
//! configured size if that is more.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::folder::Folder;
use super::lines::{End, each_line};
use super::lock::{Lock, failed};
use crate::digest::sha256;
use crate::record::Timestamp;
use crate::store::disk;
use crate::store::{AuditFilter, AuditRow, StoreError};
use crate::sync::Mutex;

#[derive(Debug, Clone)]
pub(super) struct Log {
    /// The length in bytes at which the file is renamed and a new file begins.
    pub(super) bytes: u64,
    known: Arc<Mutex<Known>>,
}

/// The ids of the last rows that this process has read or written. `order` has the same ids from the oldest to the
/// newest.
#[derive(Debug, Default)]
struct Known {
    ids: HashSet<u128>,
    order: VecDeque<u128>,
    position: Option<Position>,
}

/// The position up to which a file was read. The file is recognised by its first bytes instead of its inode, because
/// the system reuses inodes.
#[derive(Debug, Default)]
struct Position {
    head: Vec<u8>,
    offset: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { bytes: 16 * 1024 * 1024, known: Arc::default() }
    }
}

impl Log {
    pub(super) fn append(&self, folder: &Folder, rows: &[AuditRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        folder.make()?;
        let (path, old) = paths(folder);
        // The lock of this process is taken before the lock on the disk. Therefore the threads of this process wait for
        // each other without polling.
        let mut known = self.known.lock();
        let lock = Lock::beside(&path, folder.lock_wait)?;
        let write = |error| failed("write", &path, &error);
        let read = |error| failed("read", &path, &error);
        let mut file = open(&path).map_err(write)?;
        let mut end = known.catch_up(&mut file, self.old(folder)?, self.most()).map_err(read)?;
        if end.length >= self.bytes || file.metadata().is_ok_and(|metadata| disk::has_other_names(&metadata)) {
            fs::rename(&path, &old).map_err(|error| failed("rename", &path, &error))?;
            file = open(&path).map_err(write)?;
            known.position = Some(Position::default());
            end = End::default();
        }
        let text = known.lines(rows, end.is_torn)?;
        if let Err(error) = file.write_all(text.as_bytes()) {
            // The incomplete row is cut off. Otherwise the next append would have to end the incomplete line.
            file.set_len(end.length).ok();
            return Err(write(error));
        }
        // The file is synchronised even if every row is known, because the last synchronisation may have failed.
        file.sync_data().map_err(write)?;
        if end.length == 0 {
            folder.settle()?;
        }
        drop(lock);
        Ok(())
    }

    /// If there is no renamed file, renames the current file once its oldest row is older than `before`. Deletes the
    /// renamed file once all of its rows are older than `before`.
    ///
    /// Therefore no file is rewritten, and a row lives up to twice as long as its retention. Always returns false,
    /// because no second call is needed.
    pub(super) fn trim(&self, folder: &Folder, before: Timestamp) -> Result<bool, StoreError> {
        let (path, old) = paths(folder);
        let read = |error| failed("read", &path, &error);
        if existing(&path).map_err(read)?.is_none() && self.old(folder)?.is_none() {
            return Ok(false);
        }
        let mut known = self.known.lock();
        let lock = Lock::beside(&path, folder.lock_wait)?;
        self.delete_older(folder, before)?;
        if !old.exists()
            && let Some(mut current) = existing(&path).map_err(read)?
        {
            let [oldest, _] = self.span(&mut current).map_err(read)?;
            if oldest.is_some_and(|oldest| oldest < before) {
                // The ids of this file are remembered before the rename. Otherwise a row of this file that is appended
                // again would be kept twice.
                known.catch_up(&mut current, None, self.most()).map_err(read)?;
                fs::rename(&path, &old).map_err(|error| failed("rename", &path, &error))?;
                known.position = Some(Position::default());
                self.delete_older(folder, before)?;
            }
        }
        drop(lock);
        Ok(false)
    }

    pub(super) fn rows(&self, folder: &Folder, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let (path, _) = paths(folder);
        let failed = |error: io::Error| failed("read", &path, &error);
        // The current file is opened first. If another process then renames that file, the same file is read twice, and
        // the comparison of ids drops the repeated rows. In the opposite order the renamed file would not be read at
        // all.
        let (current, old) = (existing(&path).map_err(failed)?, self.old(folder)?);
        let (mut rows, mut ids, mut foreign) = (VecDeque::new(), HashSet::new(), 0_u32);
        for mut file in [old, current].into_iter().flatten() {
            let read =
                each_line(&mut file, 0, self.most(), |line, is_whole| match serde_json::from_slice::<AuditRow>(line) {
                    Ok(row) if filter.passes(&row) => {
                        if ids.insert(digest(&row.id)) {
                            rows.push_back(row);
                        }
                        if rows.len() > filter.limit {
                            rows.pop_front();
                        }
                    }
                    Ok(_) => {}
                    Err(_) if line.is_empty() || !is_whole => {}
                    Err(_) => foreign += 1,
                });
            read.map_err(failed)?;
        }
        if foreign > 0 {
            let lines =
                format_args!("{foreign} lines of `{}` are no rows of the audit, and were skipped", path.display());
            folder.warn_once("lines of the audit", lines);
        }
        Ok(rows.into())
    }

    /// Opens the renamed file. Returns `None` if the file is missing, or if a link, a pipe or a folder is in its place.
    /// In these cases the current file stays usable.
    fn old(&self, folder: &Folder) -> Result<Option<File>, StoreError> {
        let (_, old) = paths(folder);
        existing(&old).or_else(|error| {
            if error.kind() != io::ErrorKind::InvalidInput {
                return Err(failed("read", &old, &error));
            }
            folder.warn_once("the old audit", format_args!("`{}` is not read: {error}", old.display()));
            Ok(None)
        })
    }

    /// Deletes the renamed file if each of its rows is older than `before`.
    fn delete_older(&self, folder: &Folder, before: Timestamp) -> Result<(), StoreError> {
        let Some(mut file) = self.old(folder)? else { return Ok(()) };
        let (_, old) = paths(folder);
        let [_, newest] = self.span(&mut file).map_err(|error| failed("read", &old, &error))?;
        if newest.is_none_or(|newest| newest < before) {
            fs::remove_file(&old).map_err(|error| failed("delete", &old, &error))?;
        }
        Ok(())
    }

    /// Returns the times of the oldest and the newest row, or twice `None` if the file has no rows.
    fn span(&self, file: &mut File) -> io::Result<[Option<Timestamp>; 2]> {
        let (mut oldest, mut newest) = (None::<Timestamp>, None::<Timestamp>);
        each_line(file, 0, self.most(), |line, _| {
            let Ok(AuditRow { timestamp, .. }) = serde_json::from_slice(line) else { return };
            oldest = Some(oldest.map_or(timestamp, |oldest| oldest.min(timestamp)));
            newest = newest.max(Some(timestamp));
        })?;
        Ok([oldest, newest])
    }

    /// Returns the largest number of bytes that are read from a file. The number is at least 64 MiB, because another
    /// process may have configured a larger file.
    fn most(&self) -> u64 {
        self.bytes.saturating_mul(2).max(64 * 1024 * 1024)
    }
}

impl Known {
    /// Remembers the ids of the rows that were appended since the last reading, and returns the end of the file. The
    /// caller holds the lock.
    fn catch_up(&mut self, file: &mut File, old: Option<File>, most: u64) -> io::Result<End> {
        let same = match &self.position {
            Some(position) => position.is_of(file)?,
            None => false,
        };
        if !same {
            // This is the first reading, or another process has renamed the file that was read so far. In the second
            // case, the rest of the renamed file is read first.
            let position = self.position.take().unwrap_or_default();
            if let Some(mut old) = old {
                let offset = if position.is_of(&mut old)? { position.offset } else { 0 };
                each_line(&mut old, offset, most, |line, _| self.remember(line))?;
            }
        }
        let offset = self.position.take().map_or(0, |position| position.offset);
        let end = each_line(file, offset, most, |line, is_whole| {
            if is_whole {
                self.remember(line);
            }
        })?;
        let mut head = vec![0; usize::try_from(end.whole.min(HEAD)).unwrap_or_default()];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut head)?;
        self.position = Some(Position { head, offset: end.whole });
        Ok(end)
    }

    fn remember(&mut self, line: &[u8]) {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            id: std::borrow::Cow<'a, str>,
        }
        let Ok(Named { id }) = serde_json::from_slice(line) else { return };
        let id = digest(&id);
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED {
            self.order.pop_front().map(|oldest| self.ids.remove(&oldest));
        }
    }

    /// Returns the lines of the rows that are not known yet. If the file ends with an unfinished line, the text begins
    /// with a line break that ends that line.
    fn lines(&self, rows: &[AuditRow], after_torn: bool) -> Result<String, StoreError> {
        let mut lines = String::new();
        let mut given = HashSet::new();
        for row in rows {
            let id = digest(&row.id);
            if self.ids.contains(&id) || !given.insert(id) {
                continue;
            }
            if lines.is_empty() && after_torn {
                lines.push('\n');
            }
            let line = serde_json::to_string(row).map_err(|error| StoreError::refused(error.to_string()))?;
            lines.extend([line.as_str(), "\n"]);
        }
        Ok(lines)
    }
}

impl Position {
    /// Returns true if the position belongs to this file, and not to a file that another process has renamed since.
    fn is_of(&self, file: &mut File) -> io::Result<bool> {
        if file.metadata()?.len() < self.offset {
            return Ok(false);
        }
        let mut head = vec![0; self.head.len()];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut head)?;
        Ok(head == self.head)
    }
}

fn paths(folder: &Folder) -> (PathBuf, PathBuf) {
    (folder.path().join("audit.jsonl"), folder.path().join("audit.old.jsonl"))
}

fn open(path: &Path) -> io::Result<File> {
    disk::open_or_create(path, OpenOptions::new().read(true).append(true))
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match disk::open(path, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Returns the hash of an id. The hash is remembered in place of the id, because ids may be long.
fn digest(id: &str) -> u128 {
    let digits = sha256([id.as_bytes()]);
    u128::from_str_radix(&digits[..32], 16).expect("a digest has hexadecimal digits")
}

/// The number of bytes at the beginning of a file by which the file is recognised.
const HEAD: u64 = 256;
/// The number of rows whose ids are remembered.
const REMEMBERED: usize = 10_000;
