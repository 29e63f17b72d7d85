//! The eviction of keys when a new key arrives. Idle keys are evicted first, and then the least recently used
//! keys whose circuits may be evicted.
//!
//! A scan of ten thousand keys takes a millisecond. Therefore a scan evicts an eighth of the keys at once. If
//! a scan finds too few keys, the next scan waits for a second.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use foldhash::fast::RandomState;
use papaya::{HashMapRef, LocalGuard};

use super::circuits::{Circuits, GRAIN, SECOND};
use super::slot::{Cause, Slot};
use crate::circuit::Circuit;
use crate::state::Snapshot;
use crate::sync::Relaxed;

pub(super) type Known<'a> = HashMapRef<'a, Box<str>, Slot, RandomState, LocalGuard<'a>>;

/// The state that only new keys use, under the lock. All times are coarse ticks.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) max: usize,
    keys: usize,
    pub(super) idle: u64,
    /// The tick of the next scan for idle keys.
    idle_at: u64,
    /// The tick of the next scan for room, after a scan that found too few keys.
    room_at: u64,
    labels: usize,
    /// The keys that have their own label in metrics, including evicted keys.
    labelled: HashSet<Box<str>>,
    /// The circuits that were evicted and not reported yet.
    gone: Vec<Circuit>,
    /// The states of evicted circuits that were not closed, each with the tick of its eviction, so that calls
    /// of a dead host are still rejected when its key is used again. There are at most `max` states.
    asleep: HashMap<Box<str>, (Snapshot, u64)>,
}

impl Room {
    pub(super) fn new(max: usize, idle: u64, labels: usize) -> Self {
        let (labelled, gone, asleep) = (HashSet::new(), Vec::new(), HashMap::new());
        Self { max, keys: 0, idle, idle_at: 0, room_at: 0, labels, labelled, gone, asleep }
    }

    /// Returns the present state of an evicted circuit that was not closed. The time since the eviction
    /// shortens its open time.
    pub(super) fn asleep(&self, stem: &str, now: u64) -> Option<Snapshot> {
        let (snapshot, since) = self.asleep.get(stem)?;
        let passed = Duration::from_nanos(now.saturating_sub(*since) << GRAIN);
        let mut snapshot = snapshot.clone();
        snapshot.open_for = snapshot.open_for.map(|left| left.saturating_sub(passed));
        snapshot.tripped_for = snapshot.tripped_for.map(|ago| ago.saturating_add(passed));
        Some(snapshot)
    }

    /// Returns true if the key has its own label in metrics, or would get its own label with a circuit.
    pub(super) fn has_label(&self, stem: &str) -> bool {
        self.labelled.contains(stem) || self.labelled.len() < self.labels
    }

    /// Adds the entry of a stem to the map, and notes the stem if its circuit has its own label in metrics.
    pub(super) fn keep(&mut self, known: &Known<'_>, stem: &str, entry: Slot) {
        let own_label = entry.is_own && entry.circuit.as_ref().is_some_and(|own| own.config().label.is_none());
        if own_label && !self.labelled.contains(stem) {
            self.labelled.insert(stem.into());
        }
        if entry.circuit.is_some() {
            self.asleep.remove(stem);
        }
        known.insert(stem.into(), entry);
        self.keys += 1;
    }

    /// Removes a key whose configuration was refused, so that the key can be tried again.
    pub(super) fn drop_refused(&mut self, known: &Known<'_>, stem: &str) {
        self.keys -= usize::from(known.remove(stem).is_some());
    }

    /// Makes room for one key. Returns false if no key can be evicted. For a circuit that is restored before
    /// its first call, only idle keys are evicted, because keys in use are more important.
    pub(super) fn make(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64, cause: Cause) -> bool {
        if now >= self.idle_at {
            self.idle_at = now.saturating_add((self.idle / 4).max(SECOND));
            self.evict_idle(circuits, known, now);
        }
        self.keys < self.max || cause == Cause::Call && self.evict_some(circuits, known, now)
    }

    /// Returns the tick from which a new key can be tried again after a key found no room.
    pub(super) fn next_try(&self, now: u64) -> u64 {
        self.room_at.max(now + 1)
    }

    /// Takes the circuits that were evicted, so that the caller reports them without the lock.
    pub(super) fn gone(&mut self) -> Vec<Circuit> {
        std::mem::take(&mut self.gone)
    }

    /// Evicts the keys that were not used for the idle time, unless their circuits would reject the next call.
    fn evict_idle(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64) {
        // Relaxed, because the time of use publishes no other data.
        let unused_for = |entry: &Slot| now.saturating_sub(entry.used.load(Relaxed));
        let may_go = |circuit: &Circuit| !circuit.is_held() && circuit.would_admit();
        let idle = |entry: &Slot| unused_for(entry) >= self.idle && entry.circuit.as_ref().is_none_or(may_go);
        let leaving: Vec<_> = known.iter().filter(|(_, entry)| idle(entry)).collect();
        for (stem, entry) in leaving {
            self.evict(circuits, known, stem, entry, now);
        }
    }

    /// Evicts an eighth of the keys, and at least one key, least recently used first. Returns true if a key
    /// was evicted.
    ///
    /// Circuits that were restored from the store are evicted first as long as no call has used their keys, also if they
    /// are not closed. Without this order, hosts that this instance never calls would use up the room, and the keys in
    /// use would evict each other. Of the other circuits, only those at rest are evicted.
    pub(super) fn evict_some(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64) -> bool {
        if now < self.room_at {
            return false;
        }
        let rests = |entry: &Slot| entry.circuit.as_ref().is_none_or(Circuit::is_at_rest);
        let is_held = |entry: &Slot| entry.circuit.as_ref().is_some_and(Circuit::is_held);
        let unused = |entry: &Slot| entry.awaits_first_call() && !is_held(entry);
        let may_go = |entry: &Slot| rests(entry) || unused(entry);
        // Relaxed, because the time of use publishes no other data.
        let used = |entry: &Slot| (!unused(entry), entry.used.load(Relaxed));
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
        // Each entry is checked again, because its circuit may have tripped since the scan.
        for (_, stem, entry) in leaving.iter().filter(|(.., entry)| may_go(entry)) {
            self.evict(circuits, known, stem, entry, now);
        }
        self.keys < before
    }

    fn evict(&mut self, circuits: &Circuits, known: &Known<'_>, stem: &str, entry: &Slot, now: u64) {
        // The circuit leaves the registry before its entry leaves the map. In the other order, a thread that
        // finds no entry could still find the old circuit in the registry.
        if let Some(circuit) = entry.circuit.as_ref().filter(|_| entry.is_own) {
            circuits.registry.remove(circuit);
            self.gone.push(circuit.clone());
            if !circuit.is_at_rest() {
                if self.asleep.len() >= self.max
                    && let Some(any) = self.asleep.keys().next().cloned()
                {
                    self.asleep.remove(&any);
                }
                self.asleep.insert(stem.into(), (circuit.snapshot(), now));
            }
        }
        known.remove(stem);
        self.keys -= 1;
        // Relaxed, because the count publishes no other data.
        circuits.evicted.fetch_add(1, Relaxed);
    }
}
