//! The reports of a restore, of a shutdown, and of the store.

use std::collections::BTreeMap;
use std::fmt;

use crate::state::{Standing, State};

/// The result of the restore of one circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restored {
    /// The circuit is not restored yet, because the store was not queried or did not answer.
    Waiting,
    /// The store has no record of the circuit.
    Absent,
    /// The stored record cannot be used. A warning in the log has the reason.
    Corrupt,
    /// The circuit was restored.
    #[non_exhaustive]
    From {
        /// The store, or the tier of a tiered store, that had the record.
        store: &'static str,
        /// The source of the state.
        whose: Recovered,
        /// The state and mode of the circuit after the restore.
        standing: Standing,
    },
    /// The store has a record, but the circuit had already made a transition in this process. The newer state of the
    /// circuit was kept.
    Outrun,
}

/// The source of a restored state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// The entry of this instance, with its evidence.
    Own,
    /// The state that any instance published last.
    Published,
}

/// The result of a restore, for each circuit of the registry by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the report lists the circuits that could not be restored"]
pub struct RestoreReport {
    /// The results by the name of the circuit.
    pub circuits: BTreeMap<String, Restored>,
    /// The last error of the store, if a circuit is not restored yet.
    pub error: Option<String>,
}

impl RestoreReport {
    /// Returns true if the store has answered for every circuit.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.circuits.values().all(|restored| *restored != Restored::Waiting)
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |which: fn(&Restored) -> bool| self.circuits.values().filter(|restored| which(restored)).count();
        let from = count(|restored| matches!(restored, Restored::From { .. }));
        let open =
            |restored: &&Restored| matches!(restored, Restored::From { standing, .. } if standing.state == State::Open);
        write!(f, "{from} of {} circuits restored", self.circuits.len())?;
        write!(f, ", {} open", self.circuits.values().filter(open).count())?;
        let waiting = count(|restored| matches!(restored, Restored::Waiting));
        if waiting > 0 {
            write!(f, ", {waiting} still waiting")?;
        }
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// The changes that a shutdown could not write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
#[must_use = "the report lists the changes that are lost"]
pub struct ShutdownReport {
    /// The circuits whose last change the store does not have.
    pub unsaved: Vec<String>,
    /// The number of audit rows that the store does not have.
    pub audit_rows: usize,
}

impl ShutdownReport {
    /// Returns true if all changes were written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unsaved.is_empty() && self.audit_rows == 0
    }
}

/// The state of the store, as the coordinator observes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStatus {
    /// The name of the store in metrics and logs.
    pub store: &'static str,
    /// True if the background task runs.
    pub running: bool,
    /// The number of panics of the background task. The next `restore` starts the task again.
    pub deaths: u64,
    /// True if the last operation succeeded.
    pub up: bool,
    /// The last error. The error is cleared when a store that was down answers again.
    pub last_error: Option<String>,
    /// The number of circuits with a change that the store does not have yet.
    pub unsaved: usize,
    /// The number of audit rows that the store does not have yet.
    pub audit_rows: usize,
    /// The id of this instance. The id differs from the configured id if another running instance uses the configured
    /// id.
    pub instance: String,
}
