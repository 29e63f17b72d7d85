//! The conversion of SQLite's errors into errors of the store. An error of the store names the file, and has a kind
//! that says if the failure is transient or lasting.
//!
//! SQLite's result code determines the kind. The texts of the errors are for people, and may change.

use std::io::{self, ErrorKind};
use std::path::Path;

use sqlx::error::DatabaseError;

use crate::store::{StoreError, StoreErrorKind};

/// Returns the store's error for an error of SQLite.
#[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add errors, which are unavailability")]
pub(super) fn meaning(error: &sqlx::Error, path: &Path) -> StoreError {
    let file = path.display();
    match error {
        sqlx::Error::Database(error) => {
            let code = code(&**error);
            let (kind, problem) = match primary(code) {
                (kind, _) if code & 0xff == CANTOPEN && path.exists() => {
                    (kind, "cannot be opened, although the file is there; does this user have the right to read it?")
                }
                meaning => meaning,
            };
            StoreError::new(kind, format!("`{file}` {problem}: {} (SQLite code {code})", error.message()))
        }
        sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) => {
            StoreError::refused(format!("`{file}` cannot be opened: {error}"))
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::new(
            StoreErrorKind::Corrupt,
            format!("`{file}` holds a value that this crate did not write: {error}"),
        ),
        _ => StoreError::unavailable(format!("`{file}` cannot be used: {error}")),
    }
}

/// Returns the store's error for an error of the disk.
pub(super) fn of_disk(error: &io::Error, path: &Path) -> StoreError {
    let problem = format!("`{}` cannot be used: {error}", path.display());
    let lasts = matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidInput
    );
    if lasts { StoreError::refused(problem) } else { StoreError::unavailable(problem) }
}

/// Returns true if the operation failed because another connection holds the lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(code(&**error) & 0xff, BUSY | LOCKED))
}

fn code(error: &dyn DatabaseError) -> u32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Returns the kind of error for a result code, and the words that describe the problem to people. The low byte of the
/// code is the error, and the other bytes only add detail.
fn primary(code: u32) -> (StoreErrorKind, &'static str) {
    match code & 0xff {
        // SQLite must create or repair the log (`-wal`) or its index (`-shm`) before it can read, but this user has no
        // right to write.
        READONLY if NEEDS_INDEX.contains(&code) => (
            StoreErrorKind::Refused,
            "cannot be read, because its `-wal` or `-shm` file is missing and this user may not create it; start a \
             process that writes, or add `?mode=ro&immutable=true` to the address if no process writes",
        ),
        INTERRUPT => (StoreErrorKind::Unavailable, "did not answer before the operation was given up"),
        BUSY | LOCKED => (StoreErrorKind::Unavailable, "is locked by another process"),
        PERM | READONLY | AUTH => (StoreErrorKind::Refused, "cannot be written"),
        // The errors in the next three arms may be transient. Space can be freed, a volume can be mounted, and the
        // rights of a folder can be corrected.
        FULL => (StoreErrorKind::Unavailable, "does not fit on its disk"),
        CANTOPEN => (StoreErrorKind::Unavailable, "cannot be opened"),
        NOMEM | IOERR | PROTOCOL => (StoreErrorKind::Unavailable, "cannot be read or written"),
        CORRUPT | NOTADB => (StoreErrorKind::Corrupt, "is not a sound database"),
        _ => (StoreErrorKind::Refused, "refuses the statement"),
    }
}

/// The result codes of a read that fails because SQLite cannot create or repair the log or its index:
/// `SQLITE_READONLY_RECOVERY`, `SQLITE_READONLY_CANTLOCK`, `SQLITE_READONLY_CANTINIT` and `SQLITE_READONLY_DIRECTORY`.
const NEEDS_INDEX: [u32; 4] = [264, 520, 1288, 1544];
// https://www.sqlite.org/rescode.html
const PERM: u32 = 3;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const NOMEM: u32 = 7;
const READONLY: u32 = 8;
const INTERRUPT: u32 = 9;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const PROTOCOL: u32 = 15;
const AUTH: u32 = 23;
const NOTADB: u32 = 26;
