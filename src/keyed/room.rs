//! The eviction of keys when a new key arrives. Idle keys are evicted first, then keys that were restored and not used
//! since, then the least recently used of the keys whose circuits know nothing, and then the keys with the fewest
//! calls.
//!
//! A caller may choose the keys. Therefore open circuits are evicted too, so that a caller cannot fill the layer with
//! them. An evicted circuit that knows something is kept among the [`Formers`].
//!
//! A scan of ten thousand keys takes a few milliseconds. Therefore a scan evicts an eighth of the keys at once. If
//! a scan finds too few keys, because operators hold the others, the next scan waits for a second.

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

/// The state of the eviction, under a lock that only calls of new keys take. All times are coarse ticks of 17 ms.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) max: usize,
    keys: usize,
    pub(super) idle: u64,
    /// The tick of the next scan for idle keys.
    idle_at: u64,
    /// The tick before which no scan for room is made, because the last scan found too few keys.
    room_at: u64,
    /// The keys that had their own label in metrics when they were evicted. There are at most as many of these keys as
    /// labels.
    labelled: HashSet<Box<str>>,
    /// The circuits that were evicted and not reported yet.
    gone: Vec<Circuit>,
    /// The evicted circuits that are not kept any more. They are dropped after the lock is released, because the drop
    /// of a circuit can run foreign code, such as the code of an observer.
    dropped: Vec<Circuit>,
    formers: Formers,
}

/// The circuits that a caller must handle after it has released the lock.
#[derive(Debug)]
pub(super) struct Leaving {
    /// The circuits that were evicted, whose observers must be notified.
    pub(super) gone: Vec<Circuit>,
    /// The circuits that must only be dropped.
    pub(super) _dropped: Vec<Circuit>,
}

/// The part that has no room for a new circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Layer,
    Registry,
}

/// The order in which keys are evicted to make room. Keys of a smaller rank are evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: Class,
    used: u64,
}

/// The classes of a [`Rank`], in the order of eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The restore created the circuit, and no call has used its key.
    Unused,
    /// A new circuit would know as much as this circuit.
    KnowsNothing,
    /// A new circuit would know less than this circuit, for example because this circuit is open, has failures, or has
    /// calls under way. `calls` is the number of calls of the key.
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

    /// Returns true if an earlier circuit of the key has got its own label in metrics.
    pub(super) fn has_label(&self, stem: &str) -> bool {
        self.labelled.contains(stem)
    }

    /// Adds the circuit of a stem to the map. Without a circuit, adds an entry which shows that the settings of the key
    /// were refused.
    pub(super) fn keep(&mut self, known: &Known<'_>, stem: &str, circuit: Option<Circuit>, now: u64, cause: Cause) {
        let calls_before = self.formers.calls(stem);
        if circuit.is_some() {
            self.dropped.extend(self.formers.take(stem));
        }
        known.insert(stem.into(), Slot::new(circuit, calls_before, now, cause));
        self.keys += 1;
    }

    /// Removes a key whose configuration was refused, so that the key can be tried again.
    pub(super) fn drop_refused(&mut self, known: &Known<'_>, stem: &str) {
        self.keys -= usize::from(known.remove(stem).is_some());
    }

    /// Makes room for one key by evicting other keys if necessary. Returns false if there is no room and no key can be
    /// evicted. For a circuit that the restore creates, only idle keys are evicted, because keys in use are more
    /// important.
    pub(super) fn make(&mut self, circuits: &Circuits, known: &Known<'_>, now: u64, cause: Cause) -> bool {
        if now >= self.idle_at {
            self.idle_at = now.saturating_add((self.idle / 4).max(SECOND));
            self.evict_idle(circuits, known, now);
        }
        self.keys < self.max || cause == Cause::Call && self.evict_some(circuits, known, now, Full::Layer)
    }

    /// Returns the tick until which new keys are refused. The caller has just found no room for a key.
    pub(super) fn next_try(&self, now: u64) -> u64 {
        self.room_at.max(now + 1)
    }

    /// Takes the evicted and the forgotten circuits, so that the caller can report and drop them without the lock.
    pub(super) fn leaving(&mut self) -> Leaving {
        Leaving { gone: std::mem::take(&mut self.gone), _dropped: std::mem::take(&mut self.dropped) }
    }

    /// Evicts the keys that were not used for the idle time. A key stays if its circuit would reject the next call, has
    /// calls under way or is held by an operator, or if the application has a handle to the circuit.
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

    /// Evicts an eighth of the known keys, and at least one key, in the order of their ranks. Returns true if a key was
    /// evicted. A circuit that an operator holds is never evicted. With `Full::Registry`, a key whose circuit was
    /// refused stays, because its entry takes no room in the registry.
    ///
    /// Circuits that were restored from the store are evicted first as long as no call has used their keys, even if
    /// they are not closed. Without this order, hosts that this instance never calls would use up the room, and the
    /// keys in use would evict each other.
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
        // An eighth of the known keys and not of `max`, because a layer can have far fewer keys than `max` if the
        // registry is full.
        let wanted = (all().count() / 8).max(1);
        if leaving.len() > wanted {
            leaving.select_nth_unstable_by_key(wanted, |(rank, ..)| *rank);
            leaving.truncate(wanted);
        } else if leaving.len() < wanted {
            self.room_at = now + SECOND;
        }
        let before = self.keys;
        // Each entry is checked again, because an operator may have begun to hold its circuit after the scan.
        for (_, stem, entry) in leaving.into_iter().filter(|(.., entry)| !is_held(entry)) {
            self.evict(circuits, known, stem, entry, now, handles);
        }
        self.keys < before
    }

    /// Evicts a key. `handles` is the number of handles to a circuit that has no call under way.
    fn evict(&mut self, circuits: &Circuits, known: &Known<'_>, stem: &str, entry: &Slot, now: u64, handles: usize) {
        if let Some(circuit) = &entry.circuit {
            let knows_something = circuit.knows_more_than_a_new_one(handles);
            // The circuit leaves the registry before its entry leaves the map. In the other order, a thread that
            // finds no entry could still find the old circuit in the registry.
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
    /// Returns the rank of a key. `handles` is the number of handles to a circuit that has no call under way.
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

/// Returns the number of calls of a key. A circuit counts as one call at least, because its first call may still be
/// under way.
fn calls(entry: &Slot, circuit: &Circuit) -> u64 {
    entry.calls_before.saturating_add(circuit.ended_calls().max(1))
}
