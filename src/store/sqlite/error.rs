//! What SQLite's errors mean.

use std::path::Path;

use sqlx::error::DatabaseError;

use crate::store::{StoreError, StoreErrorKind};

/// Returns the error of a store in that file.
#[expect(clippy::wildcard_enum_match_arm, reason = "what sqlx adds is no decision of ours")]
pub(super) fn meaning(error: &sqlx::Error, path: &Path) -> StoreError {
    let file = path.display();
    match error {
        sqlx::Error::Database(error) => {
            let code = code(&**error);
            let (kind, what) = primary(code);
            StoreError::new(kind, format!("`{file}` {what}: {} (SQLite code {code})", error.message()))
        }
        sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) => {
            StoreError::refused(format!("`{file}` cannot be opened: {error}"))
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::new(
            StoreErrorKind::Corrupt,
            format!("`{file}` holds what was not written by this crate: {error}"),
        ),
        _ => StoreError::unavailable(format!("`{file}` cannot be used: {error}")),
    }
}

/// Returns whether somebody else holds the lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(code(&**error) & 0xff, BUSY | LOCKED))
}

fn code(error: &dyn DatabaseError) -> u32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The low byte of a result code says what is wrong, the rest only says it more exactly.
fn primary(code: u32) -> (StoreErrorKind, &'static str) {
    match code & 0xff {
        BUSY | LOCKED => (StoreErrorKind::Unavailable, "is locked by another process"),
        PERM | READONLY | AUTH => (StoreErrorKind::Refused, "cannot be written"),
        // Space can be freed, a volume mounted and a folder's rights corrected.
        FULL => (StoreErrorKind::Unavailable, "does not fit on its disk"),
        CANTOPEN => (StoreErrorKind::Unavailable, "cannot be opened"),
        NOMEM | INTERRUPT | IOERR | PROTOCOL => (StoreErrorKind::Unavailable, "cannot be read or written"),
        CORRUPT | NOTADB => (StoreErrorKind::Corrupt, "is not a sound database"),
        _ => (StoreErrorKind::Refused, "refuses the statement"),
    }
}

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
