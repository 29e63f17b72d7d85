//! The absent circuits of a group, which are circuits whose keys no call has used for a minute.
//!
//! A layer of keys keeps the circuit of an idle key after the endpoint of the key is gone. The number of slots, which
//! limits the circuits of the group that are open at once, grows with the number of members. An absent circuit must not
//! count as a member, and must not occupy a slot that a circuit in use needs. Therefore the layers count their absent
//! circuits, and the slots that these circuits have taken. The group subtracts the results from its numbers of members
//! and of taken slots.
//!
//! The absent circuits are counted when a circuit is about to open and when metrics are refreshed, at most once a
//! second. In between, the last result is used. A call of a healthy circuit does no work for the count, because each
//! layer records the last use of its keys anyway. `keyed/absent.rs` decides which circuits are absent.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Group, members, taken};
use crate::clock::{AnyClock, Tick};
use crate::sync::{AtomicU64, Mutex, OnceLock, Relaxed};

/// The layers of keys with circuits in the group, and the number of absent circuits in these layers.
#[derive(Default)]
pub(super) struct Layers {
    known: OnceLock<Known>,
    /// The number of absent members and the number of open slots that these members have taken, in the two halves of
    /// one word. The counts of the group have the same layout.
    absent: AtomicU64,
}

struct Known {
    layers: Mutex<Vec<Weak<dyn Layer>>>,
    /// The clock of the first layer, which measures the time since the absent circuits were last counted. The clocks of
    /// other layers are not used, because their times can have other origins.
    clock: AnyClock,
    /// The time from which the absent circuits may be counted again, in nanoseconds of `clock`.
    next_count: AtomicU64,
}

/// A layer of keys, which knows when each of its circuits was last used.
pub(crate) trait Layer: Send + Sync {
    /// Returns the number of absent circuits that this layer has in the group, and the number of open slots that these
    /// circuits have taken.
    fn absent(&self, group: &Group) -> Absent;
}

/// The number of absent circuits of a group, and the number of open slots that these circuits have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Absent {
    pub(crate) members: u32,
    pub(crate) slots: u32,
}

impl Group {
    /// Adds a layer of keys, unless the layer was added before. From now on, the group subtracts the absent circuits of
    /// this layer from its number of circuits. `clock` is the clock of the layer.
    pub(crate) fn add_layer(&self, layer: &Weak<dyn Layer>, clock: &AnyClock) {
        let new = || Known { layers: Mutex::default(), clock: clock.clone(), next_count: AtomicU64::new(0) };
        let mut layers = self.shared.layers.known.get_or_init(new).layers.lock();
        if !layers.iter().any(|known| Weak::ptr_eq(known, layer)) {
            layers.push(Weak::clone(layer));
        }
    }

    /// Counts the absent circuits, unless they were counted less than a second ago. The caller must hold no lock,
    /// because a layer takes the locks of its circuits. The caller must hold no list of handles to circuits either,
    /// because a circuit to which a handle exists does not count as absent.
    pub(crate) fn count_absent(&self) {
        let Some(Known { layers, clock, next_count }) = self.shared.layers.known.get() else { return };
        // Relaxed for `next_count` and `absent`, because neither publishes other data. The exchange only elects the
        // thread that counts.
        let (now, due) = (clock.now(), next_count.load(Relaxed));
        let next = now.saturating_add(COUNT_EVERY).as_nanos();
        // If the clock has jumped back, `due` is more than one interval away. Without the second condition, no count
        // would begin until the clock reaches `due`.
        let is_due = now >= Tick::from_nanos(due) || due > next;
        if !is_due || next_count.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        // The handles outlive the guard of the lock. If a handle is the last handle to its layer, the layer is dropped
        // after the lock is released.
        let layers: Vec<_> = {
            let mut layers = layers.lock();
            layers.retain(|layer| layer.strong_count() > 0);
            layers.iter().filter_map(Weak::upgrade).collect()
        };
        let absent = layers.iter().map(|layer| layer.absent(self)).fold(Absent::default(), |sum, of_one| Absent {
            members: sum.members.saturating_add(of_one.members),
            slots: sum.slots.saturating_add(of_one.slots),
        });
        // Relaxed, for the reason above.
        self.shared.layers.absent.store(join(absent.members, absent.slots), Relaxed);
    }

    /// Returns true if `self` and `other` are handles to the same group.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Layers {
    /// Returns the word of a group (number of members, number of taken slots) without the absent circuits. The
    /// differences saturate at zero, because a circuit may have left the group after it was counted as absent.
    pub(super) fn subtract_absent(&self, counts: u64) -> u64 {
        // Relaxed, because the counts publish no other data.
        let absent = self.absent.load(Relaxed);
        join(members(counts).saturating_sub(members(absent)), taken(counts).saturating_sub(taken(absent)))
    }
}

fn join(members: u32, taken: u32) -> u64 {
    u64::from(members) << 32 | u64::from(taken)
}

/// The shortest time between two counts of the absent circuits. In a layer of ten thousand keys, counting takes some
/// milliseconds.
const COUNT_EVERY: Duration = Duration::from_secs(1);
