//! The advisory lock in a file of its own, and what an error of the disk means.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::{StoreError, StoreErrorKind};

/// Holds the lock until it is dropped.
///
/// Never on the file that it protects: a rename replaces that, and a lock with it. The lock's own file stays, because deleting
/// it would let two hold it.
#[derive(Debug)]
#[must_use = "dropped, it is unlocked"]
pub(super) struct Lock(File);

impl Lock {
    /// Locks what stands beside that path, or fails with `Unavailable` after about `wait`.
    pub(super) fn beside(path: &Path, wait: Duration) -> Result<Self, StoreError> {
        let path = with_suffix(path, ".lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|error| failed("open", &path, &error))?;
        let (mut waited, mut pause) = (Duration::ZERO, Duration::from_millis(1));
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(failed("lock", &path, &error)),
                Err(TryLockError::WouldBlock) if waited >= wait => {
                    return Err(StoreError::unavailable(format!(
                        "`{}` is locked by another process, for {waited:?} at least",
                        path.display()
                    )));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to the closing: a process that is being started may still share the file for a moment.
        self.0.unlock().ok();
    }
}

/// Returns the path with something behind it.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Returns the error of a disk, which names the path.
pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::new(kind(error), format!("cannot {what} `{}`: {error}", path.display()))
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
    // A full disk is emptied, and a file that is too long becomes shorter.
    if refused { StoreErrorKind::Refused } else { StoreErrorKind::Unavailable }
}
