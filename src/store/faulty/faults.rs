//! The handle that switches the faults of a store and counts its operations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::store::StoreErrorKind;
use crate::sync::Mutex;

/// An operation of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// The operations `load_many` and `load_unwritten`.
    Load,
    /// The operation `compare_and_set`.
    CompareAndSet,
    /// The operation `delete`.
    Delete,
    /// The operations `list` and `unwritten_since`.
    List,
    /// The operation `watch`.
    Watch,
    /// The operation `append_audit`.
    AppendAudit,
    /// The operation `trim_audit`.
    TrimAudit,
    /// The operation `audit`.
    Audit,
}

impl Operation {
    /// Every operation.
    pub const ALL: &'static [Self] = &[
        Self::Load,
        Self::CompareAndSet,
        Self::Delete,
        Self::List,
        Self::Watch,
        Self::AppendAudit,
        Self::TrimAudit,
        Self::Audit,
    ];
    /// The operations that read records.
    pub const READS: &'static [Self] = &[Self::Load, Self::List];
    /// The operations that change records.
    pub const WRITES: &'static [Self] = &[Self::CompareAndSet, Self::Delete];
    /// The operations of the audit.
    pub const AUDIT: &'static [Self] = &[Self::AppendAudit, Self::TrimAudit, Self::Audit];

    /// Returns the name of the operation, which is the name of its method. For `Load` the name is `load_many`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load_many",
            Self::CompareAndSet => "compare_and_set",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Watch => "watch",
            Self::AppendAudit => "append_audit",
            Self::TrimAudit => "trim_audit",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A fault of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The operation fails with an error of this kind and has no effect.
    Fail(StoreErrorKind),
    /// The operation never ends, not even after [`Faults::heal`].
    Hang,
    /// The operation takes effect, but its answer is lost and the caller gets [`TimedOut`](StoreErrorKind::TimedOut).
    LoseReply,
    /// The operation fails with [`TimedOut`](StoreErrorKind::TimedOut) at once and takes effect after this time, like a
    /// write that is still on the network. For a read and for `trim_audit`, only the answer is lost.
    ApplyLater(Duration),
    /// `load_many` returns old values, like a replica that lags behind. A name gets the value that the last load before
    /// the fault returned. A name that was not loaded before the fault gets its present value at the first load, and
    /// the same value afterwards. The fault has no effect on other methods.
    Stale,
}

/// Switches the faults of a [`FaultyStore`](super::FaultyStore). Clones switch the same faults.
///
/// A fault applies to operations that begin after the fault was set.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Script>);

#[derive(Debug, Default)]
struct Script {
    plan: Mutex<Plan>,
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Plan {
    faults: BTreeMap<Operation, Fault>,
    /// The faults that [`set_for`](Faults::set_for) has set, by the name of the circuit.
    faults_for: BTreeMap<String, BTreeMap<Operation, Fault>>,
    delays: BTreeMap<Operation, Duration>,
    operations: BTreeMap<Operation, u64>,
    drops_events: bool,
}

impl Faults {
    /// Sets the fault of these operations. Replaces earlier faults of these operations.
    pub fn set(&self, operations: &[Operation], fault: Fault) {
        self.0.plan.lock().faults.extend(operations.iter().map(|operation| (*operation, fault)));
    }

    /// Sets the fault of these operations for one circuit. For example, a test can imitate a table that refuses one
    /// record. The fault affects loads, writes and deletions of this name, and appends of audit rows of this circuit. A
    /// fault for one circuit takes precedence over the fault that [`set`](Self::set) gives to the operation. A batch
    /// with this circuit fails as a whole.
    pub fn set_for(&self, circuit: &str, operations: &[Operation], fault: Fault) {
        let mut plan = self.0.plan.lock();
        let faults = plan.faults_for.entry(circuit.to_owned()).or_default();
        faults.extend(operations.iter().map(|operation| (*operation, fault)));
    }

    /// Delays these operations. The delay comes before the fault.
    pub fn delay(&self, operations: &[Operation], by: Duration) {
        self.0.plan.lock().delays.extend(operations.iter().map(|operation| (*operation, by)));
    }

    /// Drops the events of every watch from now on, and reports no gap for the dropped events.
    pub fn drop_events(&self) {
        self.0.plan.lock().drops_events = true;
    }

    /// Ends every open watch.
    pub fn end_watches(&self) {
        self.0.ended.send_modify(|ended| *ended += 1);
    }

    /// Removes all faults and delays, and lets watches report their events again. The counts of operations stay.
    pub fn heal(&self) {
        let mut plan = self.0.plan.lock();
        plan.faults.clear();
        plan.faults_for.clear();
        plan.delays.clear();
        plan.drops_events = false;
    }

    /// Returns the number of calls of this operation, with and without a fault.
    #[must_use]
    pub fn operations(&self, operation: Operation) -> u64 {
        self.0.plan.lock().operations.get(&operation).copied().unwrap_or(0)
    }

    /// Returns the number of calls of all operations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.plan.lock().operations.values().sum()
    }

    /// Counts an operation on these circuits, and returns its delay and its fault.
    pub(super) fn count<'a>(
        &self,
        operation: Operation,
        mut circuits: impl Iterator<Item = &'a str>,
    ) -> (Duration, Option<Fault>) {
        let mut plan = self.0.plan.lock();
        *plan.operations.entry(operation).or_default() += 1;
        let delay = plan.delays.get(&operation).copied().unwrap_or_default();
        let of_one = |circuit| plan.faults_for.get(circuit)?.get(&operation).copied();
        let fault = if plan.faults_for.is_empty() { None } else { circuits.find_map(of_one) };
        (delay, fault.or_else(|| plan.faults.get(&operation).copied()))
    }

    pub(super) fn drops_events(&self) -> bool {
        self.0.plan.lock().drops_events
    }

    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.0.ended.subscribe()
    }
}
