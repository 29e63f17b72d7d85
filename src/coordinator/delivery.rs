//! The way of an operator's order to the store, as the registry and its operators see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::hub::{Coordinator, Hub};
use super::waiters::Fate;
use crate::registry::Registry;
use crate::state::order::Order;
use crate::store::DynStore;

/// Why an order is not even begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// So many rows of the audit wait.
    Outbox(usize),
    /// The record is of a later version.
    Unwritable(u32),
}

/// The registry's end of it.
#[derive(Debug, Clone)]
pub(crate) struct Delivery(Arc<Hub>);

impl Registry {
    /// Returns the way of orders to the store, if there is one.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        self.companion::<Coordinator>().map(|coordinator| Delivery(Arc::clone(&coordinator.0)))
    }
}

impl Delivery {
    /// Takes room for the order's row of the audit. An order that is not carried out gives it back.
    pub(crate) fn admit(&self, circuit: &str) -> Result<(), NoRoom> {
        let (rows, unwritable) = {
            let findings = self.0.findings.lock();
            (findings.status.audit_rows, findings.unwritable.get(circuit).copied())
        };
        if let Some(version) = unwritable {
            return Err(NoRoom::Unwritable(version));
        }
        let mut inbox = self.0.inbox.lock();
        let waiting = rows + inbox.orders;
        if waiting >= self.0.terms.outbox {
            return Err(NoRoom::Outbox(waiting));
        }
        inbox.orders += 1;
        Ok(())
    }

    pub(crate) fn withdraw(&self) {
        let mut inbox = self.0.inbox.lock();
        inbox.orders = inbox.orders.saturating_sub(1);
    }

    /// Returns what will say what becomes of the order. To be called before it is carried out.
    pub(crate) fn expect(&self, circuit: &str, id: &str) -> oneshot::Receiver<Fate> {
        self.0.waiters.add(circuit, id)
    }

    /// Lets the store be asked at once: somebody waits.
    pub(crate) fn hurry(&self) {
        self.0.inbox.lock().hurry = true;
        self.0.called.notify_one();
    }

    /// Asks what became of an order that was given before, and has its row written should it have been lost.
    pub(crate) fn ask(&self, circuit: &str, order: &Order) {
        self.0.inbox.lock().asked.push((circuit.to_owned(), order.clone()));
        self.0.called.notify_one();
    }

    /// Waits for it, at most as long as the store may take, or not at all, or says why nobody knows yet.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, what was ordered goes on its way.
    pub(crate) async fn fate(&self, receiver: oneshot::Receiver<Fate>, patient: bool) -> Result<Fate, String> {
        if !self.0.inbox.lock().running {
            return Err("the task that keeps circuits in the store does not run".to_owned());
        }
        if Handle::try_current().is_err() {
            return Err("it was not ordered on a tokio runtime, so nobody can wait for the store".to_owned());
        }
        let timeout = self.0.terms.timeout;
        match tokio::time::timeout(if patient { timeout } else { Duration::ZERO }, receiver).await {
            Ok(Ok(fate)) => Ok(fate),
            Ok(Err(_)) => Err("the task that keeps circuits in the store has ended".to_owned()),
            Err(_) => {
                let error = self.0.findings.lock().status.last_error.clone();
                Err(error.unwrap_or_else(|| format!("the store has not answered within {timeout:?}")))
            }
        }
    }

    /// How many circuits have something that the store does not.
    pub(crate) fn pending(&self) -> usize {
        self.0.findings.lock().status.unsaved.max(1)
    }

    pub(crate) fn store(&self) -> Arc<dyn DynStore> {
        Arc::clone(&self.0.store)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.0.terms.timeout
    }
}
