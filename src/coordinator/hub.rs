//! The hub between the registry, its circuits and the task: the terms, an inbox, and the task's findings.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::desks::DeskId;
use super::ledger::Ledger;
use super::report::{Restored, ShutdownReport, StoreStatus};
use super::terms::Terms;
use super::waiters::Waiters;
use crate::circuit::Circuit;
use crate::registry::Companion;
use crate::state::order::Order;
use crate::store::DynStore;
use crate::sync::Mutex;

/// The state that the registry, the circuits and the task share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) terms: Terms,
    pub(super) store: Arc<dyn DynStore>,
    pub(super) inbox: Mutex<Inbox>,
    /// Wakes the task.
    pub(super) called: Notify,
    /// Tells whoever waits for a restore or a shutdown that there is something new to see.
    pub(super) progress: watch::Sender<u64>,
    pub(super) findings: Mutex<Findings>,
    pub(super) waiters: Waiters,
    /// Here between two tasks, so that nothing is forgotten if one dies.
    pub(super) ledger: Mutex<Option<Ledger>>,
}

/// What waits for the task.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Whether there is a task, and what ends it.
    pub(super) running: bool,
    pub(super) task: Option<AbortHandle>,
    /// By name, so that one that is forgotten before the task has seen it leaves nothing.
    pub(super) introduced: BTreeMap<String, Circuit>,
    /// Those that the task has a desk for, and those that have something to write: what becomes of them comes first.
    pub(super) forgotten: Vec<Circuit>,
    /// The desks whose circuits have changed.
    pub(super) rung: Vec<DeskId>,
    /// How many orders were given that the task has not looked for yet.
    pub(super) orders: usize,
    /// The orders that were given again, by circuit. Their results are wanted, and their rows of the audit if those were lost.
    pub(super) asked: Vec<(String, Order)>,
    /// Somebody waits for a restore, or for the answer to an order.
    pub(super) hurry: bool,
    /// Nobody needs the task any more: it flushes and ends.
    pub(super) shutdown: bool,
    /// The registry is gone: it ends.
    pub(super) ended: bool,
}

/// The findings of the task.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) restored: BTreeMap<String, Restored>,
    pub(super) status: StoreStatus,
    /// The circuits whose records are of a later version, and of which.
    pub(super) unwritable: BTreeMap<String, u32>,
    /// What the task that ran last has not written.
    pub(super) unsaved: Vec<String>,
}

impl Hub {
    pub(super) fn ring(&self, desk: DeskId) {
        self.inbox.lock().rung.push(desk);
        self.called.notify_one();
    }

    /// What the task that ran last has not written.
    pub(super) fn shutdown_report(&self) -> ShutdownReport {
        let findings = self.findings.lock();
        ShutdownReport { unsaved: findings.unsaved.clone(), audit_rows: findings.status.audit_rows }
    }

    pub(super) fn tell_progress(&self) {
        self.progress.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The registry's end. When the last handle to the registry goes, so does the task.
#[derive(Debug)]
pub(super) struct Coordinator(pub(super) Arc<Hub>);

impl Companion for Coordinator {
    fn introduced(&self, circuit: &Circuit) {
        let mut inbox = self.0.inbox.lock();
        // Without a task nobody would end the waiting.
        if inbox.running && !self.0.terms.first_call_waits.is_zero() {
            circuit.await_restore();
        }
        inbox.introduced.insert(circuit.name().to_owned(), circuit.clone());
        drop(inbox);
        self.0.called.notify_one();
    }

    #[cfg(feature = "keyed")]
    fn forgotten(&self, circuit: &Circuit) {
        let has_history = circuit.has_history();
        let mut inbox = self.0.inbox.lock();
        // Another of its name may be there already.
        let waits = inbox.introduced.get(circuit.name()).is_some_and(|waiting| waiting.is(circuit));
        let unseen = waits && inbox.introduced.remove(circuit.name()).is_some();
        if unseen && !(has_history && inbox.forgotten.len() < LEAVING) {
            // Millions may come and go before the task runs again.
            drop(inbox);
            return circuit.restored();
        }
        inbox.forgotten.push(circuit.clone());
        drop(inbox);
        self.0.called.notify_one();
    }
}

/// How many circuits that were evicted may wait to be written.
pub(super) const LEAVING: usize = 1024;

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.0.inbox.lock().ended = true;
        self.0.called.notify_one();
    }
}

#[cfg(all(test, feature = "keyed", not(breaker_loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::registry::Registry;
    use crate::store::MemoryStore;

    #[test]
    fn forgetting_one_does_not_take_another_of_its_name_from_the_task() {
        let registry = Registry::builder().store(MemoryStore::new()).build().unwrap();
        let coordinator: &Coordinator = registry.companion().unwrap();
        let (last, next) = (Circuit::new(Config::new("a").unwrap()), Circuit::new(Config::new("a").unwrap()));
        coordinator.introduced(&last);
        coordinator.0.inbox.lock().introduced.clear();
        // Another thread asked the registry for that name just after the last one was taken out, and was faster.
        coordinator.introduced(&next);
        coordinator.forgotten(&last);
        let inbox = coordinator.0.inbox.lock();
        assert!(inbox.introduced["a"].is(&next), "it is kept like every other");
        assert!(inbox.forgotten[0].is(&last), "its desk goes");
    }
}
