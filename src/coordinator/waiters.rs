//! The callers that wait for the result of an order, or for the row of the order in the audit. Results are found by
//! circuit and order, and rows by the id of the row.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::state::Generation;
use crate::sync::Mutex;

/// The result of writing an order to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The store has carried out the act. The record contains the act, or after `Forget`, the store no longer has the
    /// record. `lacking` is the tier of a tiered store that does not have the change yet. `None` if no tier is known to
    /// lack the change.
    Stored { generation: Generation, lacking: Option<&'static str> },
    /// Another act has superseded this order.
    Superseded { why: String },
    /// The hold ended before it could be written.
    Expired,
    /// The record cannot contain the act, usually because a later version of this crate has written the record.
    Unwritable { version: u32 },
}

/// The callers that wait for orders and for audit rows.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// The callers that wait for the result of an order, by the name of the circuit and the id of the order.
    fates: Mutex<HashMap<(String, String), Waiting>>,
    /// The callers that wait for an audit row, by the id of the row.
    rows: Mutex<HashMap<String, Row>>,
}

/// The callers that wait for one audit row.
#[derive(Debug, Default)]
struct Row {
    /// True once the row is in the outbox. If the row leaves the outbox afterwards, the store has the row.
    is_sent: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

/// The waits for the result of one order. There are several waits if the order was given several times.
type Waiting = Vec<oneshot::Sender<Fate>>;

impl Waiters {
    /// Sends the results of orders for one circuit to the callers that wait for them. `fates` has each result with the
    /// id of its order.
    pub(super) fn send(&self, circuit: &str, fates: Vec<(String, Fate)>) {
        if fates.is_empty() {
            return;
        }
        let mut sends = Vec::new();
        {
            let mut waiters = self.fates.lock();
            for (id, fate) in fates {
                let waiting = waiters.remove(&(circuit.to_owned(), id)).unwrap_or_default();
                sends.extend(waiting.into_iter().map(|waiter| (waiter, fate.clone())));
            }
        }
        // The results are sent outside the lock, because sending wakes tasks of the application.
        for (waiter, fate) in sends {
            waiter.send(fate).ok();
        }
    }

    /// Ends all waits without a result, because no task is left that could send a result.
    pub(super) fn end(&self) {
        let waiters = std::mem::take(&mut *self.fates.lock());
        let rows = std::mem::take(&mut *self.rows.lock());
        // The senders are dropped outside the lock, because their drop wakes tasks of the application.
        drop((waiters, rows));
    }

    /// Registers a caller that waits until the audit has the row with this id.
    pub(super) fn add_row(&self, id: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut rows = self.rows.lock();
        rows.retain(|_, row| row.waiting.iter().any(|waiter| !waiter.is_closed()));
        rows.entry(id.to_owned()).or_default().waiting.push(sender);
        receiver
    }

    /// Notes that the outbox has got a row.
    pub(super) fn sent(&self, id: &str) {
        if let Some(row) = self.rows.lock().get_mut(id) {
            row.is_sent = true;
        }
    }

    /// Notifies the callers whose audit rows are stored. A row that has left the outbox is stored, because the caller
    /// of this function has already ended the waits for lost rows by `set_aside`. `is_waiting` returns true for the id
    /// of a row that is still in the outbox.
    pub(super) fn stored(&self, is_waiting: impl Fn(&str) -> bool) {
        let mut stored = Vec::new();
        self.rows.lock().retain(|id, row| {
            let is_stored = row.is_sent && !is_waiting(id);
            if is_stored {
                stored.append(&mut row.waiting);
            }
            !is_stored
        });
        for waiter in stored {
            waiter.send(()).ok();
        }
    }

    /// Ends the wait for a row that the store refuses for good, or that was lost because the outbox was full.
    pub(super) fn set_aside(&self, id: &str) {
        let row = self.rows.lock().remove(id);
        // The senders are dropped outside the lock, because their drop wakes tasks of the application.
        drop(row);
    }

    /// Registers a caller that waits for the result of an order.
    pub(super) fn add(&self, circuit: &str, id: &str) -> oneshot::Receiver<Fate> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.fates.lock();
        // Callers that have given up are removed first. Each caller gives up after the timeout of the store, so the map
        // stays small.
        waiters.retain(|_, waiting| {
            waiting.retain(|waiter| !waiter.is_closed());
            !waiting.is_empty()
        });
        waiters.entry((circuit.to_owned(), id.to_owned())).or_default().push(sender);
        receiver
    }
}
