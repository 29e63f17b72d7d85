//! The reports of a restore and of a shutdown, and the status of the store. Their sentences are in
//! `report/text.rs`.

mod text;

use std::collections::BTreeMap;

use crate::circuit::NextCall;
use crate::state::Standing;
use crate::store::StoreErrorKind;

/// The result of the restore of one circuit. Its `Display` is a phrase, such as `restored from sqlite: open`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restored {
    /// The circuit is not restored yet, because the store has not been queried or has not answered.
    Waiting,
    /// The store has no record of the circuit, or the record has only entries of other instances.
    Absent,
    /// The stored record cannot be used. A warning in the log states the reason.
    Corrupt,
    /// The circuit was restored.
    #[non_exhaustive]
    From {
        /// The name of the store that had the record. In a tiered store, the name of the tier.
        store: &'static str,
        /// The source of the restored state.
        whose: Recovered,
        /// The state and mode of the circuit after the restore.
        standing: Standing,
        /// The answer to the first call after the restore. An open circuit whose open duration had passed
        /// admits this call as a probe.
        next_call: NextCall,
        /// The operator who holds the circuit open, disabled or in shadow. `None` if no operator holds the
        /// circuit.
        held_by: Option<String>,
    },
    /// The store has a record, but the circuit had already made a transition in this process. The circuit keeps its
    /// newer state.
    Outrun,
}

/// The source of a restored state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// The state that this instance wrote. Its counts of calls and failures are restored too, if they are recent.
    Own,
    /// The published state, or the decision of the fleet. The record has no entry of this instance, or only an entry
    /// that is older than the decision.
    Published,
}

/// The result of a restore, for each circuit of the registry by name.
///
/// Its `Display` is one sentence for a log, such as `3 restored: 1 open, 1 held open by operator-1, 1
/// closed`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
#[must_use = "the report lists the circuits that could not be restored"]
pub struct RestoreReport {
    /// The result for each circuit, by the name of the circuit.
    pub circuits: BTreeMap<String, Restored>,
    /// The prefixes of the layers whose keyed circuits are not restored yet, because the store has not been
    /// queried or has not answered.
    pub keyed_waiting: Vec<String>,
    /// The number of keyed circuits that are not closed in the store, but were not created. There was no room for them,
    /// or the template refused them. Such a circuit is restored at the first call of its key.
    pub left_out: usize,
    /// The last error of the store, if a circuit is not restored yet.
    pub error: Option<String>,
    /// True if the registry has no store, so that nothing can be restored.
    pub without_store: bool,
}

impl RestoreReport {
    /// Returns true if the store has answered for every circuit and for every layer of keyed circuits.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.keyed_waiting.is_empty() && self.circuits.values().all(|restored| *restored != Restored::Waiting)
    }
}

/// The changes that a shutdown could not write.
///
/// Its `Display` is one sentence for a log. The sentence names circuits with unwritten changes and the number of
/// unwritten audit rows, or reports that everything is saved. For a registry that has no store or was never started,
/// the sentence states this fact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
#[must_use = "the report lists the changes that are lost"]
pub struct ShutdownReport {
    /// The circuits whose last change is not in the store, sorted by name.
    pub unsaved: Vec<String>,
    /// The number of audit rows that are not in the store.
    pub audit_rows: usize,
    /// True if the registry has no store, so that nothing was written.
    pub without_store: bool,
    /// True if the registry has a store and was never started, so that nothing was restored or written. Call
    /// [`Registry::restore`](crate::Registry::restore) or [`Registry::start`](crate::Registry::start) after the
    /// circuits are created.
    pub never_started: bool,
}

impl ShutdownReport {
    /// Returns true if all changes were written, or if there is no store. Returns false if the registry was never
    /// started.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unsaved.is_empty() && self.audit_rows == 0 && !self.never_started
    }
}

/// The state of the connection to the store, as the background task observes it.
///
/// Its `Display` is one sentence, which the admin page shows, such as `the store redis answers, and has every
/// change`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStatus {
    /// The name of the store in metrics and logs.
    pub store: &'static str,
    /// True if the background task runs.
    pub running: bool,
    /// The number of panics of the background task. The next [`restore`](crate::Registry::restore) starts the
    /// task again.
    pub deaths: u64,
    /// True if the store has answered the last load, write or deletion of a record. A refused write counts as an
    /// answer. False before the first answer.
    pub up: bool,
    /// The last error of the store. The error is cleared when a store that was down answers again. After a failed
    /// write, only a write that succeeds clears the error.
    ///
    /// The text comes from the store, and can contain its address, a role or a path. Therefore show the text only to
    /// operators, and the [kind](Self::last_error_kind) to all other readers.
    pub last_error: Option<String>,
    /// The kind of the last error of the store.
    pub last_error_kind: Option<StoreErrorKind>,
    /// The number of circuits with a change that the store does not have yet. If the number is zero, a restart at this
    /// moment restores the same states.
    ///
    /// A transition or an act is included immediately. The task reads the counters of each circuit every second. A
    /// failed call is included from the next such read until the task has written the counters. While the store
    /// answers, this write follows within 18 s. In a [`TieredStore`](crate::store::TieredStore) a change is no longer
    /// included once one tier has it, usually the fast tier. The durable tier may not have the change yet.
    pub unsaved: usize,
    /// The number of audit rows that the store does not have yet.
    pub audit_rows: usize,
    /// The number of audit rows that were lost since the registry was built, because too many rows waited for the
    /// store. A row with the action `missing` reports the rows that were lost since the previous report.
    pub audit_lost: u64,
    /// The number of audit rows that were given up since the registry was built, because the store refused them. A row
    /// with the action `missing` names one of the refused rows.
    pub audit_refused: u64,
    /// The id of this instance. If another running instance uses the configured id, this instance uses a different id.
    pub instance: String,
}
