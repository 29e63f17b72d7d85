//! The channel on which a store reports changes to the coordinator.
//!
//! A report is only a hint, because a report may be late, repeated, or sent by another program. The receiver loads the
//! record from the store, so that a report alone cannot change a circuit.
//!
//! The channel is bounded, so that a flood of changes cannot fill the memory. Events that do not fit are dropped, and a
//! single gap event replaces them. After a gap, the receiver loads all records, so that no dropped event is needed. A
//! store can also report a gap itself.
//!
//! While a watch works, the coordinator seldom polls the circuits that are closed and not held by an operator.
//! Therefore a store must not keep a watch that misses changes. A store of this crate marks such a watch as
//! interrupted, until the store reports the next gap. A store that an application implements ends its watch instead.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::Etag;
#[cfg(any(feature = "postgres", feature = "redis"))]
use super::health::doubled;
use crate::pattern::LONGEST_NAME;
#[cfg(any(feature = "postgres", feature = "redis"))]
use crate::random;
use crate::sync::{AtomicBool, Relaxed};

/// The importance of a write for other instances. Each write has a hint, which the store sends to its watches.
///
/// A hint decides only how soon an instance loads a record. Therefore a false hint from another program can cause a
/// needless load, or delay a load until the next poll, but no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Hint {
    /// The write changes only counts, which no other instance needs at once. A store that pushes hints pushes none for
    /// this write. A store that polls for changes may report this change.
    None,
    /// The write publishes a state of the writing instance, and contains no act of an operator. An instance loads the
    /// record at once if the state can matter for its circuit.
    Transition,
    /// The write contains an act of an operator, or the content of the write is unknown. Every instance loads the
    /// record at once. A store that knows nothing about a change reports this hint.
    #[default]
    Any,
}

/// A report of a store that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// The value of a name has changed.
    #[non_exhaustive]
    Changed {
        /// The name whose value has changed.
        name: String,
        /// The etag of the new value. `None` if the value was deleted, or if the store reports only names. The receiver
        /// loads the value, unless the receiver already has the version with this etag.
        etag: Option<Etag>,
        /// The hint of the write. [`Hint::Any`] if the store reports none.
        hint: Hint,
    },
    /// Changes may have been missed, and the receiver must load every record.
    Gap,
}

/// The receiving half of the channel, which [`Store::watch`](super::Store::watch) returns.
#[derive(Debug)]
pub struct Watch(Source);

/// The source of the events, which is a channel or several other watches. Lost events are reported on the second
/// channel `lost`, because `lost` has room when `events` is full.
#[derive(Debug)]
enum Source {
    Channel { events: mpsc::Receiver<WatchEvent>, lost: mpsc::Receiver<()>, is_interrupted: Arc<AtomicBool> },
    Parts { parts: Vec<Part>, until: Option<Pin<Box<Sleep>>> },
}

/// One part of a merged watch, and the function that translates the events of this part for the merged watch.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) watch: Watch,
    pub(super) translate: fn(WatchEvent) -> WatchEvent,
}

/// The sending half of the channel, for the implementation of a store. Clones send to the same watch.
#[derive(Debug, Clone)]
pub struct WatchSender {
    events: mpsc::Sender<WatchEvent>,
    lost: mpsc::Sender<()>,
    /// True from an interruption to the next gap.
    is_interrupted: Arc<AtomicBool>,
}

impl Watch {
    /// Creates a channel with room for 1024 events.
    #[must_use]
    pub fn channel() -> (WatchSender, Self) {
        Self::channel_with(Arc::default())
    }

    /// Creates a channel that forwards the events of the watch `other`. While `other` is interrupted, the new watch is
    /// interrupted too. The forwarder reports a gap with [`WatchSender::lose`], because an interruption of `other` may
    /// have begun after the gap and before the forwarder received the gap. [`WatchSender::gap`] would end this
    /// interruption.
    #[cfg(feature = "test-util")]
    pub(super) fn channel_of(other: &Self) -> (WatchSender, Self) {
        Self::channel_with(match &other.0 {
            Source::Channel { is_interrupted, .. } => Arc::clone(is_interrupted),
            Source::Parts { .. } => Arc::new(AtomicBool::new(true)),
        })
    }

    fn channel_with(is_interrupted: Arc<AtomicBool>) -> (WatchSender, Self) {
        let (events, receiver) = mpsc::channel(1024);
        let (lost, was_lost) = mpsc::channel(1);
        let source = Source::Channel { events: receiver, lost: was_lost, is_interrupted: Arc::clone(&is_interrupted) };
        (WatchSender { events, lost, is_interrupted }, Self(source))
    }

