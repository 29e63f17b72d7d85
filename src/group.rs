//! Groups of circuits, of which only a share may be open at the same time.
//!
//! A balancer with one circuit for each endpoint loses its service if all circuits open, for example because the
//! network of this process fails, and not the endpoints. A group caps the damage. A circuit of a group needs an *open
//! slot* to leave the closed state by itself. The number of open slots follows the number of circuits in the group.
//!
//! Members and taken slots are two halves of one atomic word, so that a circuit compares both at the same moment
//! without a lock:
//!
//! | bits | |
//! |---|---|
//! | 0 to 31 | the open slots that are taken |
//! | 32 to 63 | the members, which are the circuits in the group |
//!
//! A layer of keys keeps the circuits of endpoints that are gone. `group/absent.rs` counts such *absent* circuits from
//! time to time, and subtracts them from both numbers.
//!
//! The module `circuit` decides when a circuit takes a slot and when it gives the slot back (`circuit/in_group.rs`).

#[cfg(feature = "keyed")]
mod absent;

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "keyed")]
pub(crate) use self::absent::{Absent, Layer};
use crate::sync::{Acquire, AtomicBool, AtomicU64, Relaxed, Release};

/// A group of circuits, of which only a share may be open at the same time. Clones are handles to the same group.
///
/// A circuit of a group needs an open slot to open. The group has as many open slots as the share of its circuits,
/// rounded down, but at least one. The circuit keeps the slot until the circuit has closed or is dropped. Without a
/// slot the opening is *suppressed*. The circuit stays closed, and evaluates its rules again at each failure. An
/// operator who acts on a circuit neither needs nor takes a slot.
///
/// A circuit of a layer of keys is a member only while its key is in use. If no call has used the key for a minute, the
/// circuit is no member, because its endpoint is probably gone. For a circuit that has taken a slot, the time is ten
/// minutes. A circuit remains a member nevertheless if it would reject the next call, if an operator holds it, or if
/// the application has a handle to it. The group looks for unused keys when one of its circuits is about to open and
/// when the metrics are refreshed, at most once a second.
///
/// Each [`ConfigBuilder::group`](crate::ConfigBuilder::group) puts the circuits of a configuration into the group. A
/// group belongs to one process. Two groups with one name are two groups, but share one gauge in metrics.
///
/// # Examples
///
/// ```
/// use tower_circuit_breaker::{Circuit, Config, Failure, Group};
///
/// let group = Group::new("orders endpoints").at_most_open(0.5);
/// let endpoint = |name| Ok::<_, tower_circuit_breaker::ConfigError>(Circuit::new(
///     Config::builder(name).consecutive_failures(1).group(&group).build()?,
/// ));
/// let endpoints = [endpoint("orders-1")?, endpoint("orders-2")?, endpoint("orders-3")?];
/// for endpoint in &endpoints {
///     endpoint.try_acquire()?.failure(Failure::hard());
/// }
/// assert_eq!((group.members(), group.open_slots(), group.open()), (3, 1, 1));
/// assert!(endpoints[0].is_open() && !endpoints[1].is_open() && !endpoints[2].is_open());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "panic threshold", alias = "max_ejection_percent")]
#[derive(Clone)]
#[must_use = "a group has no circuits until a configuration names the group"]
pub struct Group {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    /// The share of the members that may be open, as the bits of an `f64`. The share is checked when a configuration
    /// names the group.
    share: AtomicU64,
    /// The numbers of members and of taken slots, in the two halves of one word.
    counts: AtomicU64,
    /// The layers of keys that have circuits in the group, and the number of those circuits whose keys are not in use.
    #[cfg(feature = "keyed")]
    layers: absent::Layers,
}

impl Group {
    /// Returns a new group without circuits. At most half of the circuits that join, but at least one, may be open at
    /// the same time.
    ///
    /// The name appears in metrics, logs and statuses. Range: 1 to 200 bytes of printable text, which may have spaces.
    /// The range is checked by [`ConfigBuilder::build`](crate::ConfigBuilder::build).
    pub fn new(name: &str) -> Self {
        let share = AtomicU64::new(SHARE.to_bits());
        Self {
            shared: Arc::new(Shared {
                name: name.into(),
                share,
                counts: AtomicU64::new(0),
                #[cfg(feature = "keyed")]
                layers: absent::Layers::default(),
            }),
        }
    }

