//! The eviction of keys when a new key arrives. Idle keys are evicted first, then keys that were restored and not used
//! since, and then keys whose circuits have no history, least recently used first. The keys with the fewest calls
//! follow.
//!
//! Open circuits are evicted too, because a caller who chooses the keys could otherwise fill the layer with open
//! circuits. An evicted circuit with history is kept in [`Formers`].
//!
//! A scan of ten thousand keys takes a few milliseconds. Therefore a scan evicts an eighth of the keys at once. If a
//! scan finds too few keys, because operators hold the circuits of other keys, the next scan waits for a second.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use papaya::{HashMapRef, LocalGuard};

use super::absent::is_needed;
use super::circuits::{Circuits, SECOND};
use super::former::{Former, Formers};
use super::slot::{Cause, Slot};
use crate::circuit::Circuit;
use crate::sync::Relaxed;

pub(super) type Known<'a> = HashMapRef<'a, Box<str>, Slot, RandomState, LocalGuard<'a>>;

/// The data for the eviction of keys, under a lock that only calls of new keys take. All times are coarse ticks of 17
/// ms.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) max: usize,
    keys: usize,
    pub(super) idle: u64,
    /// The tick of the next scan for idle keys.
    idle_at: u64,
    /// The tick from which keys may be evicted again to make room. A scan that finds too few keys sets this tick to a
    /// second later.
    room_at: u64,
    /// The evicted keys that had their own label in metrics. The number of these keys is at most the number of labels.
    labelled: HashSet<Box<str>>,
    /// The evicted circuits whose observers still have to be notified of the eviction.
    gone: Vec<Circuit>,
    /// The evicted circuits that are forgotten. These circuits are dropped after the lock is released, because the drop
    /// of a circuit can run foreign code, such as the code of an observer.
    dropped: Vec<Circuit>,
    formers: Formers,
}

/// The circuits that the caller must report or drop after the caller has released the lock.
#[derive(Debug)]
pub(super) struct Leaving {
    /// The evicted circuits whose observers must be notified of the eviction.
    pub(super) gone: Vec<Circuit>,
    /// The circuits that must be dropped, without a report.
    pub(super) _dropped: Vec<Circuit>,
}

/// The part that has no room for a new circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Layer,
    Registry,
}

/// The position of a key in the order of eviction. The keys with the smallest ranks are evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: Class,
    used: u64,
}

/// The classes of keys. Keys of the first class are evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The circuit was restored from the store, and no call has used its key.
    Unused,
    /// The circuit has no history, so that a new circuit could replace it without a loss.
    KnowsNothing,
    /// The circuit has history. For example, it is open, has failures, or has calls under way. `calls` is the number of
    /// calls of the key.
    KnowsSomething { calls: u64 },
}

impl Room {
    pub(super) fn new(max: usize, idle: u64) -> Self {
        let (labelled, gone, dropped, formers) = (HashSet::new(), Vec::new(), Vec::new(), Formers::new(max, idle));
        Self { max, keys: 0, idle, idle_at: 0, room_at: 0, labelled, gone, dropped, formers }
    }

    /// Returns the evicted circuit of a key.
    pub(super) fn former(&self, stem: &str, now: u64) -> Option<Circuit> {
        self.formers.get(stem, now)
    }

    /// Returns true if an earlier circuit of the key had its own label in metrics.
    pub(super) fn has_label(&self, stem: &str) -> bool {
        self.labelled.contains(stem)
    }

    /// Adds an entry for a stem to the map. If the circuit is `None`, the entry shows that the settings for the key
    /// were invalid.
    pub(super) fn keep(&mut self, known: &Known<'_>, stem: &str, circuit: Option<Circuit>, now: u64, cause: Cause) {
        let calls_before = self.formers.calls(stem);
        if circuit.is_some() {
            self.dropped.extend(self.formers.take(stem));
        }
        known.insert(stem.into(), Slot::new(circuit, calls_before, now, cause));
        self.keys += 1;
    }

    /// Removes the entry of a key whose settings were invalid, so that the settings can be tried again.
    pub(super) fn drop_refused(&mut self, known: &Known<'_>, stem: &str) {
        self.keys -= usize::from(known.remove(stem).is_some());
    }

    /// Makes room for one key, by evicting other keys if necessary. Returns true if there is room. To make room for a
    /// restored circuit, only idle keys are evicted, because keys in use are more important.
    pub(super) fn make(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64, cause: Cause) -> bool {
        if now >= self.idle_at {
            self.idle_at = now.saturating_add((self.idle / 4).max(SECOND));
            self.evict_idle(circuits, known, now);
        }
        self.keys < self.max || cause == Cause::Call && self.evict_some(circuits, known, now, Full::Layer)
    }

    /// Returns the tick until which new keys get no circuit, after the caller has found no room for a key.
    pub(super) fn next_try(&self, now: u64) -> u64 {
        self.room_at.max(now + 1)
    }

