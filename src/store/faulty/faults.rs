//! The handle that switches the faults of a store, and counts what it is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::store::StoreErrorKind;
use crate::sync::Mutex;

/// What a store is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `load_many`.
    Load,
    /// `compare_and_set`.
    CompareAndSet,
    /// `delete`.
    Delete,
    /// `list`.
    List,
    /// `watch`.
    Watch,
    /// `append_audit`.
    AppendAudit,
    /// `trim_audit`.
    TrimAudit,
    /// `audit`.
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
    /// Those that read records.
    pub const READS: &'static [Self] = &[Self::Load, Self::List];
    /// Those that change records.
    pub const WRITES: &'static [Self] = &[Self::CompareAndSet, Self::Delete];
    /// Those of the audit.
    pub const AUDIT: &'static [Self] = &[Self::AppendAudit, Self::TrimAudit, Self::Audit];

    /// Returns its name, that of the method.
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

/// What is wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It fails with that error, and nothing is done.
    Fail(StoreErrorKind),
    /// It never ends. One that hangs goes on hanging when the store heals.
    Hang,
    /// It is done, but the answer is lost: [`TimedOut`](StoreErrorKind::TimedOut).
    LoseReply,
    /// It fails with [`TimedOut`](StoreErrorKind::TimedOut) at once, and is done that much later: a write that is on its way.
    /// What only reads loses its answer.
    ApplyLater(Duration),
    /// A load answers as the last one before the fault did for that name, like a replica that lags behind; for a name that was
    /// never loaded it tells the truth, and then sticks to it. Other operations have no fault.
    Stale,
}

/// Switches the faults of a [`FaultyStore`](super::FaultyStore). Clones switch the same ones.
///
/// A fault holds for what begins after it was set.
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
    delays: BTreeMap<Operation, Duration>,
    operations: BTreeMap<Operation, u64>,
    drops_events: bool,
}

impl Faults {
    /// Gives these operations that fault, instead of the one they had.
    pub fn set(&self, operations: &[Operation], fault: Fault) {
        self.0.plan.lock().faults.extend(operations.iter().map(|operation| (*operation, fault)));
    }

    /// Delays these operations, before their fault if they have one.
    pub fn delay(&self, operations: &[Operation], by: Duration) {
        self.0.plan.lock().delays.extend(operations.iter().map(|operation| (*operation, by)));
    }

    /// Loses what the store tells its watchers, without a gap.
    pub fn drop_events(&self) {
        self.0.plan.lock().drops_events = true;
    }

    /// Ends every watch there is.
    pub fn end_watches(&self) {
        self.0.ended.send_modify(|ended| *ended += 1);
    }

    /// Takes all faults and delays away. The counts stay.
    pub fn heal(&self) {
        let mut plan = self.0.plan.lock();
        plan.faults.clear();
        plan.delays.clear();
        plan.drops_events = false;
    }

    /// Returns how often the store was asked that, whatever became of it.
    #[must_use]
    pub fn operations(&self, operation: Operation) -> u64 {
        self.0.plan.lock().operations.get(&operation).copied().unwrap_or(0)
    }

    /// Returns how often the store was asked anything.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.plan.lock().operations.values().sum()
    }

    pub(super) fn count(&self, operation: Operation) -> (Duration, Option<Fault>) {
        let mut plan = self.0.plan.lock();
        *plan.operations.entry(operation).or_default() += 1;
        let delay = plan.delays.get(&operation).copied().unwrap_or_default();
        (delay, plan.faults.get(&operation).copied())
    }

    pub(super) fn drops_events(&self) -> bool {
        self.0.plan.lock().drops_events
    }

    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.0.ended.subscribe()
    }
}
