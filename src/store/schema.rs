//! The definitions of the tables of the SQL stores, and a check that a database has these tables.
//!
//! This crate has no migration tool, because such a tool could conflict with the migration tool of the application. The
//! definitions are idempotent, so that a store can run them at each start. The files in `docs/schema/` hold the same
//! definitions. An application that manages its database by migrations copies these files, and uses
//! [`SchemaMode::Verify`].

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use super::StoreError;
pub use crate::keep::SchemaMode;

/// The definitions of the tables in PostgreSQL, from `docs/schema/postgres.sql`.
#[cfg(feature = "postgres")]
pub const POSTGRES: &str = include_str!("../../docs/schema/postgres.sql");

/// The definitions of the tables in SQLite, from `docs/schema/sqlite.sql`.
#[cfg(feature = "sqlite")]
pub const SQLITE: &str = include_str!("../../docs/schema/sqlite.sql");

/// A table and the columns that the statements of the stores need.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    columns: &'static [&'static str],
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl Table {
    /// Returns an error if the table lacks a needed column. `found` has the names of the present columns, and is empty
    /// if the table does not exist.
    pub(super) fn verify(&self, found: &[String], place: &str) -> Result<(), StoreError> {
        if found.is_empty() {
            return Err(StoreError::refused(format!("{place} has no table `{}`", self.name)));
        }
        match self.columns.iter().find(|column| !found.iter().any(|found| found == *column)) {
            Some(column) => {
                Err(StoreError::refused(format!("the table `{}` in {place} has no column `{column}`", self.name)))
            }
            None => Ok(()),
        }
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) const TABLES: [Table; 2] = [
    Table {
        name: "circuit_breaker_states",
        columns: &[
            "service",
            "state",
            "failures",
            "successes",
            "last_failure_at",
            "last_state_change",
            "total_failures",
            "total_successes",
            "updated_at",
            "generation",
            "etag",
            "record",
        ],
    },
    Table {
        name: "circuit_breaker_audit",
        columns: &["number", "id", "service", "action", "reason", "user", "timestamp", "generation", "instance"],
    },
];
