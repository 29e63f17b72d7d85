//! The state that the registry, its circuits and the background task share: the settings, an inbox for the task, and
//! the results of the task (the findings).
//!
//! Each mutable field has its own lock, which is held only for a short time. After a transition, a circuit only adds
//! its desk to the inbox, and the registry only reads findings. Therefore neither a circuit nor the registry waits for
//! the task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
#[cfg(feature = "keyed")]
use std::sync::Weak;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::desks::DeskId;
use super::ledger::Ledger;
#[cfg(feature = "keyed")]
use super::prefixes::Prefixes;
use super::report::{Restored, ShutdownReport, StoreStatus};
use super::terms::Terms;
use super::waiters::Waiters;
use crate::circuit::Circuit;
use crate::health::{HealthLimit, HealthProbe};
use crate::record::Member;
use crate::registry::Companion;
#[cfg(feature = "keyed")]
use crate::registry::Prefixed;
use crate::state::order::Order;
use crate::store::DynStore;
use crate::sync::Mutex;
use crate::telemetry;

/// The state that the registry, the circuits and the task share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) terms: Terms,
    pub(super) store: Arc<dyn DynStore>,
    pub(super) inbox: Mutex<Inbox>,
    /// Wakes the task after a change of the inbox.
    pub(super) called: Notify,
    /// Signals each change of the findings to the callers that wait for a restore or a shutdown.
    pub(super) progress: watch::Sender<u64>,
    pub(super) findings: Mutex<Findings>,
    pub(super) waiters: Waiters,
    /// The limit on the number of health checks at the same time, over all health probes of the registry.
    pub(super) health_limit: HealthLimit,
    /// The layers with keyed circuits. After a restart, the task gets the names of their circuits from the store.
    #[cfg(feature = "keyed")]
    pub(super) prefixes: Prefixes,
    /// The data of the last task, while no task runs. Each task leaves its data here when it ends, even by a panic. The
    /// next task continues with the data.
    pub(super) ledger: Mutex<Option<Ledger>>,
}

/// The messages to the task.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// True while there is a task.
    pub(super) running: bool,
    /// True once a task has run.
    pub(super) started: bool,
    /// True after a warning that changes are not saved because no task runs. A start of the task clears the flag.
    pub(super) warned: bool,
    /// The handle that aborts the task.
    pub(super) task: Option<AbortHandle>,
    /// True once the task has decided to end. From then on, a call of `start` cannot keep the task running.
    pub(super) ending: bool,
    /// The runtime of a call of `start` that came after the task had decided to end. The ending task starts the next
    /// task on this runtime.
    pub(super) next: Option<Handle>,
    /// The new circuits that the task has not read yet, by name. If a circuit is evicted before the task has read the
    /// inbox, the circuit is removed here.
    pub(super) introduced: BTreeMap<String, Circuit>,
    /// The evicted circuits that have a desk (the data of the task about a circuit) or something to write. The task
    /// handles evicted circuits before new circuits, because a new circuit may have the name of an evicted circuit.
    pub(super) forgotten: Vec<Circuit>,
    /// The desks whose circuits have changed, with the names of the circuits.
    pub(super) rung: BTreeMap<DeskId, String>,
    /// The number of orders that have come since the task last read the inbox.
    pub(super) orders: usize,
    /// The repeated orders, each with the name of its circuit. A caller repeats an order to query its result. The task
    /// writes the audit row of a repeated order again, in case the row was lost.
    pub(super) repeated: Vec<(String, Order)>,
    /// The health probes that the application has added since the task last read the inbox.
    pub(super) health: Vec<HealthProbe>,
    /// True if a caller waits for a restore or for the result of an order. Then the task ends the backoff of the store.
    pub(super) hurry: bool,
    /// True if the task must write the remaining changes and then end.
    pub(super) shutdown: bool,
    /// True if the task must end, because the last handle to the registry was dropped.
    pub(super) ended: bool,
}

impl Inbox {
    /// Decides if the task ends, and returns true if so. If a caller has started the task again since the request to
    /// end, the task continues.
    pub(super) fn end(&mut self) -> bool {
        self.ending = self.shutdown || self.ended;
        self.ending
    }
}

