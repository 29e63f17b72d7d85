//! What PostgreSQL's errors mean.

use crate::store::{StoreError, StoreErrorKind};

#[expect(clippy::wildcard_enum_match_arm, reason = "what sqlx adds is no decision of ours")]
pub(super) fn meaning(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => {
            let state = error.code().unwrap_or_default();
            StoreError::new(kind(&state), format!("the database says: {} (SQLSTATE {state})", error.message()))
        }
        sqlx::Error::Io(error) => StoreError::unavailable(format!("the database cannot be reached: {error}")),
        sqlx::Error::Tls(error) => StoreError::refused(format!("TLS with the database failed: {error}")),
        sqlx::Error::Configuration(error) => StoreError::refused(format!("the database's address is wrong: {error}")),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            StoreError::new(StoreErrorKind::Corrupt, format!("a row was not written by this crate: {error}"))
        }
        _ => StoreError::unavailable(format!("the database cannot be used: {error}")),
    }
}

/// Returns whether a table or a column is missing.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(error.code().as_deref(), Some("42P01" | "42703")))
}

/// Returns whether a parameter of the connection was refused, as poolers do.
pub(super) fn is_unknown_parameter(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("08P01"))
}

/// By <https://www.postgresql.org/docs/current/errcodes-appendix.html>: what passes by itself is not refused.
fn kind(state: &str) -> StoreErrorKind {
    match (state.get(..2).unwrap_or_default(), state) {
        // A statement or lock timeout. It was undone, but who asked may ask again at once.
        (_, "57014" | "55P03") => StoreErrorKind::TimedOut,
        // Written to a standby: after a failover the next connection finds the new primary.
        (_, "25006" | "57P01" | "57P02" | "57P03" | "57P05") => StoreErrorKind::Unavailable,
        // A broken connection; a conflict of transactions; no memory, disk or connection left; an error of the system.
        ("08" | "40" | "53" | "58", _) => StoreErrorKind::Unavailable,
        ("XX", "XX001" | "XX002") => StoreErrorKind::Corrupt,
        // The transaction outlived its idle limit: the client was too slow.
        ("25", "25P03") => StoreErrorKind::TimedOut,
        _ => StoreErrorKind::Refused,
    }
}
