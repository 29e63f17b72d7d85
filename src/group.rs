//! Groups of circuits. Only a share of the circuits in a group may be open at the same time.
//!
//! A balancer with one circuit for each endpoint can reach no endpoint if all circuits are open. All circuits can open
//! although the endpoints are healthy, for example if the network of this process fails. Therefore a group limits the
//! number of its open circuits. A circuit of a group needs an *open slot* to leave the closed state, unless an operator
//! opens the circuit. The number of open slots is a share of the number of circuits in the group.
//!
//! One atomic word holds the number of members and the number of taken slots. A circuit reads both numbers with one
//! load, without a lock:
//!
//! | bits | |
//! |---|---|
//! | 0 to 31 | the open slots that are taken |
//! | 32 to 63 | the members, which are the circuits in the group |
//!
//! A layer of keys keeps the circuit of an endpoint after the endpoint is gone. Such a circuit is *absent*.
//! `group/absent.rs` counts the absent circuits at most once a second. The group subtracts the absent circuits from its
//! members, and the slots of the absent circuits from its taken slots.
//!
//! The module `circuit` decides when a circuit takes a slot and when it gives the slot back (`circuit/in_group.rs`).

#[cfg(feature = "keyed")]
mod absent;

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "keyed")]
pub(crate) use self::absent::{Absent, Layer};
use crate::sync::{Acquire, AtomicBool, AtomicU64, Relaxed, Release};

/// A group of circuits. Only a share of its circuits may be open at the same time. Clones are handles to the same
/// group.
///
/// A circuit of a group takes an open slot when it opens, and gives the slot back when it closes or is dropped. The
/// number of open slots is the share multiplied by the number of circuits, rounded down, but at least 1. If all slots
/// are taken, the opening is *suppressed*, which means that the circuit stays closed and evaluates its rules again at
/// each failure. A trip or a reset by an operator neither needs nor takes a slot.
///
/// A circuit of a layer of keys is a member only while its key is in use. If no call has used the key for a minute, the
/// endpoint is probably gone, and the circuit is not a member any more. For a circuit that has taken a slot, the time
/// is ten minutes. A circuit without calls remains a member if its state rejects the next call, if an operator holds
/// the circuit, or if the application has a handle to the circuit. The group searches for unused keys when one of its
/// circuits is about to open and when the metrics are refreshed, at most once a second.
///
/// [`ConfigBuilder::group`](crate::ConfigBuilder::group) puts the circuits of a configuration into a group. A group
/// contains only circuits of this process. Two groups with the same name are independent, but share one gauge in
/// metrics.
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
    /// The share of the members that may be open at the same time, as the bits of an `f64`. `ConfigBuilder::build`
    /// checks the range of the share.
    share: AtomicU64,
    /// The number of members and the number of taken slots, in the two halves of one word.
    counts: AtomicU64,
    /// The layers of keys with circuits in the group, and the number of circuits whose keys are not in use.
    #[cfg(feature = "keyed")]
    layers: absent::Layers,
}

impl Group {
    /// Returns a new group without circuits. Half of its circuits, rounded down, but at least 1, may be open at the
    /// same time. [`at_most_open`](Self::at_most_open) sets another share.
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
    /// Default: 0.5. If more than half of the endpoints fail, they usually have one common cause, such as the whole
    /// service, the network or this process. A new share limits later openings, and does not close open circuits. While
    /// the group has circuits, a share outside of the range is ignored, because the configurations of these circuits
    /// are already checked.
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

    /// Returns the number of circuits in the group. A circuit of a layer of keys is not included if its key was unused
    /// when the group last searched for unused keys.
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

    /// Returns the number of taken open slots. This is the number of members that have opened by themselves and have
    /// not closed since.
    #[must_use]
    pub fn open(&self) -> u32 {
        taken(self.shared.present())
    }

    /// Returns the number of taken slots and the number of members, in this order. Both numbers are from the same
    /// moment.
    pub(crate) fn open_of(&self) -> (u32, u32) {
        let counts = self.shared.present();
        (taken(counts), members(counts))
    }

    /// Returns the name of the group as an `Arc`. A status keeps the `Arc`, and can outlive the group.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.shared.name)
    }

    /// Adds a circuit to the group. The circuit leaves the group at the latest when the returned membership is dropped.
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

    /// Returns the word with the number of members and the number of taken slots, without the absent circuits (circuits
    /// whose keys are not in use).
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

/// The membership of one circuit in its group. The membership ends when the circuit leaves the group, at the latest
/// when the circuit is dropped.
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
        // Relaxed, because a circuit holds its own lock when it leaves its group or takes an open slot. The lock orders
        // these operations. A reader without the lock may see an outdated flag.
        self.has_left.load(Relaxed)
    }

    /// Removes the circuit from the group. An open slot of the circuit stays taken.
    pub(crate) fn leave(&self) {
        // Relaxed, because the flag only elects the thread that lowers the count, and publishes no other data.
        if !self.has_left.swap(true, Relaxed) {
            // Relaxed, because the count publishes no other data.
            self.group.shared.counts.fetch_sub(MEMBER, Relaxed);
        }
    }

    /// Returns true if all open slots of the group are taken at this moment, so that [`take`](Self::take) would
    /// probably return `None`.
    pub(crate) fn finds_no_slot(&self) -> bool {
        self.group.shared.is_full(self.group.shared.load())
    }

    /// Takes an open slot. Returns `None` if all slots are taken.
    pub(crate) fn take(&self) -> Option<OpenSlot> {
        let shared = &self.group.shared;
        let one_more = |counts| (!shared.is_full(counts)).then_some(counts + 1);
        // Acquire, which pairs with the Release in the drop of a slot. The thread that takes a slot sees that the
        // circuit that gave the slot back is closed or has left the group. Relaxed on failure, because a circuit
        // without a slot reads no other data.
        shared.counts.fetch_update(Acquire, Relaxed, one_more).ok()?;
        Some(OpenSlot { shared: Arc::clone(shared) })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

/// An open slot that one circuit has taken from its group. With the slot, the circuit may be open or half-open.
/// Dropping the value gives the slot back to the group.
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

/// Returns the number of open slots, which is `share` × `members`, rounded down, but at least 1. Even for a share out
/// of range, the result is at most `members`, or 1 if `members` is 0.
fn slots(share: f64, members: u32) -> u32 {
    // As floats, 0.29 × 100 is slightly less than 29. The addition of 1e-9 corrects such rounding errors.
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
/// The default share of the members that may be open at the same time.
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