/// The findings of the task, for reports.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) restored: BTreeMap<String, Restored>,
    pub(super) status: StoreStatus,
    /// The members of the fleet. Empty while no task runs.
    pub(super) members: Vec<Member>,
    /// The circuits whose records come from a later version of this crate, each with the format version of the record.
    pub(super) unwritable: BTreeMap<String, u32>,
    /// The circuits with an order that could not be written yet, each with the last reason.
    pub(super) held_up: BTreeMap<String, String>,
    /// The number of audit rows that are about acts of operators and that the store does not have yet.
    pub(super) rows_of_people: usize,
    /// The number of keyed circuits that were not restored before their first call, for example because the registry
    /// was full.
    pub(super) left_out: usize,
    /// The new circuits that the task has taken from the inbox, but that still have no desk (the data of the task about
    /// a circuit).
    pub(super) introduced: Vec<Circuit>,
    /// The desks with changes that the store does not have, with the names of their circuits.
    pub(super) unwritten: BTreeMap<DeskId, String>,
}

impl Findings {
    /// Returns the reason why an order for the circuit is not stored yet. If an operation for the order has failed, the
    /// failure is the reason. Otherwise, while the store does not answer, its last error is the reason. While the store
    /// answers, the last error is not used, because it may come from a write for another circuit.
    pub(super) fn why_not_stored(&self, circuit: &str, timeout: Duration) -> String {
        if let Some(why) = self.held_up.get(circuit) {
            return why.clone();
        }
        match &self.status.last_error {
            Some(error) if !self.status.up => error.clone(),
            _ if self.status.up => format!("the store answers, but has not made the write within {timeout:?}"),
            _ => format!("the store has not answered within {timeout:?}"),
        }
    }
}

impl Hub {
    /// Notes that the circuit of a desk has changed, and wakes the task.
    pub(super) fn ring(&self, desk: DeskId, circuit: &str) {
        self.inbox.lock().rung.insert(desk, circuit.to_owned());
        self.called.notify_one();
    }

    /// Returns the number of circuits with a change that the store does not have.
    pub(super) fn unsaved(&self) -> usize {
        self.with_unsaved(|circuits| circuits.count())
    }

    /// Calls `read` with the names of the circuits with a change that the store does not have. A transition is included
    /// as soon as the circuit has added its desk to the inbox, even if the task has not read the inbox yet. A circuit
    /// without a desk is included if it has a transition or a failure.
    fn with_unsaved<T>(&self, read: impl FnOnce(&mut dyn Iterator<Item = &str>) -> T) -> T {
        let inbox = self.inbox.lock();
        let ledger = self.ledger.lock();
        let findings = self.findings.lock();
        let rung = inbox.rung.iter().filter(|(desk, _)| !findings.unwritten.contains_key(desk));
        // A desk can be in the inbox although its circuit has made no transition. While no task runs, the ledger is in
        // the hub, so that such desks can be recognised and are left out.
        let rung = rung.filter(|(desk, _)| ledger.as_ref().is_none_or(|ledger| ledger.has_news(desk)));
        let without_desk =
            inbox.introduced.values().chain(&findings.introduced).filter(|circuit| circuit.has_history());
        let with_desk = findings.unwritten.values().chain(rung.map(|(_, name)| name)).map(String::as_str);
        read(&mut with_desk.chain(without_desk.map(Circuit::name)))
    }

    /// Returns the report of the changes that are not written. The report uses only the data of the hub. Therefore a
    /// shutdown returns a report even if a blocked runtime keeps the task from ending.
    pub(super) fn shutdown_report(&self) -> ShutdownReport {
        let unsaved = self.with_unsaved(|circuits| circuits.map(ToOwned::to_owned).collect::<BTreeSet<_>>());
        let (audit_rows, never_started) = (self.findings.lock().status.audit_rows, !self.inbox.lock().started);
        let unsaved = unsaved.into_iter().collect();
        ShutdownReport { unsaved, audit_rows, never_started, ..ShutdownReport::default() }
    }