    /// Returns the evicted and the forgotten circuits, and removes them from this struct. The caller then reports and
    /// drops these circuits without the lock.
    pub(super) fn leaving(&mut self) -> Leaving {
        Leaving { gone: std::mem::take(&mut self.gone), _dropped: std::mem::take(&mut self.dropped) }
    }

    /// Evicts the keys that were not used for the idle time. A key stays if its circuit would reject the next call, has
    /// calls under way or is held by an operator. A key also stays if the application has a handle to its circuit.
    fn evict_idle(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64) {
        let unused_for = |entry: &Slot| now.saturating_sub(entry.used());
        let handles = circuits.registry.handles_of_a_circuit();
        let is_needed = |circuit: &Circuit| is_needed(circuit, handles);
        let idle = |entry: &Slot| unused_for(entry) >= self.idle && !entry.circuit.as_ref().is_some_and(is_needed);
        let leaving: Vec<_> = known.iter().filter(|(_, entry)| idle(entry)).collect();
        for (stem, entry) in leaving {
            self.evict(circuits, known, stem, entry, now, handles);
        }
    }

    /// Evicts an eighth of the known keys, but at least one key, in the order of their ranks. Returns true if a key was
    /// evicted. A circuit that an operator holds is never evicted. With `Full::Registry`, keys without a circuit stay,
    /// because only circuits take room in the registry.
    ///
    /// Restored circuits whose keys no call has used are evicted first, even if they are open. Without this order,
    /// hosts that this instance never calls would take the room, and the keys in use would evict each other.
    pub(super) fn evict_some(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64, full: Full) -> bool {
        if now < self.room_at {
            return false;
        }
        let handles = circuits.registry.handles_of_a_circuit();
        let takes_room = |entry: &Slot| full == Full::Layer || entry.circuit.is_some();
        let is_held = |entry: &Slot| entry.circuit.as_ref().is_some_and(Circuit::is_held);
        let all = || known.iter().filter(|(_, entry)| takes_room(entry));
        let free = all().filter(|(_, entry)| !is_held(entry));
        let mut leaving: Vec<_> = free.map(|(stem, entry)| (Rank::of(entry, handles), stem, entry)).collect();
        // The number is an eighth of the known keys, and not an eighth of `max`. If the registry is full, the layer can
        // have far fewer keys than `max`.
        let wanted = (all().count() / 8).max(1);
        if leaving.len() > wanted {
            leaving.select_nth_unstable_by_key(wanted, |(rank, ..)| *rank);
            leaving.truncate(wanted);
        } else if leaving.len() < wanted {
            self.room_at = now + SECOND;
        }
        let before = self.keys;
        // Each entry is checked again, because an operator may have begun to hold the circuit of the entry after the
        // scan.
        for (_, stem, entry) in leaving.into_iter().filter(|(.., entry)| !is_held(entry)) {
            self.evict(circuits, known, stem, entry, now, handles);
        }
        self.keys < before
    }

    /// Removes a key from the map, and its circuit from the registry. `handles` is the number of references to an
    /// unused circuit. A circuit with more references is in use.
    fn evict(&mut self, circuits: &Circuits, known: &Known<'_>, stem: &str, entry: &Slot, now: u64, handles: usize) {
        if let Some(circuit) = &entry.circuit {
            let knows_something = circuit.knows_more_than_a_new_one(handles);
            // The circuit is removed from the registry before its entry is removed from the map. In the opposite order,
            // a thread could find no entry in the map, but still the old circuit in the registry.
            circuits.registry.remove(circuit);
            self.gone.push(circuit.clone());
            if circuit.config().label.as_ref().is_some_and(|label| label.is_own()) {
                self.labelled.insert(stem.into());
            }
            if knows_something {
                let (calls, used) = (calls(entry, circuit), entry.used());
                let former = Former { circuit: circuit.clone(), calls, used, since: now };
                self.formers.keep(stem, former, &mut self.dropped);
            }
        }
        known.remove(stem);
        self.keys -= 1;
        // Relaxed, because the count publishes no other data.
        circuits.evicted.fetch_add(1, Relaxed);
    }
}

impl Rank {
    /// Returns the rank of a key. `handles` is the number of references to an unused circuit. A circuit with more
    /// references is in use.
    fn of(entry: &Slot, handles: usize) -> Self {
        let class = match &entry.circuit {
            Some(_) if entry.awaits_first_call() => Class::Unused,
            Some(circuit) if circuit.knows_more_than_a_new_one(handles) => {
                Class::KnowsSomething { calls: calls(entry, circuit) }
            }
            _ => Class::KnowsNothing,
        };
        Self { class, used: entry.used() }
    }
}

/// Returns the number of calls of a key, including the calls of earlier circuits. The present circuit counts as at
/// least one call, because its first call may still be under way.
fn calls(entry: &Slot, circuit: &Circuit) -> u64 {
    entry.calls_before.saturating_add(circuit.ended_calls().max(1))
}
