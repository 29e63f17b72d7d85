//! How a store tells of changes: a bounded channel that says when something was lost.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::Versioned;
#[cfg(any(feature = "postgres", feature = "redis"))]
use super::health::doubled;
#[cfg(any(feature = "postgres", feature = "redis"))]
use crate::random;
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
pub struct Watch(Source);

/// Where events come from.
#[derive(Debug)]
enum Source {
    Channel { events: mpsc::Receiver<WatchEvent>, lost: mpsc::Receiver<()> },
    Parts { parts: Vec<Part>, until: Option<Pin<Box<Sleep>>> },
}

/// A watch that is a part of another, and what its events are called there.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) watch: Watch,
    pub(super) of: fn(WatchEvent) -> WatchEvent,
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
        (WatchSender { events, lost }, Self(Source::Channel { events: receiver, lost: was_lost }))
    }

    /// Returns the next event, or `None` when the store has stopped telling.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, it has taken no event.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Returns the events of all these. It ends with the first of them that ends, or after that time.
    pub(super) fn merged(parts: Vec<Part>, ends_after: Option<Duration>) -> Self {
        Self(Source::Parts { parts, until: ends_after.map(|after| Box::pin(sleep(after))) })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        match &mut self.0 {
            Source::Channel { events, lost } => match lost.poll_recv(cx) {
                Poll::Ready(Some(())) => Poll::Ready(Some(WatchEvent::Gap)),
                Poll::Ready(None) | Poll::Pending => events.poll_recv(cx),
            },
            Source::Parts { parts, until } => {
                for Part { watch, of } in parts {
                    if let Poll::Ready(event) = watch.poll_next(cx) {
                        return Poll::Ready(event.map(*of));
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

/// Returns how long to wait before a lost watch is made anew: 50 ms, doubled with each failure up to `longest`, less up to a half,
/// so that the instances do not come back in step.
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
}
