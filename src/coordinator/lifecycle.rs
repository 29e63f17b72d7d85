//! The start, restore and shutdown of a registry with a store, as methods of the registry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::builder::RegistryBuilder;
use super::hub::{Coordinator, Hub};
use super::report::{RestoreReport, ShutdownReport, StoreStatus};
use super::task::Task;
use crate::circuit::Circuit;
use crate::config::ConfigError;
use crate::health::HealthProbe;
use crate::record::Member;
use crate::registry::Registry;

/// The methods that connect a registry to its store. Without a store, a restore and a shutdown only report that there
/// is no store. A shutdown also ends the [subscriptions](Registry::subscribe) of the registry, with or without a store.
impl Registry {
    /// Returns a builder with the default settings. By default a registry has no store and at most 10 000 circuits.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::new()
    }

    /// Starts the background task that keeps the circuits in the store. Does nothing if the task runs already.
    ///
    /// The task ends when the last handle to the registry is dropped, when the runtime ends, or by
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// [`NoRuntime`] if the registry has a store and the caller is not on a tokio runtime.
    pub fn start(&self) -> Result<(), NoRuntime> {
        self.resume_subscriptions();
        let Some(coordinator) = self.companion::<Coordinator>() else { return Ok(()) };
        let runtime = Handle::try_current().map_err(|_| NoRuntime(()))?;
        let hub = &coordinator.0;
        let mut inbox = hub.inbox.lock();
        inbox.shutdown = false;
        inbox.warned = false;
        if std::mem::replace(&mut inbox.running, true) {
            if inbox.ending {
                inbox.next = Some(runtime);
            }
            return Ok(());
        }
        if let Some(ledger) = &*hub.ledger.lock() {
            // A panic of a task can lose circuits that the task has taken out of the inbox, and that have no desk (the
            // data of the task about a circuit) yet. These circuits are put back. The inbox stays locked, so that none
            // of them is evicted in the meantime.
            for circuit in self.circuits().into_iter().filter(|circuit| !ledger.has_desk(circuit)) {
                inbox.introduced.entry(circuit.name().to_owned()).or_insert(circuit);
            }
        }
        // The first calls of circuits that were created before this start wait for the restore too.
        let waits = !hub.terms.first_call_waits.is_zero();
        inbox.introduced.values().filter(|_| waits).for_each(Circuit::await_restore);
        #[cfg(feature = "keyed")]
        let layers = waits.then(|| hub.prefixes.let_calls_wait());
        drop(inbox);
        #[cfg(feature = "keyed")]
        drop(layers);
        if Task::spawn(hub, &runtime) { Ok(()) } else { Err(NoRuntime(())) }
    }

    /// Starts the background task if necessary, and waits until every circuit is restored, at most until the deadline.
    ///
    /// The function waits for all circuits of the registry, and for each keyed circuit that is not closed in the store.
    /// Circuits and layers that are created later are restored at their creation, without another call of this
    /// function.
    ///
    /// If the store does not answer in time, a circuit continues with its present state. The circuit is restored when
    /// the store answers. The report has the result for each circuit.
    ///
    /// # Errors
    ///
    /// [`NoRuntime`] if the registry has a store and the caller is not on a tokio runtime. A store that is down is not
    /// an error.
    ///
    /// # Cancel safety
    ///
    /// The circuits are restored even if the future is dropped, because the background task restores them.
    pub async fn restore(&self, deadline: Duration) -> Result<RestoreReport, NoRuntime> {
        self.start()?;
        let Some(coordinator) = self.companion::<Coordinator>() else {
            return Ok(RestoreReport { without_store: true, ..RestoreReport::default() });
        };
        let hub = &coordinator.0;
        let mut progress = hub.progress.subscribe();
        hub.inbox.lock().hurry = true;
        hub.called.notify_one();
        let complete = async {
            loop {
                // The present value is marked as seen before the report is made. A change during the report then wakes
                // this loop again.
                progress.borrow_and_update();
                let report = self.restore_report(hub);
                if report.is_complete() {
                    return report;
                }
                if progress.changed().await.is_err() {
                    return report;
                }
            }
        };
        Ok(tokio::time::timeout(deadline, complete).await.unwrap_or_else(|_| self.restore_report(hub)))
    }

    fn restore_report(&self, hub: &Arc<Hub>) -> RestoreReport {
        #[cfg(feature = "keyed")]
        let keyed_waiting = hub.prefixes.waiting();
        #[cfg(not(feature = "keyed"))]
        let keyed_waiting = Vec::new();
        let findings = hub.findings.lock();
        let found = |name: &str| findings.restored.get(name).cloned().unwrap_or(super::Restored::Waiting);
        let circuits: std::collections::BTreeMap<_, _> =
            self.circuits().iter().map(|circuit| (circuit.name().to_owned(), found(circuit.name()))).collect();
        let left_out = findings.left_out;
        let mut report = RestoreReport { circuits, keyed_waiting, left_out, ..RestoreReport::default() };
        if !report.is_complete() {
            report.error.clone_from(&findings.status.last_error);
        }
        report
    }

    /// Writes the changes that the store does not have yet, at most until the deadline, and ends the background task.
    ///
    /// The report lists the changes that could not be written. The circuits continue in memory. Changes after this call
    /// are not written.
    ///
    /// A registry that was never started has neither restored nor written anything. The report says so
    /// ([`ShutdownReport::never_started`]), and the log has a warning.
    ///
    /// Call this function after the server has stopped, when no request is under way any more, so that the changes of
    /// the last requests are written. All [subscriptions](Self::subscribe) end when this function begins. The event
    /// streams of the admin page must end earlier, because an open stream would keep the server from stopping.
    /// Therefore pass the signal that stops the server to `AdminRouter::shutdown_signal`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the task continues to write and ends after the last write.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.end_subscriptions();
        let Some(coordinator) = self.companion::<Coordinator>() else {
            return ShutdownReport { without_store: true, ..ShutdownReport::default() };
        };
        let hub = &coordinator.0;
        // The subscription begins before the shutdown is requested, so that the end of the task is not missed.
        let mut progress = hub.progress.subscribe();
        {
            hub.warn_unless_running();
            let mut inbox = hub.inbox.lock();
            (inbox.shutdown, inbox.next) = (true, None);
            if !std::mem::replace(&mut inbox.running, true) {
                inbox.ending = true;
                drop(inbox);
                Task::new(hub).end_unrun();
                return hub.shutdown_report();
            }
        }
        hub.called.notify_one();
        // A call of `start` withdraws the request for a shutdown. Then this function no longer waits.
        let is_awaited = || {
            let inbox = hub.inbox.lock();
            inbox.running && inbox.shutdown
        };
        let mut ended = async || while is_awaited() && progress.changed().await.is_ok() {};
        if tokio::time::timeout(deadline, ended()).await.is_err() {
            let task = {
                let mut inbox = hub.inbox.lock();
                if inbox.task.is_some() && inbox.end() { inbox.task.take() } else { None }
            };
            if let Some(task) = task {
                task.abort();
            }
            // An aborted task ends soon, unless its runtime is blocked. Therefore this wait has a limit.
            tokio::time::timeout(ABORTED_WITHIN, ended()).await.ok();
        }
        hub.shutdown_report()
    }

    /// Adds a health probe to the background task. The task runs the probe from the start of the task until the circuit
    /// of the probe is dropped or a shutdown begins. The task makes at most
    /// [`health_probes_at_once`](RegistryBuilder::health_probes_at_once) checks at the same time.
    ///
    /// No call of this function is needed for a health probe in the configuration of a circuit.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a time of the probe is out of range, or if the registry has no store and therefore no task.
    /// Without a store, spawn [`HealthProbe::run`] instead.
    pub fn probe(&self, probe: HealthProbe) -> Result<(), ConfigError> {
        probe.check_times()?;
        let Some(coordinator) = self.companion::<Coordinator>() else {
            let allowed = "a registry with a store, or the future of `HealthProbe::run` in a task of your own";
            return Err(ConfigError::new("health_probe", "for a registry without a store", allowed));
        };
        coordinator.0.inbox.lock().health.push(probe);
        coordinator.0.called.notify_one();
        Ok(())
    }

    /// Returns the state of the store and of the background task. `None` if the registry has no store.
    #[must_use]
    pub fn store_status(&self) -> Option<StoreStatus> {
        let hub = &self.companion::<Coordinator>()?.0;
        let running = hub.inbox.lock().running;
        let status = hub.findings.lock().status.clone();
        Some(StoreStatus { store: hub.store.kind(), running, unsaved: hub.unsaved(), ..status })
    }

    /// Returns the instances of the fleet of this registry that the store has seen within the last hour, sorted by id.
    /// This instance is one of them.
    ///
    /// The list comes from the background task, at no cost for the store, and is at most 12 s old while the store
    /// answers. A member is live for 30 s after its last heartbeat. If the store has not answered for 30 s, the members
    /// are unknown and none of them counts as live.
    ///
    /// The list is empty with [`Sharing::Advise`](super::Sharing::Advise), without a store, before the first answer of
    /// the store, and while the task does not run.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.companion::<Coordinator>()
            .map_or_else(Vec::new, |coordinator| coordinator.0.findings.lock().members.clone())
    }
}

/// The longest wait for the end of an aborted task.
const ABORTED_WITHIN: Duration = Duration::from_millis(100);

/// The error of a start outside a tokio runtime. The background task needs a runtime with time enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRuntime(());

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a registry with a store must be started on a tokio runtime: call `start` or `restore` inside `#[tokio::main]`")
    }
}

impl std::error::Error for NoRuntime {}
