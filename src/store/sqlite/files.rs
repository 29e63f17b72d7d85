//! The files of a database, which are the database itself and the files that SQLite keeps beside it.
//!
//! This module never opens a file that a connection may have open. On unix, a process loses all its locks on a file
//! when it closes any handle of the file. Therefore a second handle would break SQLite's locks.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::random;
use crate::store::disk::{self, Identity};

/// The identities (device and inode numbers) of the files at the path of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Files {
    database: Option<Identity>,
    log: Option<Identity>,
    index: Option<Identity>,
}

impl Files {
    /// Returns the identities of the files of the database at `path`. A missing file has the identity `None`.
    ///
    /// # Errors
    ///
    /// If one of the files is a link, a folder, a pipe or a device, or cannot be examined.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        regular(&beside(path, "-journal"))?;
        Ok(Self { database: regular(path)?, log: regular(&beside(path, LOG))?, index: regular(&beside(path, INDEX))? })
    }

    /// Returns true if the files in `open`, on which a connection was opened, were replaced or deleted. `self` has the
    /// present files. A log that SQLite has created since the connection was opened makes no difference.
    pub(super) fn is_of_another(&self, open: &Self) -> bool {
        !self.has_database_of(open) || open.log.is_some() && self.log != open.log
    }

    /// Returns true if `self` and `other` have the same database file.
    pub(super) fn has_database_of(&self, other: &Self) -> bool {
        self.database == other.database
    }

    /// Renames the log and the index of the old database, after the old database was replaced or deleted. Otherwise
    /// SQLite would read the changes in the old log into the new database. `self` has the old files, and `now` has the
    /// present files.
    ///
    /// The log is kept under another name, because it can hold the last changes of the old database. Another process
    /// may have renamed the old log already, and created a log for the new database. This log has another identity, and
    /// keeps its name.
    pub(super) fn set_aside(&self, path: &Path, now: &Self) {
        if now.has_database_of(self) {
            return;
        }
        for (suffix, old, present) in [(LOG, self.log, now.log), (INDEX, self.index, now.index)] {
            if old.is_some() && old == present {
                let file = beside(path, suffix);
                fs::rename(&file, beside(&file, ".old")).ok();
            }
        }
    }
}

/// Creates an empty database file, and its folder if necessary. The folder determines the owner and the mode of the
/// file ([`disk`]). Does nothing if the file exists.
///
/// The file is created and closed under a temporary name, and then gets its name by a hard link. Therefore this
/// function has closed its handle before SQLite can open the file.
pub(super) fn create(path: &Path) -> io::Result<()> {
    disk::create_folder(disk::folder_of(path))?;
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let temporary = beside(path, &format!(".{:016x}.tmp", random::bits()));
    drop(disk::create(&temporary, OpenOptions::new().write(true))?);
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).ok();
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no hard links.
        Err(_) => match disk::create(path, OpenOptions::new().write(true)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            created => created.map(drop),
        },
        Ok(()) => Ok(()),
    }
}

fn regular(path: &Path) -> io::Result<Option<Identity>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(metadata) => match disk::check(&metadata) {
            Ok(()) => Ok(Some(Identity::of(&metadata))),
            Err(error) => Err(io::Error::new(error.kind(), format!("`{}` is {error}", path.display()))),
        },
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The suffix of the write-ahead log.
const LOG: &str = "-wal";
/// The suffix of the index of the write-ahead log. The connections share this index.
const INDEX: &str = "-shm";
