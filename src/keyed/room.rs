//! Who goes when a new key comes: the idle, and if there is no room, the least recently used of those that may go.
//!
//! A look at all keys costs a millisecond for ten thousand of them, so it makes room for an eighth of them at once, and if it
//! finds too little, the next one waits for a second.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use papaya::{HashMapRef, LocalGuard};

use super::circuits::{Circuits, SECOND, Slot};
use crate::circuit::Circuit;
use crate::sync::Relaxed;

pub(super) type Known<'a> = HashMapRef<'a, Box<str>, Slot, RandomState, LocalGuard<'a>>;

/// What only whoever brings a new key touches. Times are coarse ticks.
#[derive(Debug)]
pub(super) struct Room {
    max: usize,
    keys: usize,
    idle: u64,
    /// When to look for idle ones again.
    idle_at: u64,
    /// When to look for room again, after too little was found.
    room_at: u64,
    labels: usize,
    /// The keys with a name of their own in metrics, evicted ones too.
    labelled: HashSet<Box<str>>,
    /// The circuits that were evicted and of which nobody was told yet.
    gone: Vec<Circuit>,
}

impl Room {
    pub(super) fn new(max: usize, idle: u64, labels: usize) -> Self {
        Self { max, keys: 0, idle, idle_at: 0, room_at: 0, labels, labelled: HashSet::new(), gone: Vec::new() }
    }

    /// Whether that key has a name of its own in metrics, or would get one with a circuit.
    pub(super) fn has_label(&self, stem: &str) -> bool {
        self.labelled.contains(stem) || self.labelled.len() < self.labels
    }

    /// Takes a key in.
    pub(super) fn keep(&mut self, known: &Known<'_>, stem: &str, entry: Slot) {
        let own_label = entry.is_own && entry.circuit.as_ref().is_some_and(|own| own.config().label.is_none());
        if own_label && !self.labelled.contains(stem) {
            self.labelled.insert(stem.into());
        }
        known.insert(stem.into(), entry);
        self.keys += 1;
    }

    /// Drops one that was refused, to be tried again.
    pub(super) fn drop_refused(&mut self, known: &Known<'_>, stem: &str) {
        self.keys -= usize::from(known.remove(stem).is_some());
    }

    /// Makes room for one key, if it can.
    pub(super) fn make(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64) -> bool {
        if now >= self.idle_at {
            self.idle_at = now.saturating_add((self.idle / 4).max(SECOND));
            self.evict_idle(circuits, known, now);
        }
        self.keys < self.max || self.evict_some(circuits, known, now)
    }

    /// When a key that found no room may try again.
    pub(super) fn next_try(&self, now: u64) -> u64 {
        self.room_at.max(now + 1)
    }

    /// Returns the circuits that were evicted, to tell of them without the lock.
    pub(super) fn gone(&mut self) -> Vec<Circuit> {
        std::mem::take(&mut self.gone)
    }

    fn evict_idle(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64) {
        // Relaxed: a stamp, publishes nothing.
        let unused_for = |entry: &Slot| now.saturating_sub(entry.used.load(Relaxed));
        let idle =
            |entry: &Slot| unused_for(entry) >= self.idle && entry.circuit.as_ref().is_none_or(Circuit::would_admit);
        let leaving: Vec<_> = known.iter().filter(|(_, entry)| idle(entry)).collect();
        for (stem, entry) in leaving {
            self.evict(circuits, known, stem, entry);
        }
    }

    /// Evicts an eighth of the keys, at least one, least recently used first; whether any was.
    pub(super) fn evict_some(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64) -> bool {
        if now < self.room_at {
            return false;
        }
        let may_go = |entry: &Slot| entry.circuit.as_ref().is_none_or(Circuit::is_at_rest);
        // Relaxed: a stamp, publishes nothing.
        let used = |entry: &Slot| entry.used.load(Relaxed);
        let mut leaving: Vec<_> =
            known.iter().filter(|(_, entry)| may_go(entry)).map(|(stem, entry)| (used(entry), stem, entry)).collect();
        let wanted = (self.max / 8).max(1);
        if leaving.len() > wanted {
            leaving.select_nth_unstable_by_key(wanted, |(used, ..)| *used);
            leaving.truncate(wanted);
        } else if leaving.len() < wanted {
            self.room_at = now + SECOND;
        }
        let before = self.keys;
        // Some may have tripped since.
        for (_, stem, entry) in leaving.iter().filter(|(.., entry)| may_go(entry)) {
            self.evict(circuits, known, stem, entry);
        }
        self.keys < before
    }

    fn evict(&mut self, circuits: &Circuits, known: &Known<'_>, stem: &str, entry: &Slot) {
        // Out of the registry first: whoever does not find the key here any more makes a new circuit there.
        if let Some(circuit) = entry.circuit.as_ref().filter(|_| entry.is_own) {
            circuits.registry.remove(circuit);
            self.gone.push(circuit.clone());
        }
        known.remove(stem);
        self.keys -= 1;
        // Relaxed: a count, publishes nothing.
        circuits.evicted.fetch_add(1, Relaxed);
    }
}
