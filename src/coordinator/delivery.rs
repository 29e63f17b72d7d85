//! The path of an operator's order from the registry to the store.
//!
//! The registry reserves room for the audit row of the order, registers for the result, and waits for the result. The
//! desk of the circuit (the part of the background task for this circuit) writes the act.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::hub::{Coordinator, Hub};
use super::waiters::Fate;
use crate::registry::Registry;
use crate::state::order::Order;
use crate::store::{DynStore, order_row_id};

/// The reason why an order is refused before it is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The outbox has no more room for audit rows of operators. The number counts the rows that wait or have reserved
    /// room.
    Outbox(usize),
    /// A later version of this crate has written the record, so the record cannot be overwritten. The number is the
    /// version of the record.
    Unwritable(u32),
}

/// The handle through which a registry sends orders to its coordinator (the background task).
#[derive(Debug, Clone)]
pub(crate) struct Delivery(Arc<Hub>);

impl Registry {
    /// Returns the handle that sends orders to the store. `None` if the registry has no store.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        self.companion::<Coordinator>().map(|coordinator| Delivery(Arc::clone(&coordinator.0)))
    }
}

impl Delivery {
    /// Reserves room for the audit row of an order, because an outbox that is full drops the oldest row.
    /// [`withdraw`](Self::withdraw) gives the room back if the order is not carried out. Returns an error if the outbox
    /// is full, or if the record of the circuit cannot be overwritten.
    pub(crate) fn admit(&self, circuit: &str) -> Result<(), NoRoom> {
        let (rows, unwritable) = {
            let findings = self.0.findings.lock();
            (findings.rows_of_people, findings.unwritable.get(circuit).copied())
        };
        if let Some(version) = unwritable {
            return Err(NoRoom::Unwritable(version));
        }
        // Orders that the task has not read yet also count, because the rows of these orders are not in the outbox yet.
        let mut inbox = self.0.inbox.lock();
        let waiting = rows + inbox.orders;
        if waiting >= self.0.terms.outbox {
            return Err(NoRoom::Outbox(waiting));
        }
        inbox.orders += 1;
        Ok(())
    }

    /// Gives back the room of an order that was not carried out.
    pub(crate) fn withdraw(&self) {
        let mut inbox = self.0.inbox.lock();
        inbox.orders = inbox.orders.saturating_sub(1);
    }

    /// Registers for the result of an order, and returns the receiver of the result. Call this function before the
    /// order is carried out. Otherwise the result could be sent before the receiver is registered.
    pub(crate) fn expect(&self, circuit: &str, id: &str) -> oneshot::Receiver<Fate> {
        self.0.waiters.add(circuit, id)
    }

    /// Registers for the audit row of an order, and returns the receiver that is notified once the audit has the row.
    /// Call this function before the order is carried out.
    pub(crate) fn expect_row(&self, circuit: &str, order: &Order) -> oneshot::Receiver<()> {
        self.0.waiters.add_row(&order_row_id(circuit, order))
    }

    /// Wakes the task. The task then tries the store immediately in spite of a backoff, because a caller waits for the
    /// result.
    pub(crate) fn hurry(&self) {
        self.0.inbox.lock().hurry = true;
        self.0.called.notify_one();
    }

    /// Queries the result of an earlier order. The task also writes the audit row of the order again, because the
    /// instance that got the order first may have stopped before the row was written.
    pub(crate) fn query(&self, circuit: &str, order: &Order) {
        self.0.inbox.lock().repeated.push((circuit.to_owned(), order.clone()));
        self.0.called.notify_one();
    }

    /// Waits for the result of an order and then for its audit row. The two waits together last at most for the timeout
    /// of the store. Does not wait if `patient` is false. Returns the result of the order, together with an error if
    /// the row is not stored yet. Returns only an error if the result is not known yet. Each error states its reason.
    ///
    /// # Cancel safety
    ///
    /// The act and its row are stored even if the future is dropped.
    pub(crate) async fn fate(
        &self,
        circuit: &str,
        receiver: oneshot::Receiver<Fate>,
        row: oneshot::Receiver<()>,
        patient: bool,
    ) -> Result<(Fate, Result<(), String>), String> {
        if !self.0.inbox.lock().running {
            return Err("the task that keeps circuits in the store does not run".to_owned());
        }
        if Handle::try_current().is_err() {
            return Err("the order was not given on a tokio runtime, so that it cannot wait for the store".to_owned());
        }
        let timeout = self.0.terms.timeout;
        let (mut fate, mut is_row_stored) = (None, false);
        let both = async {
            fate = Some(receiver.await?);
            if matches!(fate, Some(Fate::Stored { .. })) {
                row.await?;
            }
            is_row_stored = true;
            Ok::<_, oneshot::error::RecvError>(())
        };
        let waited = tokio::time::timeout(if patient { timeout } else { Duration::ZERO }, both).await;
        let findings = self.0.findings.lock();
        let Some(fate) = fate else {
            return Err(match waited {
                Ok(_) => "the task that keeps circuits in the store has ended".to_owned(),
                Err(_) => findings.why_not_stored(circuit, timeout),
            });
        };
        let why = || match (&findings.status.last_error, waited.is_ok()) {
            (Some(error), _) => error.clone(),
            (None, true) => "the row found no room or was set aside, or the task of the store has ended".to_owned(),
            (None, false) => format!("the audit has not answered within {timeout:?}"),
        };
        Ok((fate, if is_row_stored { Ok(()) } else { Err(why()) }))
    }

    /// Returns the kind of the durable tier of the store. `None` if the store has no tiers.
    pub(crate) fn durable_tier(&self) -> Option<&'static str> {
        self.0.store.tiers().map(|[_, durable]| durable)
    }

    /// Returns the number of circuits with a change that the store does not have. The number is at least 1, because the
    /// caller still reports its own change as pending, even if the change has just been written.
    pub(crate) fn pending(&self) -> usize {
        self.0.unsaved().max(1)
    }

    pub(crate) fn store(&self) -> Arc<dyn DynStore> {
        Arc::clone(&self.0.store)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.0.terms.timeout
    }
}
