//! The layers with keyed circuits in a registry. The list has the prefix of each layer, and the progress of its
//! restore.
//!
//! The task and the registry share this list, because a layer can be created before or after the task begins. Each
//! layer holds the registry, and the registry holds this list. Therefore the references to the layers are weak. Strong
//! references would form a cycle, and the task would never end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::circuit::Circuit;
use crate::clock::Tick;
use crate::registry::Prefixed;
use crate::sync::Mutex;

/// The layers with keyed circuits in a registry.
#[derive(Debug, Default)]
pub(super) struct Prefixes(Mutex<Vec<Prefix>>);

/// The keyed circuits of one layer, which share a prefix of their names, with the progress of their restore.
#[derive(Debug)]
struct Prefix {
    keyed: Weak<dyn Prefixed>,
    wait: Wait,
    progress: Progress,
}

/// The state of the wait for the restore of a layer. During the wait, the services of the layer wait in `poll_ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// No service waits.
    None,
    /// The services wait, and the task has not set the end of the wait yet.
    Begun,
    /// The services wait until this tick.
    Until(Tick),
    /// The wait has ended, because its longest time has passed or the layer is restored.
    Over,
}

/// The progress of the restore of a layer.
#[derive(Debug)]
enum Progress {
    /// The store has not listed the circuits of the layer yet.
    Unread,
    /// These circuits were created from the names in the store, and some of them are not restored yet. `seen` is false
    /// until the task has read its inbox once more. From then on, each circuit is evicted or has a desk (the data of
    /// the task about a circuit), which restores the circuit.
    Restoring { circuits: Vec<Circuit>, seen: bool },
    /// All circuits of the layer are restored.
    Done,
}

impl Prefixes {
    /// Adds the circuits of a layer.
    pub(super) fn add(&self, keyed: Weak<dyn Prefixed>) {
        let mut list = self.0.lock();
        list.retain(|prefix| prefix.keyed.strong_count() > 0);
        list.push(Prefix { keyed, wait: Wait::None, progress: Progress::Unread });
    }

    /// Begins the wait of each layer whose circuits the store has not listed yet. Returns the layers whose services
    /// begin to wait.
    ///
    /// While there is a task, the caller must hold the lock of the inbox. Otherwise a task that ends at the same time
    /// could miss this wait and not end it. The caller must drop the returned layers outside that lock.
    #[must_use = "the layers are dropped outside the lock"]
    pub(super) fn let_calls_wait(&self) -> Vec<Arc<dyn Prefixed>> {
        let waiting = self.select(|prefix| {
            let begins = matches!(prefix.progress, Progress::Unread) && prefix.wait == Wait::None;
            begins.then(|| prefix.wait = Wait::Begun).is_some()
        });
        waiting.iter().for_each(|keyed| keyed.await_restore());
        waiting
    }

    /// Ends the waits whose time is over. A wait without a set end gets an end, which is the duration `lasts` after
    /// `now`.
    pub(super) fn end_waits(&self, now: Tick, lasts: Duration) {
        let over = self.select(|prefix| {
            if prefix.wait == Wait::Begun {
                prefix.wait = Wait::Until(now.saturating_add(lasts));
            }
            let is_over = matches!(prefix.wait, Wait::Until(until) if until <= now);
            is_over.then(|| prefix.wait = Wait::Over).is_some()
        });
        over.iter().for_each(|keyed| keyed.restored());
    }

    /// Ends all waits, because no task is left that could restore the circuits.
    pub(super) fn end_all_waits(&self) {
        let waiting = self.select(|prefix| {
            let waits = matches!(prefix.wait, Wait::Begun | Wait::Until(_));
            waits.then(|| prefix.wait = Wait::None).is_some()
        });
        waiting.iter().for_each(|keyed| keyed.restored());
    }

    /// Returns the tick at which the next wait ends.
    pub(super) fn next_end(&self) -> Option<Tick> {
        let ends = |prefix: &Prefix| if let Wait::Until(until) = prefix.wait { Some(until) } else { None };
        self.0.lock().iter().filter_map(ends).min()
    }

    /// Returns true if there is a layer whose circuits the store has not listed yet.
    pub(super) fn has_unread(&self) -> bool {
        self.0.lock().iter().any(Prefix::is_unread)
    }

    /// Returns the layers whose circuits the store has not listed yet.
    pub(super) fn unread(&self) -> Vec<Arc<dyn Prefixed>> {
        self.select(|prefix| prefix.is_unread())
    }

    /// Returns all layers.
    pub(super) fn all(&self) -> Vec<Arc<dyn Prefixed>> {
        self.select(|_| true)
    }

    /// Returns true if the name begins with the prefix of a layer, so that the circuit can be a keyed circuit.
    pub(super) fn cover(&self, name: &str) -> bool {
        self.all().iter().any(|keyed| name.starts_with(keyed.prefix()))
    }

    /// Returns the prefixes of the layers that are not restored yet.
    pub(super) fn waiting(&self) -> Vec<String> {
        let waiting = self.select(|prefix| !matches!(prefix.progress, Progress::Done));
        waiting.iter().map(|keyed| keyed.prefix().to_owned()).collect()
    }

    /// Notes that the survey (the search of the store for keyed circuits) created these circuits of a layer, and that
    /// each of them waits for its own restore.
    pub(super) fn created(&self, keyed: &Weak<dyn Prefixed>, circuits: Vec<Circuit>) {
        if let Some(prefix) = self.0.lock().iter_mut().find(|prefix| Weak::ptr_eq(&prefix.keyed, keyed)) {
            prefix.progress = Progress::Restoring { circuits, seen: false };
        }
    }

    /// Ends the restore of each layer whose circuits are all restored. Returns true if the restore of at least one
    /// layer has ended.
    pub(super) fn settle(&self, is_waiting: impl Fn(&Circuit) -> bool) -> bool {
        // The circuits are dropped outside the lock, because a drop can run observers, which are foreign code.
        let mut restored = Vec::new();
        let done = self.select(|prefix| {
            let Progress::Restoring { circuits, seen } = &mut prefix.progress else { return false };
            if !std::mem::replace(seen, true) {
                return false;
            }
            let (waiting, ready): (Vec<_>, Vec<_>) = std::mem::take(circuits).into_iter().partition(&is_waiting);
            restored.extend(ready);
            if !waiting.is_empty() {
                *circuits = waiting;
                return false;
            }
            (prefix.progress, prefix.wait) = (Progress::Done, Wait::Over);
            true
        });
        done.iter().for_each(|keyed| keyed.restored());
        !done.is_empty()
    }

    /// Returns the layers that `choose` accepts. The caller must drop the returned handles outside the lock. The drop
    /// of the last handle to a layer runs foreign code.
    fn select(&self, mut choose: impl FnMut(&mut Prefix) -> bool) -> Vec<Arc<dyn Prefixed>> {
        let mut list = self.0.lock();
        list.iter_mut().filter_map(|prefix| if choose(prefix) { prefix.keyed.upgrade() } else { None }).collect()
    }
}

impl Prefix {
    fn is_unread(&self) -> bool {
        matches!(self.progress, Progress::Unread) && self.keyed.strong_count() > 0
    }
}