    /// Sets the share of the circuits that may be open at the same time, for all handles to the group.
    ///
    /// Range: more than 0, at most 1, which is checked by [`ConfigBuilder::build`](crate::ConfigBuilder::build).
    /// Default: 0.5, because if more than half of the endpoints fail, the cause is not the endpoints but the service,
    /// the network or this process. A new share decides about the next opening, and closes no circuit that is open.
    /// Once the group has circuits, a share outside of the range is ignored, because the configurations that would
    /// refuse the share are already built.
    pub fn at_most_open(self, share: f64) -> Self {
        if members(self.shared.load()) == 0 || (share > 0.0 && share <= 1.0) {
            // Relaxed, because the share publishes no other data.
            self.shared.share.store(share.to_bits(), Relaxed);
        }
        self
    }

    /// Returns the name of the group.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the share of the circuits that may be open.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.shared.share()
    }

    /// Returns the number of circuits in the group. A circuit of a layer of keys is left out if its key was not in use
    /// when the keys were last checked.
    #[must_use]
    pub fn members(&self) -> u32 {
        members(self.shared.present())
    }

    /// Returns the number of open slots that the group has. The number is at least 1, and can be lower than the number
    /// of [taken slots](Self::open) after circuits have left the group.
    #[must_use]
    pub fn open_slots(&self) -> u32 {
        slots(self.share(), self.members())
    }

    /// Returns the number of open slots that are taken, which is the number of members that have opened by themselves
    /// and have not closed since.
    #[must_use]
    pub fn open(&self) -> u32 {
        taken(self.shared.present())
    }

    /// Returns the numbers of taken slots and of members at the same moment.
    pub(crate) fn open_of(&self) -> (u32, u32) {
        let counts = self.shared.present();
        (taken(counts), members(counts))
    }

    /// Returns the name of the group. A status keeps a clone of the name and can outlive the group.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.shared.name)
    }

    /// Adds a circuit to the group, and returns the membership of the circuit.
    pub(crate) fn join(&self) -> Member {
        // Relaxed, because the count publishes no other data.
        self.shared.counts.fetch_add(MEMBER, Relaxed);
        Member { group: self.clone(), has_left: AtomicBool::new(false) }
    }
}

impl Shared {
    fn load(&self) -> u64 {
        // Relaxed, because no other data depends on the counts.
        self.counts.load(Relaxed)
    }

    /// Returns the counts without the absent circuits, whose keys are not in use.
    fn present(&self) -> u64 {
        self.without_absent(self.load())
    }

    fn without_absent(&self, counts: u64) -> u64 {
        #[cfg(feature = "keyed")]
        let counts = self.layers.subtract_absent(counts);
        counts
    }

    fn share(&self) -> f64 {
        // Relaxed, because the share publishes no other data.
        f64::from_bits(self.share.load(Relaxed))
    }

    /// Returns true if all slots are taken.
    fn is_full(&self, counts: u64) -> bool {
        let counts = self.without_absent(counts);
        taken(counts) >= slots(self.share(), members(counts))
    }
}

/// Writes the name, the share and the decoded counts.
impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, members) = self.open_of();
        let mut debug = f.debug_struct("Group");
        debug.field("name", &self.name()).field("at_most_open", &self.share());
        debug.field("members", &members).field("open", &open).finish()
    }
}

/// The membership of one circuit in its group. The membership ends when the circuit leaves the group or is dropped,
/// whichever comes first.
#[derive(Debug)]
pub(crate) struct Member {
    group: Group,
    has_left: AtomicBool,
}

impl Member {
    pub(crate) const fn group(&self) -> &Group {
        &self.group
    }

    /// Returns true if the circuit does not belong to the group any more.
    pub(crate) fn has_left(&self) -> bool {
        // Relaxed, because the circuit leaves its group, and takes an open slot, only under its lock, which orders the
        // two operations. A reader without the lock may see an outdated flag.
        self.has_left.load(Relaxed)
    }