    /// Returns true if the store reports every change at present. For the merged watch of two tiers, always returns
    /// false. The regular loads of a registry compare the tiers, so these loads must not become rare.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.0 {
            // Relaxed, because the flag guards no other memory. A thread may see an interruption late, but misses no
            // change, because the gap after the interruption causes a load.
            Source::Channel { is_interrupted, .. } => !is_interrupted.load(Relaxed),
            Source::Parts { .. } => false,
        }
    }

    /// Returns the next event, or `None` after the store has stopped reporting.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no event is lost.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Returns the next event or the end of the watch, if one of them is ready. Otherwise returns `Pending` and
    /// registers no waker.
    pub(crate) fn next_ready(&mut self) -> Poll<Option<WatchEvent>> {
        self.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    /// Merges several watches. The merged watch ends when one of its parts ends. If `ends_after` is given, the merged
    /// watch ends after this time at the latest.
    pub(super) fn merged(parts: Vec<Part>, ends_after: Option<Duration>) -> Self {
        Self(Source::Parts { parts, until: ends_after.map(|after| Box::pin(sleep(after))) })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        match &mut self.0 {
            // A gap is returned before the queued events. The gap causes a load of all records, and the queued events
            // are older than this load.
            Source::Channel { events, lost, .. } => match lost.poll_recv(cx) {
                Poll::Ready(Some(())) => Poll::Ready(Some(WatchEvent::Gap)),
                Poll::Ready(None) | Poll::Pending => events.poll_recv(cx),
            },
            Source::Parts { parts, until } => {
                for Part { watch, translate } in parts {
                    if let Poll::Ready(event) = watch.poll_next(cx) {
                        return Poll::Ready(event.map(*translate));
                    }
                }
                match until {
                    Some(until) => until.as_mut().poll(cx).map(|()| None),
                    None => Poll::Pending,
                }
            }
        }
    }
}

impl WatchSender {
    /// Reports that the value of a name has changed. `etag` is the new version, if the store knows it. This function
    /// never waits. An event that does not fit into the channel becomes a gap.
    ///
    /// A name that is too long for a circuit is ignored, so that other programs cannot fill the memory.
    pub fn changed(&self, name: &str, etag: Option<Etag>) {
        self.changed_with(name, etag, Hint::Any);
    }

    /// Reports that the value of a name has changed, as [`changed`](Self::changed) does, with the hint of the write.
    /// [`Hint::None`] reports nothing.
    pub fn changed_with(&self, name: &str, etag: Option<Etag>, hint: Hint) {
        if name.len() > LONGEST_NAME || hint == Hint::None {
            return;
        }
        if self.events.try_send(WatchEvent::Changed { name: name.to_owned(), etag, hint }).is_err() {
            self.lose();
        }
    }

    /// Interrupts the watch. Until the next gap, reports of changes can be missing, and the coordinator polls as if
    /// there were no watch.
    #[cfg_attr(
        not(any(feature = "file", feature = "sqlite", feature = "postgres", feature = "redis")),
        expect(dead_code, reason = "only stores outside the memory of this process lose their connection")
    )]
    pub(super) fn interrupt(&self) {
        // Relaxed, as in `is_complete`.
        self.is_interrupted.store(true, Relaxed);
    }

    /// Reports that changes may have been missed. The receiver then loads every record. From now on, the store must
    /// report every change again.
    pub fn gap(&self) {
        // Relaxed, as in `is_complete`.
        self.is_interrupted.store(false, Relaxed);
        self.lose();
    }

    /// Puts a gap into the channel, unless a gap is there already. Unlike [`gap`](Self::gap), does not end an
    /// interruption.
    pub(super) fn lose(&self) {
        self.lost.try_send(()).ok();
    }

    /// Returns true if the watch was dropped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Waits until the watch is dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn closed(&self) {
        self.events.closed().await;
    }
}

/// Returns the pause before a lost watch is replaced. The pause is 50 ms and doubles with each failure up to `longest`.
/// A random part of up to a half is taken off, so that the instances do not reconnect at the same moment.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) fn pause(failures: u32, longest: Duration) -> Duration {
    let nominal = doubled(Duration::from_millis(50), failures, longest);
    nominal.mul_f64(1.0 - random::share(random::bits()) / 2.0)
}

#[cfg(all(test, any(feature = "postgres", feature = "redis")))]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest() {
        let longest = Duration::from_secs(5);
        for (failures, most) in [(0, 50), (1, 100), (6, 3200), (7, 5000), (u32::MAX, 5000)] {
            let pause = pause(failures, longest).as_millis();
            assert!((most / 2..=most).contains(&pause), "{failures}: {pause} ms");
        }
    }

    #[test]
    fn an_overflow_does_not_end_an_interruption() {
        let (sender, watch) = Watch::channel();
        sender.interrupt();
        (0..2_000).for_each(|_| sender.changed("payments", None));
        assert!(!watch.is_complete());
        sender.gap();
        assert!(watch.is_complete());
    }
}
