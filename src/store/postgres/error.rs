//! The classification of PostgreSQL's errors as transient or lasting, with a sentence for the log.
//!
//! The SQLSTATE decides, because the texts of the errors depend on the language of the server.

use crate::store::{StoreError, StoreErrorKind};

#[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add errors, which are unavailability")]
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

/// Returns true if the error says that a table or a column is missing.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(error.code().as_deref(), Some("42P01" | "42703")))
}

/// Returns true if the server or a pooler has refused a parameter of the connection. Poolers refuse parameters that
/// they do not know.
pub(super) fn is_unknown_parameter(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("08P01"))
}

/// Returns the kind of error for an SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). A
/// transient condition is never `Refused`, because the coordinator repeats a refused write much later than other
/// writes.
fn kind(state: &str) -> StoreErrorKind {
    match (state.get(..2).unwrap_or_default(), state) {
        // A timeout of a statement or a lock. The statement was rolled back, so it may be repeated at once.
        (_, "57014" | "55P03") => StoreErrorKind::TimedOut,
        // The server is a standby, is starting or shutting down, or has closed an idle connection. After a failover the
        // next connection finds the new primary.
        (_, "25006" | "57P01" | "57P02" | "57P03" | "57P05") => StoreErrorKind::Unavailable,
        // A broken connection, a conflict of transactions, a lack of memory, disk space or connections, or an error of
        // the system.
        ("08" | "40" | "53" | "58", _) => StoreErrorKind::Unavailable,
        ("XX", "XX001" | "XX002") => StoreErrorKind::Corrupt,
        // The transaction exceeded its idle limit, because the client was too slow.
        ("25", "25P03") => StoreErrorKind::TimedOut,
        _ => StoreErrorKind::Refused,
    }
}
