//! What is told of restoring, of shutting down, and of the store.

use std::collections::BTreeMap;
use std::fmt;

use crate::state::{Standing, State};

/// What a restore found for one circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restored {
    /// Not asked yet, or the store did not answer.
    Waiting,
    /// The store has nothing of it.
    Absent,
    /// What the store has cannot be used; a warning says why.
    Corrupt,
    /// It was taken over.
    #[non_exhaustive]
    From {
        /// The store, or the tier of it.
        store: &'static str,
        /// Whose state it was.
        whose: Recovered,
        /// What the circuit has become.
        standing: Standing,
    },
    /// It was there, but this instance had already made a transition of its own.
    Outrun,
}

/// Whose state was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// This instance's own, with its evidence.
    Own,
    /// The one that was published last.
    Published,
}

/// What a restore found, for each circuit of the registry by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it says which circuits could not be restored"]
pub struct RestoreReport {
    /// What was found.
    pub circuits: BTreeMap<String, Restored>,
    /// Why the store could not be asked, if it could not.
    pub error: Option<String>,
}

impl RestoreReport {
    /// Returns whether the store has answered for every circuit.
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

/// What a shutdown could not write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
#[must_use = "it says what is lost"]
pub struct ShutdownReport {
    /// The circuits whose last change the store does not have.
    pub unsaved: Vec<String>,
    /// How many rows of the audit it does not have.
    pub audit_rows: usize,
}

impl ShutdownReport {
    /// Returns whether everything was written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unsaved.is_empty() && self.audit_rows == 0
    }
}

/// The store as the coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStatus {
    /// What it is called in metrics and logs.
    pub store: &'static str,
    /// Whether the background task runs.
    pub running: bool,
    /// How often it has died of a panic; the next `restore` starts it again.
    pub deaths: u64,
    /// Whether the last operation succeeded.
    pub up: bool,
    /// Why not.
    pub last_error: Option<String>,
    /// How many circuits have a change that the store does not have yet.
    pub unsaved: usize,
    /// How many rows of the audit it does not have yet.
    pub audit_rows: usize,
    /// The id of this instance: another one was taken if the one asked for is in use.
    pub instance: String,
}
