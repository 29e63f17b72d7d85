//! The audit of a folder, as one JSON row per line, appended under a lock.
//!
//! A row is kept once, however often it is appended. This process remembers the ids of the last rows, and before an
//! append it reads the rows that other processes have appended since its last reading. A killed writer may leave an
//! unfinished line. The next append first ends that line, so that its own row begins on a new line. Readers skip the
//! unfinished line.
//!
//! A full file is renamed and a new file is begun. The rename replaces the previous full file, so the audit has at most
//! two files.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::folder::Folder;
use super::lock::{Lock, failed};
use crate::digest::fnv1a;
use crate::record::Timestamp;
use crate::store::{AuditFilter, AuditRow, StoreError};
use crate::sync::Mutex;
use crate::telemetry::store::warn;

#[derive(Debug, Clone)]
pub(super) struct Log {
    /// The length at which the file is renamed and a new file begins.
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
    warned: bool,
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
        // The lock of this process is taken before the lock on the disk, so that the threads of this process wait for
        // each other without polling.
        let mut known = self.known.lock();
        let lock = Lock::beside(&path, folder.lock_wait)?;
        let write = |error| failed("write", &path, &error);
        let mut file = open(&path).map_err(write)?;
        let mut end = known.catch_up(&mut file, &old).map_err(|error| failed("read", &path, &error))?;
        if end.length >= self.bytes {
            fs::rename(&path, &old).map_err(|error| failed("rename", &path, &error))?;
            file = open(&path).map_err(write)?;
            known.position = Some(Position::default());
            end = End::default();
        }
        let text = known.lines(rows, end.is_torn)?;
        if let Err(error) = file.write_all(text.as_bytes()) {
            // The incomplete row is cut off, because the next append would have to end its line otherwise.
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

    /// Renames the file once its oldest row is older than `before`, and deletes the renamed file once all of its rows
    /// are older.
    ///
    /// Therefore no file is rewritten, and a row lives up to twice as long as its retention.
    pub(super) fn trim(&self, folder: &Folder, before: Timestamp) -> Result<bool, StoreError> {
        let (path, old) = paths(folder);
        if !path.exists() && !old.exists() {
            return Ok(false);
        }
        let mut known = self.known.lock();
        let lock = Lock::beside(&path, folder.lock_wait)?;
        delete_older(&old, before)?;
        if !old.exists()
            && let Some(mut current) = existing(&path).map_err(|error| failed("read", &path, &error))?
        {
            let [oldest, _] = span(&mut current).map_err(|error| failed("read", &path, &error))?;
            if oldest.is_some_and(|oldest| oldest < before) {
                // The ids must be remembered before the rename, because a row of this file may be appended again.
                known.catch_up(&mut current, &old).map_err(|error| failed("read", &path, &error))?;
                fs::rename(&path, &old).map_err(|error| failed("rename", &path, &error))?;
                known.position = Some(Position::default());
                delete_older(&old, before)?;
            }
        }
        drop(lock);
        Ok(false)
    }

    pub(super) fn rows(&self, folder: &Folder, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let (path, old) = paths(folder);
        let read = |path: &Path| existing(path).map_err(|error| failed("read", path, &error));
        // The current file is opened first. If another process renames that file before the second opening, the same
        // file is read twice, and the comparison of ids drops the repeated rows. In the opposite order the renamed file
        // would not be read at all.
        let (current, old) = (read(&path)?, read(&old)?);
        let (mut rows, mut ids, mut foreign) = (VecDeque::new(), HashSet::new(), 0_u32);
        for mut file in [old, current].into_iter().flatten() {
            let read = each_line(&mut file, 0, |line, is_whole| match serde_json::from_slice::<AuditRow>(line) {
                Ok(row) if filter.passes(&row) => {
                    if ids.insert(fnv1a(row.id.bytes())) {
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
            read.map_err(|error| failed("read", &path, &error))?;
        }
        if foreign > 0 && !std::mem::replace(&mut self.known.lock().warned, true) {
            warn(format_args!("{foreign} lines of `{}` are no rows of the audit, and were skipped", path.display()));
        }
        Ok(rows.into())
    }
}

impl Known {
    /// Reads the lines that were appended since the last reading. The caller holds the lock.
    fn catch_up(&mut self, file: &mut File, old: &Path) -> io::Result<End> {
        let same = match &self.position {
            Some(position) => position.is_of(file)?,
            None => false,
        };
        if !same {
            // This is the first reading, or another process has renamed the file that was read so far. In the second
            // case, the rest of the renamed file is read first.
            let position = self.position.take().unwrap_or_default();
            if let Some(mut old) = existing(old)? {
                let offset = if position.is_of(&mut old)? { position.offset } else { 0 };
                each_line(&mut old, offset, |line, _| self.remember(line))?;
            }
        }
        let offset = self.position.take().map_or(0, |position| position.offset);
        let end = each_line(file, offset, |line, is_whole| {
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
        let id = fnv1a(id.bytes());
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
            let id = fnv1a(row.id.bytes());
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
    /// Returns true if the position belongs to this file.
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

/// The result of a reading to the end of a file.
#[derive(Debug, Default)]
struct End {
    length: u64,
    /// The offset of the end of the last complete line.
    whole: u64,
    is_torn: bool,
}

/// Reads the lines from an offset on. `read` gets each line, and true if the line is complete.
fn each_line(file: &mut File, offset: u64, mut read: impl FnMut(&[u8], bool)) -> io::Result<End> {
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::new(file);
    let mut end = End { length: offset, whole: offset, is_torn: false };
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        end.length += line.len() as u64;
        end.is_torn = line.last() != Some(&b'\n');
        if !end.is_torn {
            end.whole = end.length;
            line.pop();
        }
        read(&line, !end.is_torn);
        line.clear();
    }
    Ok(end)
}

/// Deletes the file if each of its rows is older than `before`.
fn delete_older(path: &Path, before: Timestamp) -> Result<(), StoreError> {
    let Some(mut file) = existing(path).map_err(|error| failed("read", path, &error))? else { return Ok(()) };
    let [_, newest] = span(&mut file).map_err(|error| failed("read", path, &error))?;
    if newest.is_none_or(|newest| newest < before) {
        fs::remove_file(path).map_err(|error| failed("delete", path, &error))?;
    }
    Ok(())
}

/// Returns the times of the oldest and the newest row.
fn span(file: &mut File) -> io::Result<[Option<Timestamp>; 2]> {
    let (mut oldest, mut newest) = (None::<Timestamp>, None::<Timestamp>);
    each_line(file, 0, |line, _| {
        let Ok(AuditRow { timestamp, .. }) = serde_json::from_slice(line) else { return };
        oldest = Some(oldest.map_or(timestamp, |oldest| oldest.min(timestamp)));
        newest = newest.max(Some(timestamp));
    })?;
    Ok([oldest, newest])
}

fn paths(folder: &Folder) -> (PathBuf, PathBuf) {
    (folder.path().join("audit.jsonl"), folder.path().join("audit.old.jsonl"))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// The number of bytes at the beginning by which a file is recognised.
const HEAD: u64 = 256;
/// The number of rows whose ids are remembered.
const REMEMBERED: usize = 10_000;
