//! The feed of a registry, which passes the events of all circuits to subscribers, such as an admin page. The events
//! are transitions, summaries of rejections, suppressed openings, new circuits, and changes of fleets.
//!
//! Without a subscriber there is no channel and no event is stored, so that an unused feed needs hardly any memory.

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Companion;
use crate::event::{Event, Observer};
use crate::state::{Brief, FleetBrief, Reason, State, Transition};
use crate::sync::Mutex;

/// The observer of every circuit, which passes events to the subscribers.
#[derive(Debug)]
pub(super) struct Feed {
    channel: Mutex<Channel>,
    /// The companion of the registry, which is notified of transitions and writes the audit. Without a companion, the
    /// feed logs the acts of operators itself. The reference is weak. Each circuit holds the feed, so a circuit that
    /// outlives the registry would otherwise keep the companion alive.
    companion: Option<Weak<dyn Companion>>,
}

/// The channel to the subscribers.
#[derive(Debug, Default)]
struct Channel {
    sender: Option<broadcast::Sender<News>>,
    /// True from the shutdown of the registry to its next start. In this time, a new subscription ends immediately.
    ended: bool,
}

impl Feed {
    /// Creates a feed without subscribers.
    pub(super) fn new(companion: Option<Weak<dyn Companion>>) -> Self {
        Self { channel: Mutex::default(), companion }
    }

    pub(super) fn subscribe(&self) -> Subscription {
        let mut channel = self.channel.lock();
        if channel.ended {
            return Subscription { receiver: broadcast::channel(1).1 };
        }
        let sender = channel.sender.get_or_insert_with(|| broadcast::channel(KEPT).0);
        Subscription { receiver: sender.subscribe() }
    }

    /// Ends all subscriptions. Until [`resume`](Self::resume) is called, a new subscription ends immediately.
    #[cfg(feature = "store")]
    pub(super) fn end(&self) {
        // The lock is released before the sender is dropped. The drop wakes tasks, and their wakers are foreign code.
        let _sender = std::mem::replace(&mut *self.channel.lock(), Channel { sender: None, ended: true });
    }

    #[cfg(feature = "store")]
    pub(super) fn resume(&self) {
        self.channel.lock().ended = false;
    }

    #[cfg(feature = "admin")]
    pub(super) fn has_ended(&self) -> bool {
        self.channel.lock().ended
    }

    fn send(&self, circuit: &str, what: impl FnOnce() -> What) {
        // The lock is released before the event is sent. Sending wakes tasks, and their wakers are foreign code.
        let sender = self.channel.lock().sender.clone();
        let Some(sender) = sender else { return };
        let news = News { circuit: circuit.to_owned(), what: what() };
        if sender.send(news).is_err() {
            let mut channel = self.channel.lock();
            // A send fails only if there is no subscriber. The channel is then dropped with its stored events, unless a
            // new subscriber has come since.
            if sender.receiver_count() == 0 && channel.sender.as_ref().is_some_and(|kept| kept.same_channel(&sender)) {
                channel.sender = None;
            }
        }
    }

    /// Reports a new circuit.
    pub(super) fn introduced(&self, circuit: &str) {
        self.send(circuit, || What::Introduced);
    }
}

impl Observer for Feed {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        match *event {
            Event::Transition(edge) => {
                match &self.companion {
                    Some(companion) => companion.upgrade().iter().for_each(|companion| companion.changed()),
                    None => crate::telemetry::audit::act(circuit, edge),
                }
                self.send(circuit, || What::Transition(Box::new(edge.clone())));
            }
            Event::Rejections { rejected, over, retry_after } => {
                self.send(circuit, || What::Rejections { rejected, over, retry_after });
            }
            Event::Suppressed { reason, number, .. } => {
                self.send(circuit, || What::Suppressed { reason: reason.clone(), number });
            }
            Event::Fleet { brief } => self.send(circuit, || What::Fleet(brief)),
            Event::Refresh { .. }
            | Event::FleetProbes { .. }
            | Event::FleetDeclined
            | Event::HealthBegan
            | Event::HealthProbe { .. }
            | Event::Finished { .. }
            | Event::Rejected { .. }
            | Event::Fallback { .. }
            | Event::Sums { .. }
            | Event::SystemLoad { .. }
            | Event::Stale
            | Event::Forgotten => {}
        }
    }
}

