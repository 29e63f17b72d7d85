//! How a store tells of changes: a bounded channel that says when something was lost.

use tokio::sync::mpsc;

use super::Versioned;
use crate::record::Timestamp;

/// What a watched store tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// Something changed.
    #[non_exhaustive]
    Changed {
        /// Under which name.
        name: String,
        /// What is there now and the time of the store, if the store has sent it along.
        current: Option<(Versioned, Timestamp)>,
    },
    /// Something may have been missed: load everything.
    Gap,
}

/// The receiving half: what [`Store::watch`](super::Store::watch) returns.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<WatchEvent>,
    lost: mpsc::Receiver<()>,
}

/// The sending half, for whoever writes a store.
#[derive(Debug, Clone)]
pub struct WatchSender {
    events: mpsc::Sender<WatchEvent>,
    lost: mpsc::Sender<()>,
}

impl Watch {
    /// Returns both halves.
    #[must_use]
    pub fn channel() -> (WatchSender, Self) {
        let (events, receiver) = mpsc::channel(256);
        let (lost, was_lost) = mpsc::channel(1);
        (WatchSender { events, lost }, Self { events: receiver, lost: was_lost })
    }

    /// Returns the next event, or `None` when the store has stopped telling.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, it has taken no event.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        tokio::select! {
            biased;
            Some(()) = self.lost.recv() => Some(WatchEvent::Gap),
            event = self.events.recv() => event,
        }
    }
}

impl WatchSender {
    /// Tells that something changed under that name. Never waits: what does not fit becomes a gap.
    pub fn changed(&self, name: &str, current: Option<(Versioned, Timestamp)>) {
        if self.events.try_send(WatchEvent::Changed { name: name.to_owned(), current }).is_err() {
            self.gap();
        }
    }

    /// Tells that something may have been missed.
    pub fn gap(&self) {
        // One gap that is not read yet is as good as two.
        self.lost.try_send(()).ok();
    }

    /// Returns whether nobody listens any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Waits until nobody listens any more.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, nothing has happened.
    pub async fn closed(&self) {
        self.events.closed().await;
    }
}
