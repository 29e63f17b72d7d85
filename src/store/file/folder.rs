//! The folder of the store, with one file for each record.
//!
//! Every function of this module blocks on the disk, so the store calls these functions on its own thread. The module
//! `lock` has the lock and the kinds of errors, and the module `name` has the names of the files. The module `disk`,
//! which the stores on a disk share, has the rules for owners, modes and links.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;

use super::lock::{Lock, failed, with_suffix};
use super::name::{escape, is_cut, is_stem, is_temporary, temporary, unescape};
use crate::clock::{Clock, MonotonicClock};
use crate::digest::sha256;
use crate::random;
use crate::record::{CircuitRecord, Timestamp, UNREADABLE_VALUE};
use crate::store::disk;
use crate::store::{Etag, Loaded, StoreError, Versioned, Write, Written, host_time};
use crate::sync::{AtomicU64, Mutex, Relaxed};
use crate::telemetry::lines::{Lines, Omitted, warn};

/// The folder of a store. Clones share the counter of temporary files and the warnings.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    pub(super) lock_wait: Duration,
    shared: Arc<FolderState>,
}

#[derive(Debug)]
struct FolderState {
    /// A random number in the names of temporary files, so that two processes never write to the same temporary file.
    random: u64,
    temporaries: AtomicU64,
    /// The circuits whose file could not be read at the last load. A file that stays unreadable is therefore logged
    /// once.
    unreadable: Mutex<BTreeSet<String>>,
    /// The limits of the log, which are one line a minute about unreadable files, and one line a minute about files
    /// that were no records. Another program may write many such files, and must not fill the log.
    lines: Mutex<[Lines; 2]>,
    clock: MonotonicClock,
    /// The subjects about which a warning was logged, so that each warning is logged once.
    warned: Mutex<BTreeSet<&'static str>>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        let shared = FolderState {
            random: random::bits(),
            temporaries: AtomicU64::new(0),
            unreadable: Mutex::default(),
            lines: Mutex::default(),
            clock: MonotonicClock::new(),
            warned: Mutex::default(),
        };
        Self { path, lock_wait: Duration::from_millis(200), shared: Arc::new(shared) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(escape(name) + ".json")
    }

    /// Logs a warning, once for each subject.
    pub(super) fn warn_once(&self, subject: &'static str, warning: fmt::Arguments<'_>) {
        if self.shared.warned.lock().insert(subject) {
            warn(warning);
        }
    }

    fn warn_of_other_writers(&self) {
        if disk::is_writable_by_all(&self.path) {
            let folder = self.path.display();
            self.warn_once(
                "other writers",
                format_args!("every user may write to `{folder}`, and with that open and close circuits"),
            );
        }
    }

    pub(super) fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.warn_of_other_writers();
        let entries = names.iter().map(|name| self.load(name)).collect::<Result<_, _>>()?;
        Ok(Loaded { entries, now: host_time() })
    }

    fn load(&self, name: &str) -> Result<Option<Versioned>, StoreError> {
        let path = self.file(name);
        let error = match read(&path) {
            Ok(found) => {
                self.shared.unreadable.lock().remove(name);
                return Ok(found);
            }
            Err(error) => error,
        };
        if self.concerns_all(&error) {
            return Err(failed("read", &path, &error));
        }
        let is_new = self.shared.unreadable.lock().insert(name.to_owned());
        if let Some(more) = is_new.then(|| self.line(UNREADABLE)).flatten() {
            let path = path.display();
            warn(format_args!("`{path}` cannot be read, so its record is unreadable: {error}{more}"));
        }
        // Without this text the circuit would look like a circuit without a record, and an operator would not notice
        // the unreadable file.
        let bytes = [UNREADABLE_VALUE, failed("read", &path, &error).to_string().as_bytes()].concat();
        Ok(Some(Versioned { etag: etag(&bytes), bytes }))
    }

    /// Returns the text that ends the next log line about a subject, with the number of omitted lines. Returns `None`
    /// if the last line about the subject is less than a minute old.
    fn line(&self, subject: usize) -> Option<Omitted> {
        self.shared.lines.lock()[subject].next(self.shared.clock.now()).map(Omitted)
    }

    /// Returns true if the error would occur for every other file too. Such an error fails the whole load, because an
    /// empty answer would mean that no circuit has a record.
    fn concerns_all(&self, error: &io::Error) -> bool {
        const TOO_MANY_OPEN_FILES: [i32; 2] = [23, 24];
        let kind = error.kind();
        matches!(kind, io::ErrorKind::NotADirectory | io::ErrorKind::OutOfMemory)
            || kind == io::ErrorKind::PermissionDenied && fs::metadata(self.path.join(".")).is_err()
            || cfg!(unix) && error.raw_os_error().is_some_and(|code| TOO_MANY_OPEN_FILES.contains(&code))
    }

    pub(super) fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        self.make()?;
        let path = self.file(&write.name);
        let lock = Lock::beside(&path, self.lock_wait)?;
        let current = self.current(&path)?;
        let now = host_time();
        if current.as_ref().map(|current| &current.etag) != write.expected.as_ref() {
            return Ok(Written::Conflict { current, now });
        }
        let is_foreign =
            current.is_some_and(|current| CircuitRecord::decode(&write.name, &current.bytes, now).is_err());
        self.replace(&path, &write.bytes, is_foreign)?;
        drop(lock);
        // The clock of the host may have been set back since `now` was read. The later time is returned, because the
        // time of a store must not go back.
        Ok(Written::Applied { etag: etag(&write.bytes), now: host_time().max(now) })
    }

    pub(super) fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let path = self.file(name);
        // The etag is first compared without the lock. Taking the lock would create a lock file, even for a name that
        // has no record.
        if self.current(&path)?.is_none_or(|current| current.etag != *etag) {
            return Ok(false);
        }
        let lock = Lock::beside(&path, self.lock_wait)?;
        if self.current(&path)?.is_none_or(|current| current.etag != *etag) {
            return Ok(false);
        }
        fs::remove_file(&path).map_err(|error| failed("delete", &path, &error))?;
        lock.remove();
        self.settle()?;
        Ok(true)
    }

    /// Returns the present value for a writer. A file that cannot be read is an error for a writer, because a writer
    /// must not replace an unknown value.
    fn current(&self, path: &Path) -> Result<Option<Versioned>, StoreError> {
        read(path).map_err(|error| match failed("read", path, &error) {
            transient if self.concerns_all(&error) => transient,
            lasting => StoreError::refused(lasting.to_string()),
        })
    }

    pub(super) fn list(&self) -> Result<Vec<String>, StoreError> {
        let files = self.entries().map_err(|error| failed("read", &self.path, &error))?;
        let mut names: Vec<_> = files.iter().filter_map(|(stem, _)| self.name(stem)).collect();
        names.sort();
        Ok(names)
    }

    /// Returns the names after `after` whose files were last replaced before the time `before`. The names are sorted by
    /// their bytes, and at most the first 256 are returned.
    pub(super) fn unwritten_since(&self, before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        let files = self.files().map_err(|error| failed("read", &self.path, &error))?;
        let is_old = |metadata: &fs::Metadata| metadata.modified().is_ok_and(|at| Timestamp::from(at) < before);
        let old = files.iter().filter(|(_, metadata)| is_old(metadata));
        let mut names: Vec<_> =
            old.filter_map(|(stem, _)| self.name(stem)).filter(|name| name.as_str() > after).collect();
        names.sort_unstable();
        names.truncate(256);
        Ok(names)
    }

    /// For each record file, returns the name without the extension, and returns the metadata. Links are left out,
    /// because the store does not follow links.
    pub(super) fn files(&self) -> io::Result<Vec<(String, fs::Metadata)>> {
        let mut files = self.entries()?;
        files.retain(|(_, metadata)| metadata.is_file());
        Ok(files)
    }

    /// Returns the files, links and folders that have the names of record files. The files of other programs are left
    /// out.
    fn entries(&self) -> io::Result<Vec<(String, fs::Metadata)>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let file = entry.file_name();
            let stem = file.to_str().and_then(|file| file.strip_suffix(".json")).filter(|stem| is_stem(stem));
            let Some(stem) = stem else { continue };
            // A file that was deleted in the meantime is left out.
            files.extend(entry.metadata().ok().map(|metadata| (stem.to_owned(), metadata)));
        }
        Ok(files)
    }

    /// Returns the name of the circuit that a file belongs to. A file name holds only the beginning of a long circuit
    /// name, so a long name is read from the record. Returns `None` if this crate did not write the file, or if the
    /// file cannot be read.
    pub(super) fn name(&self, stem: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            service: String,
        }
        if !is_cut(stem) {
            return unescape(stem);
        }
        let found = read(&self.path.join(format!("{stem}.json"))).ok()??;
        let named: Named = serde_json::from_slice(&found.bytes).ok()?;
        Some(named.service).filter(|name| escape(name) == stem)
    }

    /// Creates the folder if it is missing.
    pub(super) fn make(&self) -> Result<(), StoreError> {
        if self.path.is_dir() {
            self.warn_of_other_writers();
            return Ok(());
        }
        disk::create_folder(&self.path).map_err(|error| failed("create", &self.path, &error))?;
        let parent = disk::folder_of(&self.path);
        disk::synchronise(parent).map_err(|error| failed("synchronise", parent, &error))
    }

    /// Replaces the file, so that readers find either the old or the new content. The caller holds the lock. If `keep`
    /// is true, the old content is kept as a copy, and readers find no file for a moment.
    fn replace(&self, path: &Path, bytes: &[u8], keep: bool) -> Result<(), StoreError> {
        // Relaxed, because the number publishes no other data.
        let number = self.shared.temporaries.fetch_add(1, Relaxed);
        if number == 0 {
            self.sweep();
        }
        let temporary = temporary(path, self.shared.random, number);
        let written = disk::create(&temporary, OpenOptions::new().write(true)).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let done = written.map_err(|error| failed("write", &temporary, &error)).and_then(|()| {
            if keep {
                self.set_aside(path)?;
            }
            fs::rename(&temporary, path).map_err(|error| failed("replace", path, &error))
        });
        if done.is_err() {
            // If this removal fails, a later sweep deletes the file.
            fs::remove_file(&temporary).ok();
        }
        done.and_then(|()| self.settle())
    }

    /// Renames a file whose content is no record of its circuit, so that the content is kept as a copy. Readers find no
    /// file until the caller has renamed the new file into place. This does no harm, because a circuit treats a missing
    /// record and an unusable record alike.
    fn set_aside(&self, path: &Path) -> Result<(), StoreError> {
        let copy = with_suffix(path, ".corrupt");
        fs::rename(path, &copy).map_err(|error| failed("set aside", path, &error))?;
        if let Some(more) = self.line(NO_RECORD) {
            let (path, copy) = (path.display(), copy.display());
            warn(format_args!("`{path}` was no record of its circuit; it is kept as `{copy}`{more}"));
        }
        Ok(())
    }

    /// Deletes temporary files that are older than a minute, because only killed writers leave such files. A write that
    /// takes longer than a minute can lose its temporary file. Then the write fails, and the caller repeats it.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let is_ours = file.to_str().is_some_and(is_temporary) && entry.file_type().is_ok_and(|kind| kind.is_file());
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            if is_ours && host_time().since(Timestamp::from(modified)) > Duration::from_secs(60) {
                fs::remove_file(entry.path()).ok();
            }
        }
    }

    /// Synchronises the folder, so that a rename or a deletion survives a power cut.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        // The change was made but may not be on the disk yet. Therefore the result is unknown, as after a timeout.
        disk::synchronise(&self.path)
            .map_err(|error| StoreError::timed_out(failed("synchronise", &self.path, &error).to_string()))
    }
}

/// Reads a file. If the file is too long for a record, only its beginning is read. The etag is then computed from this
/// beginning and the length of the file.
fn read(path: &Path) -> io::Result<Option<Versioned>> {
    let file = match disk::open(path, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let (length, longest) = (file.metadata()?.len(), CircuitRecord::MAX_BYTES as u64);
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    let etag = if length > longest { Etag::new(format!("{length}:{}", etag(&bytes).as_str())) } else { etag(&bytes) };
    Ok(Some(Versioned { bytes, etag }))
}

fn etag(bytes: &[u8]) -> Etag {
    Etag::new(sha256([bytes]))
}

/// The subjects of log lines, by their index in [`FolderState::lines`].
const UNREADABLE: usize = 0;
const NO_RECORD: usize = 1;
