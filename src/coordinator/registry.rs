//! What a registry can do because it has a store.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::builder::RegistryBuilder;
use super::report::{RestoreReport, ShutdownReport, StoreStatus};
use super::shared::{Coordinator, Shared};
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
        let shared = &coordinator.0;
        let mut inbox = shared.inbox.lock();
        inbox.shutdown = false;
        if core::mem::replace(&mut inbox.running, true) {
            return Ok(());
        }
        if let Some(ledger) = &*shared.ledger.lock() {
            // What a task that died had taken out of the inbox. Under its lock, so that none is forgotten in between.
            for circuit in self.circuits().into_iter().filter(|circuit| !ledger.has_desk(circuit)) {
                inbox.introduced.entry(circuit.name().to_owned()).or_insert(circuit);
            }
        }
        // Outside the lock, which the task takes when it is dropped: a runtime that is shutting down drops it here.
        drop(inbox);
        let task = runtime.spawn(Task::new(shared).run());
        let mut inbox = shared.inbox.lock();
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
        let shared = &coordinator.0;
        let mut progress = shared.progress.subscribe();
        shared.inbox.lock().hurry = true;
        shared.called.notify_one();
        let complete = async {
            loop {
                progress.borrow_and_update();
                let report = self.restore_report(shared);
                if report.is_complete() {
                    return report;
                }
                if progress.changed().await.is_err() {
                    return report;
                }
            }
        };
        Ok(tokio::time::timeout(deadline, complete).await.unwrap_or_else(|_| self.restore_report(shared)))
    }

    fn restore_report(&self, shared: &Arc<Shared>) -> RestoreReport {
        let seen = shared.seen.lock();
        let found = |name: &str| seen.restored.get(name).cloned().unwrap_or(super::Restored::Waiting);
        let circuits: std::collections::BTreeMap<_, _> =
            self.circuits().iter().map(|circuit| (circuit.name().to_owned(), found(circuit.name()))).collect();
        let mut report = RestoreReport { circuits, error: None };
        if !report.is_complete() {
            report.error.clone_from(&seen.status.last_error);
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
        let shared = &coordinator.0;
        let mut progress = shared.progress.subscribe();
        {
            let mut inbox = shared.inbox.lock();
            if !inbox.running {
                return shared.shutdown_report();
            }
            inbox.shutdown = true;
        }
        shared.called.notify_one();
        let mut ended = async || while shared.inbox.lock().running && progress.changed().await.is_ok() {};
        if tokio::time::timeout(deadline, ended()).await.is_err() {
            let task = shared.inbox.lock().task.take();
            if let Some(task) = task {
                task.abort();
            }
            // Its end is near, unless its runtime stands still: then nobody waits for that.
            tokio::time::timeout(ABORTED_WITHIN, ended()).await.ok();
        }
        shared.shutdown_report()
    }

    /// Returns how the store is doing, if there is one.
    #[must_use]
    pub fn store_status(&self) -> Option<StoreStatus> {
        let shared = &self.companion::<Coordinator>()?.0;
        let running = shared.inbox.lock().running;
        let status = shared.seen.lock().status.clone();
        Some(StoreStatus { store: shared.store.kind(), running, ..status })
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