/// The events of all circuits of a registry since [`Registry::subscribe`](crate::Registry::subscribe).
///
/// At most 1024 events are stored for a subscriber. A subscriber that reads too slowly loses the oldest
/// events and receives their number as [`What::Missed`].
#[derive(Debug)]
#[must_use = "a subscription that is dropped receives nothing"]
pub struct Subscription {
    receiver: broadcast::Receiver<News>,
}

impl Subscription {
    /// Waits for the next event. Returns `None` after the registry and its circuits were dropped. Also returns `None`
    /// after the [shutdown](crate::Registry::shutdown) of the registry has begun and all earlier events are read.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped while it waits, no event is lost.
    pub async fn next(&mut self) -> Option<News> {
        match self.receiver.recv().await {
            Ok(news) => Some(news),
            Err(RecvError::Lagged(events)) => Some(News { circuit: String::new(), what: What::Missed { events } }),
            Err(RecvError::Closed) => None,
        }
    }
}

/// An event, with the name of its circuit.
///
/// `Display` writes one sentence for operators, such as ``circuit `payments`: closed to open: failures in a row weighed
/// 5.0, the limit is 5.0``. Do not show the sentence to strangers, because it can contain the text of an error.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct News {
    /// The name of the circuit. Empty if events were [missed](What::Missed).
    pub circuit: String,
    /// The event.
    pub what: What,
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { circuit, what } = self;
        match what {
            What::Transition(edge) => write!(f, "circuit `{circuit}`: {edge}"),
            What::Rejections { rejected, over, .. } => {
                write!(f, "circuit `{circuit}`: {rejected} calls rejected in {}", Brief(*over))
            }
            What::Suppressed { reason, .. } => {
                write!(f, "circuit `{circuit}` stays closed, because its group has no open slot: {reason}")
            }
            What::Introduced => write!(f, "circuit `{circuit}` is new"),
            What::Fleet(FleetBrief { state, votes, needed, passed, .. }) => {
                write!(f, "circuit `{circuit}`: the fleet is {state}, ")?;
                match state {
                    State::HalfOpen => write!(f, "{passed} probes passed"),
                    State::Closed | State::Open => write!(f, "{votes} votes, {needed} open the fleet"),
                }
            }
            What::Missed { events } => write!(f, "{events} events were missed"),
        }
    }
}

/// The kind of an event, with its data.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// The circuit changed its state or mode, by itself or by an operator.
    Transition(Box<Transition>),
    /// The circuit rejects calls. This event is a summary that a circuit sends at most every 10 s.
    #[non_exhaustive]
    Rejections {
        /// The number of rejections since the last summary, or since the circuit began to reject calls.
        rejected: u64,
        /// The duration of the period in which the rejections occurred.
        over: Duration,
        /// The time until the circuit admits calls again. `None` if the time is not known.
        retry_after: Option<Duration>,
    },
    /// The circuit would have opened, but its group suppressed the opening. The group already has as many open circuits
    /// as it allows. A circuit sends this event at most every 10 s.
    #[non_exhaustive]
    Suppressed {
        /// The reason of the last suppressed opening.
        reason: Reason,
        /// The number of suppressed openings since the last event of this kind.
        number: u64,
    },
    /// The circuit is new.
    Introduced,
    /// The fleet has made a decision, or the number of its votes or of its probes has changed.
    Fleet(FleetBrief),
    /// The subscriber was too slow and lost events, so the subscriber should load the status of all circuits
    /// again.
    #[non_exhaustive]
    Missed {
        /// The number of lost events.
        events: u64,
    },
}

/// The largest number of events that the channel stores until the slowest subscriber reads them.
const KEPT: usize = 1024;
