//! What a registry can do because it has a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::builder::RegistryBuilder;
use super::hub::{Coordinator, Hub};
use super::report::{RestoreReport, ShutdownReport, StoreStatus};
use super::task::Task;
use crate::registry::Registry;

/// With a store; without one these do nothing and find nothing.
impl Registry {
    /// Starts from the default settings: 10 000 circuits, no store.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::new()
    }

    /// Starts the background task that keeps the circuits in the store, unless it runs.
    ///
    /// It ends with the last handle to the registry, with the runtime, or by [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// [`NoRuntime`] if there is a store and this is not called on a tokio runtime.
    pub fn start(&self) -> Result<(), NoRuntime> {
        let Some(coordinator) = self.companion::<Coordinator>() else { return Ok(()) };
        let runtime = Handle::try_current().map_err(|_| NoRuntime(()))?;
        let hub = &coordinator.0;
        let mut inbox = hub.inbox.lock();
        inbox.shutdown = false;
        if std::mem::replace(&mut inbox.running, true) {
            return Ok(());
        }
        if let Some(ledger) = &*hub.ledger.lock() {
            // What a task that died had taken out of the inbox. Under its lock, so that none is forgotten in between.
            for circuit in self.circuits().into_iter().filter(|circuit| !ledger.has_desk(circuit)) {
                inbox.introduced.entry(circuit.name().to_owned()).or_insert(circuit);
            }
        }
        // Outside the lock, which the task takes when it is dropped: a runtime that is shutting down drops it here.
        drop(inbox);
        let task = runtime.spawn(Task::new(hub).run());
        let mut inbox = hub.inbox.lock();
        if !inbox.running {
            return if task.is_finished() { Err(NoRuntime(())) } else { Ok(()) };
        }
        inbox.task = Some(task.abort_handle());
        Ok(())
    }

    /// Starts if need be, and waits until every circuit is restored, at most until the deadline.
    ///
    /// Circuits that the store does not answer for in time go on as they are, and are restored when it answers. The report
    /// says what was found.
    ///
    /// # Errors
    ///
    /// [`NoRuntime`] if there is a store and this is not called on a tokio runtime. A store that is down is not an error.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, the circuits are restored all the same.
    pub async fn restore(&self, deadline: Duration) -> Result<RestoreReport, NoRuntime> {
        self.start()?;
        let Some(coordinator) = self.companion::<Coordinator>() else {
            return Ok(RestoreReport { circuits: Default::default(), error: None });
        };
        let hub = &coordinator.0;
        let mut progress = hub.progress.subscribe();
        hub.inbox.lock().hurry = true;
        hub.called.notify_one();
        let complete = async {
            loop {
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
        let findings = hub.findings.lock();
        let found = |name: &str| findings.restored.get(name).cloned().unwrap_or(super::Restored::Waiting);
        let circuits: std::collections::BTreeMap<_, _> =
            self.circuits().iter().map(|circuit| (circuit.name().to_owned(), found(circuit.name()))).collect();
        let mut report = RestoreReport { circuits, error: None };
        if !report.is_complete() {
            report.error.clone_from(&findings.status.last_error);
        }
        report
    }

    /// Writes what the store does not have yet, at most until the deadline, and ends the background task.
    ///
    /// The report says what could not be written. Circuits go on in memory.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, the task goes on writing and ends when it is done.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let Some(coordinator) = self.companion::<Coordinator>() else { return ShutdownReport::default() };
        let hub = &coordinator.0;
        let mut progress = hub.progress.subscribe();
        {
            let mut inbox = hub.inbox.lock();
            if !inbox.running {
                return hub.shutdown_report();
            }
            inbox.shutdown = true;
        }
        hub.called.notify_one();
        let mut ended = async || while hub.inbox.lock().running && progress.changed().await.is_ok() {};
        if tokio::time::timeout(deadline, ended()).await.is_err() {
            let task = hub.inbox.lock().task.take();
            if let Some(task) = task {
                task.abort();
            }
            // Its end is near, unless its runtime stands still: then nobody waits for that.
            tokio::time::timeout(ABORTED_WITHIN, ended()).await.ok();
        }
        hub.shutdown_report()
    }

    /// Returns how the store is doing, if there is one.
    #[must_use]
    pub fn store_status(&self) -> Option<StoreStatus> {
        let hub = &self.companion::<Coordinator>()?.0;
        let running = hub.inbox.lock().running;
        let status = hub.findings.lock().status.clone();
        Some(StoreStatus { store: hub.store.kind(), running, ..status })
    }
}

/// How long an aborted task may take to end.
const ABORTED_WITHIN: Duration = Duration::from_millis(100);

/// The background task needs a tokio runtime, with time enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRuntime(());

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a registry with a store must be started on a tokio runtime: call `start` or `restore` inside `#[tokio::main]`")
    }
}

impl std::error::Error for NoRuntime {}
