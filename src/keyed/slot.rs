//! The entry of a key in the map of keyed circuits.

use super::circuits::SECOND;
use crate::circuit::Circuit;
use crate::sync::{AtomicU64, Relaxed};

/// The entry of a key, with its circuit and the time of its last use.
#[derive(Debug)]
pub(super) struct Slot {
    /// The circuit of the key. `None` if the registry or the template refused the circuit. Calls of the key
    /// are then unguarded until the key is tried again.
    pub(super) circuit: Option<Circuit>,
    /// True if this `Keyed` created the circuit. A circuit that this `Keyed` did not create must not be
    /// removed from the registry.
    pub(super) is_own: bool,
    /// The coarse tick of the last use. For a refused key, the tick of the refusal.
    pub(super) used: AtomicU64,
    /// The coarse tick at which the restore created the circuit. The largest tick if a call created the
    /// circuit.
    brought_back: u64,
}

/// The cause of a new circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A call with a new key.
    Call,
    /// The restore, which creates circuits for the names in the store.
    Restore,
}

impl Slot {
    pub(super) fn new(circuit: Option<Circuit>, is_own: bool, now: u64, cause: Cause) -> Self {
        let brought_back = if cause == Cause::Restore { now } else { u64::MAX };
        Self { circuit, is_own, used: AtomicU64::new(now), brought_back }
    }

    /// Returns true if the restore created the circuit, and no call has used the key since.
    pub(super) fn awaits_first_call(&self) -> bool {
        // Relaxed, because the time of use publishes no other data.
        self.used.load(Relaxed) == self.brought_back
    }

    /// Returns the circuit, and writes the time of its use. Returns `Some(None)` for a refused key, and
    /// `None` if a refused key may be tried again.
    #[inline]
    pub(super) fn circuit_at(&self, now: u64) -> Option<Option<&Circuit>> {
        // Relaxed for the load and the store, because the time of use publishes no other data.
        let used = self.used.load(Relaxed);
        if self.circuit.is_none() {
            return (now < used.saturating_add(REFUSED_AGAIN)).then_some(None);
        }
        if used < now {
            self.used.store(now, Relaxed);
        }
        Some(self.circuit.as_ref())
    }
}

/// The time after which a refused key is tried again.
const REFUSED_AGAIN: u64 = 10 * SECOND;
