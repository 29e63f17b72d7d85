//! What happens to any circuit of a registry, for whoever subscribes: a page that is open, a program that follows.

use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::event::{Event, Observer};
use crate::state::Transition;
use crate::sync::Mutex;

/// Hands on what the circuits tell. Without a subscriber there is no channel, and nothing is kept.
#[derive(Debug)]
pub(super) struct Feed {
    sender: Mutex<Option<broadcast::Sender<News>>>,
    /// Whether it is the one to tell the audit of transitions: nobody else does where there is no store.
    audits: bool,
}

impl Feed {
    /// `audits`: whether there is no store, whose audit would tell.
    pub(super) fn new(audits: bool) -> Self {
        Self { sender: Mutex::new(None), audits }
    }

    pub(super) fn subscribe(&self) -> Subscription {
        let mut sender = self.sender.lock();
        let sender = sender.get_or_insert_with(|| broadcast::channel(KEPT).0);
        Subscription { receiver: sender.subscribe() }
    }

    fn send(&self, circuit: &str, what: impl FnOnce() -> What) {
        // Outside the lock: it wakes tasks, which are foreign code.
        let sender = self.sender.lock().clone();
        let Some(sender) = sender else { return };
        let news = News { circuit: circuit.to_owned(), what: what() };
        if sender.send(news).is_err() {
            let mut kept = self.sender.lock();
            // The last subscriber has gone, so what was kept for it goes too, unless another has come meanwhile.
            if sender.receiver_count() == 0 {
                *kept = None;
            }
        }
    }

    /// Tells of a circuit that is new.
    pub(super) fn introduced(&self, circuit: &str) {
        self.send(circuit, || What::Introduced);
    }
}

impl Observer for Feed {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        match *event {
            Event::Transition(edge) => {
                if self.audits {
                    crate::telemetry::audit::transition(circuit, edge);
                }
                self.send(circuit, || What::Transition(Box::new(edge.clone())));
            }
            Event::Rejections { rejected, over, retry_after } => {
                self.send(circuit, || What::Rejections { rejected, over, retry_after });
            }
            Event::Refresh { .. }
            | Event::Finished { .. }
            | Event::Rejected { .. }
            | Event::Sums { .. }
            | Event::SystemLoad { .. }
            | Event::Stale
            | Event::Forgotten => {}
        }
    }
}

/// What happens to the circuits of a registry, from [`Registry::subscribe`](crate::Registry::subscribe) on.
///
/// At most 1024 events wait to be read; who is slower misses the oldest, and is told how many.
#[derive(Debug)]
#[must_use = "nothing is told to who does not ask"]
pub struct Subscription {
    receiver: broadcast::Receiver<News>,
}

impl Subscription {
    /// Waits for the next event. `None` when registry and circuits are gone.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, it has taken no event.
    pub async fn next(&mut self) -> Option<News> {
        match self.receiver.recv().await {
            Ok(news) => Some(news),
            Err(RecvError::Lagged(events)) => Some(News { circuit: String::new(), what: What::Missed { events } }),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Something that happened to a circuit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct News {
    /// The circuit; empty if events were [missed](What::Missed).
    pub circuit: String,
    /// What happened.
    pub what: What,
}

/// What happened to a circuit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// An edge was taken, by itself or by an operator.
    Transition(Box<Transition>),
    /// Calls are being rejected: at most every 10 s.
    #[non_exhaustive]
    Rejections {
        /// How many since the last time this was told, or since the circuit tripped.
        rejected: u64,
        /// The time they came in.
        over: Duration,
        /// When the circuit will probe, if it is known.
        retry_after: Option<Duration>,
    },
    /// The circuit is new.
    Introduced,
    /// So many events were too many for this subscriber: it should look at everything again.
    #[non_exhaustive]
    Missed {
        /// How many.
        events: u64,
    },
}

/// How many events wait for the slowest subscriber.
const KEPT: usize = 1024;
