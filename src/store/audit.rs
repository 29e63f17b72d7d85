//! The audit, which is the history of circuits: one row for each transition and each act of an operator.
//!
//! Rows are texts and numbers without further structure, so that a person can read them in a table, and a store needs
//! no knowledge of circuits.

use serde::{Deserialize, Serialize};

use crate::record::Timestamp;

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "stores make them, and a row is made of all its parts")]
pub struct AuditRow {
    /// The id of the row, at most 64 bytes. A store keeps one row for each id, so that a row can be appended again
    /// after a lost answer. An id is the start of an instance and a number that increases there, or for an order a hash
    /// of circuit and order.
    pub id: String,
    /// The name of the circuit.
    pub service: String,
    /// The change. Operators cause `trip`, `reset`, `disable`, `resume`, `shadow` and `forget`. The circuit itself
    /// causes `opened`, `half_opened`, `closed` and `released`, which is the end of a hold. `superseded` and `expired`
    /// are acts that had no effect elsewhere, and `missing` counts rows that were lost.
    pub action: String,
    /// The reason.
    pub reason: String,
    /// The operator, or `None` for a change of the circuit itself.
    pub user: Option<String>,
    /// The time of the change, by the clock of the store as far as that clock was known.
    pub timestamp: Timestamp,
    /// The generation of the record at the time of the change.
    pub generation: u64,
    /// The instance on which the change happened.
    pub instance: String,
}

/// A filter for the rows of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFilter {
    /// Returns only rows of this circuit. `None` returns the rows of all circuits.
    pub service: Option<String>,
    /// Returns only acts of this operator.
    pub user: Option<String>,
    /// Returns only rows of this time or later.
    pub since: Option<Timestamp>,
    /// The largest number of rows. The newest are returned. Default: 100.
    pub limit: usize,
}

impl AuditFilter {
    /// Creates a filter that passes the newest 100 rows of all circuits.
    #[must_use]
    pub const fn new() -> Self {
        Self { service: None, user: None, since: None, limit: 100 }
    }

    /// Passes only rows of this circuit.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.service = Some(name.to_owned());
        self
    }

    /// Passes only acts of this operator.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Passes only rows of this time or later.
    #[must_use]
    pub const fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Passes at most this number of rows, which are the newest.
    #[must_use]
    pub const fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Returns true if the row passes. The limit is not checked, because it applies to all rows together.
    #[must_use]
    pub fn passes(&self, row: &AuditRow) -> bool {
        self.service.as_ref().is_none_or(|service| *service == row.service)
            && self.user.as_ref().is_none_or(|user| row.user.as_ref() == Some(user))
            && self.since.is_none_or(|since| row.timestamp >= since)
    }
}

impl Default for AuditFilter {
    fn default() -> Self {
        Self::new()
    }
}
