//! The advisory lock between processes, and the kinds of errors of the disk.
//!
//! The lock is a separate file beside the protected file. A lock on the protected file itself would not survive the
//! rename that replaces that file. A lock is valid only if the locked file is still at its path. Otherwise two
//! processes could hold the lock at the same time, one on a deleted lock file and one on a new lock file. The lock file
//! is deleted together with the record, by the holder of the lock. Otherwise keyed circuits, whose keys the senders of
//! requests may choose, would leave more and more lock files.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::disk::{self, Identity};
use crate::store::{StoreError, StoreErrorKind};

/// A held lock. Dropping the value unlocks the file.
#[derive(Debug)]
#[must_use = "the file is unlocked when the lock is dropped"]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Locks the lock file beside `path`. Fails with `Unavailable` if another process keeps the lock for longer than
    /// about `wait`.
    pub(super) fn beside(path: &Path, wait: Duration) -> Result<Self, StoreError> {
        let path = with_suffix(path, ".lock");
        // std has no lock with a time limit. Therefore the lock is polled, with pauses that grow from 1 ms to 20 ms.
        let (mut waited, mut pause) = (Duration::ZERO, Duration::from_millis(1));
        loop {
            // The file is opened each time, because another program may have deleted the file or replaced the folder.
            let open = disk::open_or_create(&path, OpenOptions::new().read(true).write(true));
            let file = open.map_err(|error| failed("open", &path, &error))?;
            let (obstacle, limit) = match file.try_lock() {
                Ok(()) if is_at(&file, &path).map_err(|error| failed("lock", &path, &error))? => {
                    return Ok(Self { file, path });
                }
                // The previous holder of the lock has deleted the file. The next iteration of the loop opens or creates
                // a new file.
                Ok(()) => ("is replaced again and again", wait * 2),
                Err(TryLockError::Error(error)) => return Err(failed("lock", &path, &error)),
                Err(TryLockError::WouldBlock) => ("is locked by another process", wait),
            };
            if waited >= limit {
                let path = path.display();
                return Err(StoreError::unavailable(format!("`{path}` {obstacle}, for {waited:?} at least")));
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Lock {
    /// Deletes the lock file and unlocks it. A process that waits for the lock notices that the file is gone, and locks
    /// a new file. On systems without inodes the file stays, because a process could not notice that the file is gone.
    pub(super) fn remove(self) {
        if cfg!(unix) {
            // A lock file that stays does no harm.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Returns true if the path leads to the open file. Without this check, another process could lock a new file at the
/// path while this process has a lock on the old file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(Identity::at(path)? == Some(Identity::of(&file.metadata()?)))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough. A child process that is just starting may share the open file for a moment
        // and keep the lock.
        self.file.unlock().ok();
    }
}

/// Returns the path with a suffix.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Returns the error of an operation on the disk, with the path.
pub(super) fn failed(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::new(kind(error), format!("cannot {verb} `{}`: {error}", path.display()))
}

fn kind(error: &io::Error) -> StoreErrorKind {
    use io::ErrorKind;
    let refused = matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::Unsupported
    );
    // All other errors may disappear later. For example, an operator can free space on a full disk.
    if refused { StoreErrorKind::Refused } else { StoreErrorKind::Unavailable }
}