    /// Removes the circuit from the group. This function does not give the slot of the circuit back.
    pub(crate) fn leave(&self) {
        // Relaxed, because the flag only elects the thread that lowers the count, and publishes no other data.
        if !self.has_left.swap(true, Relaxed) {
            // Relaxed, because the count publishes no other data.
            self.group.shared.counts.fetch_sub(MEMBER, Relaxed);
        }
    }

    /// Returns true if all slots are taken, so that an attempt to take one would probably fail.
    pub(crate) fn finds_no_slot(&self) -> bool {
        self.group.shared.is_full(self.group.shared.load())
    }

    /// Takes an open slot. Returns `None` if all slots are taken.
    pub(crate) fn take(&self) -> Option<OpenSlot> {
        let shared = &self.group.shared;
        let one_more = |counts| (!shared.is_full(counts)).then_some(counts + 1);
        // Acquire, which pairs with the Release in the drop of a slot. The circuit that takes a slot sees that the
        // circuit that gave the slot back is closed or has left. Relaxed on failure, because a circuit without a slot
        // reads no other data.
        shared.counts.fetch_update(Acquire, Relaxed, one_more).ok()?;
        Some(OpenSlot { shared: Arc::clone(shared) })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

/// An open slot that one circuit has taken, so that the circuit may be open or half-open. The drop gives the slot back
/// to the group.
pub(crate) struct OpenSlot {
    shared: Arc<Shared>,
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        // Release, which pairs with the Acquire in `take`.
        self.shared.counts.fetch_sub(1, Release);
    }
}

impl fmt::Debug for OpenSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSlot").field("group", &self.shared.name).finish()
    }
}

/// Returns the number of open slots, which is the share of the members rounded down, and at least 1. A share that no
/// configuration accepts gives a number from 1 to `members`.
fn slots(share: f64, members: u32) -> u32 {
    // A product such as 0.29 × 100 can be a little below the whole number that the user expects.
    let product = (share * f64::from(members) + 1e-9).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, and NaN is 0")]
    let whole = product as u32;
    whole.min(members).max(1)
}

const fn taken(counts: u64) -> u32 {
    (counts & TAKEN) as u32
}

const fn members(counts: u64) -> u32 {
    (counts >> 32) as u32
}

/// The mask of the taken slots.
const TAKEN: u64 = u32::MAX as u64;
/// One member in the word of the counts.
const MEMBER: u64 = 1 << 32;
/// The default share of the members that may be open.
const SHARE: f64 = 0.5;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_open_slots_are_the_share_rounded_down_and_at_least_one() {
        let of_half = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (1_000, 500)];
        of_half.iter().for_each(|(members, expected)| assert_eq!(slots(0.5, *members), *expected, "{members}"));
        assert_eq!([slots(1.0, 7), slots(0.1, 9), slots(0.1, 10), slots(1.0 / 3.0, 3)], [7, 1, 1, 1]);
        assert_eq!([slots(0.29, 100), slots(0.7, 10), slots(0.999, 1_000)], [29, 7, 999], "floats do not cost a slot");
        assert_eq!(slots(1.0, u32::MAX), u32::MAX);
    }

    #[test]
    fn a_share_that_no_configuration_accepts_counts_between_one_and_all() {
        for share in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1.5, f64::MAX, f64::MIN_POSITIVE] {
            assert!((1..=4).contains(&slots(share, 4)), "{share}");
        }
        assert_eq!([slots(1.5, 4), slots(f64::NAN, 4)], [4, 1]);
    }

    #[test]
    fn a_member_leaves_once() {
        let group = Group::new("endpoints");
        let (one, other) = (group.join(), group.join());
        one.leave();
        one.leave();
        drop(one);
        assert_eq!(group.open_of(), (0, 1));
        let slot = other.take().expect("one slot");
        drop(other);
        assert_eq!((group.open_of(), group.open_slots()), ((1, 0), 1), "the slot outlives the member");
        drop(slot);
        assert_eq!(group.open_of(), (0, 0));
        assert_eq!(format!("{group:?}"), r#"Group { name: "endpoints", at_most_open: 0.5, members: 0, open: 0 }"#);
    }
}
