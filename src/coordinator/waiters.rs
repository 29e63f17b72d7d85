//! The callers that wait for the result of an order, by circuit and order.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::state::Generation;
use crate::sync::Mutex;

/// The result of an order in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The record contains the act.
    Stored { generation: Generation },
    /// Another act came first, and has superseded this order.
    Superseded { why: String },
    /// The hold ended before it could be written.
    Expired,
    /// The record is of a later version, and cannot be overwritten.
    Unwritable { version: u32 },
}

/// The waiting callers, by circuit and id of the order.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<(String, String), Waiting>>);

/// The callers that gave the same order, possibly by several requests.
type Waiting = Vec<oneshot::Sender<Fate>>;

impl Waiters {
    /// Sends the results of orders to the callers that wait for them.
    pub(super) fn send(&self, circuit: &str, fates: Vec<(String, Fate)>) {
        if fates.is_empty() {
            return;
        }
        let mut sends = Vec::new();
        {
            let mut waiters = self.0.lock();
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

    /// Ends all waits without a result, because no task runs that could send a result.
    pub(super) fn end(&self) {
        let waiters = std::mem::take(&mut *self.0.lock());
        // The senders are dropped outside the lock, because their drop wakes tasks of the application.
        drop(waiters);
    }

    /// Registers a caller that waits for the result of an order.
    pub(super) fn add(&self, circuit: &str, id: &str) -> oneshot::Receiver<Fate> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.0.lock();
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
