//! The absent circuits of a group, whose keys no call has used for a minute.
//!
//! A circuit is not dropped when its endpoint is gone, because a layer of keys keeps the circuits of idle keys. Such a
//! circuit must not raise the number of open slots, and must not keep a slot from the endpoints in use. Therefore the
//! layers count their absent circuits, and the group subtracts the counts from its members and from its taken slots.
//!
//! A call writes nothing for this purpose, because a layer knows the last use of each key already. The circuits count
//! anew, at most once a second, when a rule is met and when metrics are refreshed. So a group without openings pays
//! nothing. `keyed/circuits.rs` decides which circuits are absent.

use std::sync::{Arc, Weak};

use super::{Group, members, taken};
use crate::clock::Tick;
use crate::sync::{AtomicU64, Mutex, OnceLock, Relaxed};

/// The layers of keys that have circuits in the group, and their absent circuits.
#[derive(Default)]
pub(super) struct Layers {
    all: OnceLock<Mutex<Vec<Weak<dyn Layer>>>>,
    /// The absent members and their slots, in the two halves of a word like those of the group.
    absent: AtomicU64,
    /// The time from which the absent circuits are counted again, in nanoseconds.
    next_count: AtomicU64,
}

/// A layer of keys, which knows the last use of each of its circuits.
pub(crate) trait Layer: Send + Sync {
    /// Returns the absent circuits of the group.
    fn absent(&self, group: &Group) -> Absent;
}

/// The absent circuits of a group, and the open slots that they have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Absent {
    pub(crate) members: u32,
    pub(crate) slots: u32,
}

impl Group {
    /// Adds a layer to those that the group asks for absent circuits, unless the group has the layer already.
    pub(crate) fn add_layer(&self, layer: &Weak<dyn Layer>) {
        let mut all = self.shared.layers.all.get_or_init(Mutex::default).lock();
        if !all.iter().any(|known| Weak::ptr_eq(known, layer)) {
            all.push(Weak::clone(layer));
        }
    }

    /// Counts the absent circuits, unless they were counted less than a second ago. The caller holds no lock, because
    /// the layers take the locks of their circuits.
    pub(crate) fn count_absent(&self, now: Tick) {
        let layers = &self.shared.layers;
        let Some(all) = layers.all.get() else { return };
        // Relaxed for both words, because the counts publish no other data, and the exchange only elects the thread
        // that counts.
        let (now, due) = (now.as_nanos(), layers.next_count.load(Relaxed));
        let next = now.saturating_add(COUNT_EVERY);
        // After a jump of the clock the time can be further ahead than the interval.
        let is_due = now >= due || due > next;
        if !is_due || layers.next_count.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        // The lock is released first, because the last handle to a layer may be dropped here.
        let all: Vec<_> = {
            let mut all = all.lock();
            all.retain(|layer| layer.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        let absent = all.iter().map(|layer| layer.absent(self)).fold(Absent::default(), |sum, of_one| Absent {
            members: sum.members.saturating_add(of_one.members),
            slots: sum.slots.saturating_add(of_one.slots),
        });
        layers.absent.store(join(absent.members, absent.slots), Relaxed);
    }

    /// Returns true if both are handles to the same group.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Layers {
    /// Returns the counts of a group without its absent circuits. The differences are at least zero, because a circuit
    /// may have left the group since it was counted.
    pub(super) fn subtract_absent(&self, counts: u64) -> u64 {
        // Relaxed, for the reason in `count_absent`.
        let absent = self.absent.load(Relaxed);
        join(members(counts).saturating_sub(members(absent)), taken(counts).saturating_sub(taken(absent)))
    }
}

fn join(members: u32, taken: u32) -> u64 {
    u64::from(members) << 32 | u64::from(taken)
}

/// The nanoseconds between two counts, because a layer of ten thousand keys takes some milliseconds.
const COUNT_EVERY: u64 = 1_000_000_000;
