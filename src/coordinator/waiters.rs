//! The callers that wait for the result of an order, by circuit and order.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::state::Generation;
use crate::sync::Mutex;

/// The result of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The record has it.
    Stored { generation: Generation },
    /// Another act was there first.
    Superseded { why: String },
    /// Its time was over before it could be written.
    Expired,
    /// The record is of a later version.
    Unwritable { version: u32 },
}

/// Who waits, by circuit and order.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<(String, String), Waiting>>);

/// Whoever gave the same order.
type Waiting = Vec<oneshot::Sender<Fate>>;

impl Waiters {
    pub(super) fn tell(&self, circuit: &str, fates: Vec<(String, Fate)>) {
        if fates.is_empty() {
            return;
        }
        let mut told = Vec::new();
        {
            let mut waiters = self.0.lock();
            for (id, fate) in fates {
                let waiting = waiters.remove(&(circuit.to_owned(), id)).unwrap_or_default();
                told.extend(waiting.into_iter().map(|waiter| (waiter, fate.clone())));
            }
        }
        // Outside the lock: it wakes tasks, which are foreign code.
        for (waiter, fate) in told {
            waiter.send(fate).ok();
        }
    }

    /// Nobody will tell any more: whoever waits, waits in vain.
    pub(super) fn end(&self) {
        let waiters = std::mem::take(&mut *self.0.lock());
        // Outside the lock: it wakes tasks, which are foreign code.
        drop(waiters);
    }

    pub(super) fn add(&self, circuit: &str, id: &str) -> oneshot::Receiver<Fate> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.0.lock();
        // Those that gave up are forgotten here: there are never more than orders within one timeout.
        waiters.retain(|_, waiting| {
            waiting.retain(|waiter| !waiter.is_closed());
            !waiting.is_empty()
        });
        waiters.entry((circuit.to_owned(), id.to_owned())).or_default().push(sender);
        receiver
    }
}
