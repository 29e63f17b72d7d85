//! The history that is kept: transitions and the acts of operators, one row each.

use serde::{Deserialize, Serialize};

use crate::record::Timestamp;

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "stores make them, and a row is made of all its parts")]
pub struct AuditRow {
    /// Names the row, at most 64 bytes: the start of an instance and a number that grows there. It is kept once.
    pub id: String,
    /// The circuit.
    pub service: String,
    /// The change: `trip`, `reset`, `disable`, `resume`, `shadow`, `forget` of operators; `opened`, `half_opened`, `closed`, `released`
    /// of the circuit itself, where `released` is the end of a hold; `superseded`, `expired`, `missing` of the audit.
    pub action: String,
    /// Why.
    pub reason: String,
    /// Who, if it was an operator.
    pub user: Option<String>,
    /// When, by the store's clock as far as it was known.
    pub timestamp: Timestamp,
    /// The generation of the record when it happened.
    pub generation: u64,
    /// The instance on which it happened.
    pub instance: String,
}

/// Which rows of the audit to return.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFilter {
    /// Only those of that circuit.
    pub service: Option<String>,
    /// Only what that operator did.
    pub user: Option<String>,
    /// Only those that happened then or later.
    pub since: Option<Timestamp>,
    /// At most so many, the newest. Default: 100.
    pub limit: usize,
}

impl AuditFilter {
    /// Returns the filter that lets the newest 100 rows of all circuits pass.
    #[must_use]
    pub const fn new() -> Self {
        Self { service: None, user: None, since: None, limit: 100 }
    }

    /// Lets only rows of that circuit pass.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.service = Some(name.to_owned());
        self
    }

    /// Lets only rows of what that operator did pass.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Lets only rows pass that happened then or later.
    #[must_use]
    pub const fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Lets at most so many rows pass, the newest.
    #[must_use]
    pub const fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Returns whether the row passes, but for the limit.
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