    /// Logs a warning that changes are not saved, if no task runs and no caller has requested a shutdown. Logs the
    /// warning only once.
    pub(super) fn warn_unless_running(&self) {
        let mut inbox = self.inbox.lock();
        if inbox.running || inbox.shutdown || std::mem::replace(&mut inbox.warned, true) {
            return;
        }
        let started = inbox.started;
        drop(inbox);
        let store = self.store.kind();
        if started {
            telemetry::lines::warn(format_args!(
                "changes of circuits are not saved in the store {store}, because the task of the registry has ended; call `restore` or `start` again"
            ));
        } else {
            telemetry::lines::warn(format_args!(
                "circuits are neither restored from the store {store} nor saved there, because the registry was never started; call `restore` or `start`"
            ));
        }
    }

    /// Wakes the callers that wait for a change of the findings.
    pub(super) fn notify_progress(&self) {
        self.progress.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The handle by which the registry reaches the hub. When the last handle to the registry is dropped, the task ends.
#[derive(Debug)]
pub(super) struct Coordinator(pub(super) Arc<Hub>);

impl Companion for Coordinator {
    fn changed(&self) {
        self.0.warn_unless_running();
    }

    fn introduced(&self, circuit: &Circuit) {
        let mut inbox = self.0.inbox.lock();
        // Calls wait only while a task runs, because only the task can restore the circuit and end the wait.
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
        // The inbox may contain a newer circuit of this name. The newer circuit must stay.
        let waits = inbox.introduced.get(circuit.name()).is_some_and(|waiting| waiting.is(circuit));
        let unseen = waits && inbox.introduced.remove(circuit.name()).is_some();
        if unseen && !(has_history && inbox.forgotten.len() < LEAVING) {
            // The task has never seen this circuit. The circuit is dropped if it has no history, or if there is no
            // room. Millions of keys may come and go before the task runs again.
            return;
        }
        inbox.forgotten.push(circuit.clone());
        drop(inbox);
        self.0.called.notify_one();
    }

    #[cfg(feature = "keyed")]
    fn keyed(&self, circuits: Weak<dyn Prefixed>) {
        self.0.prefixes.add(circuits);
        let inbox = self.0.inbox.lock();
        // Calls wait only while a task runs, because only the task can end the wait. If no task runs, the wait begins
        // with the next `start`.
        let waiting = (inbox.running && self.first_calls_wait()).then(|| self.0.prefixes.let_calls_wait());
        drop(inbox);
        drop(waiting);
        self.0.called.notify_one();
    }

    #[cfg(feature = "keyed")]
    fn first_calls_wait(&self) -> bool {
        !self.0.terms.first_call_waits.is_zero()
    }
}

/// The largest number of evicted circuits with changes that are not written yet. The limit keeps a slow store from
/// filling the memory.
pub(super) const LEAVING: usize = 1024;

impl Drop for Coordinator {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox.lock();
        inbox.ended = true;
        // This warning is only for a registry that was never started. If a task has run and ended, `changed` logs the
        // warning at the next transition.
        let has_nothing_to_save = inbox.started || inbox.introduced.is_empty();
        drop(inbox);
        if !has_nothing_to_save {
            self.0.warn_unless_running();
        }
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
    fn forgetting_a_circuit_keeps_a_later_circuit_of_the_same_name() {
        let registry = Registry::builder().store(MemoryStore::new()).build().unwrap();
        let coordinator: &Coordinator = registry.companion().unwrap();
        let (last, next) = (Circuit::new(Config::new("a").unwrap()), Circuit::new(Config::new("a").unwrap()));
        coordinator.introduced(&last);
        coordinator.0.inbox.lock().introduced.clear();
        // Another thread creates a circuit of the same name. By then, the registry has removed `last`, but has not
        // called `forgotten` yet.
        coordinator.introduced(&next);
        coordinator.forgotten(&last);
        let inbox = coordinator.0.inbox.lock();
        assert!(inbox.introduced["a"].is(&next), "it is kept like every other");
        assert!(inbox.forgotten[0].is(&last), "its desk goes");
    }
}
