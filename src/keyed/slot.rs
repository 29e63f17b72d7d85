//! The entry of a key in the map of keyed circuits.

use super::circuits::SECOND;
use crate::circuit::Circuit;
use crate::sync::{AtomicBool, AtomicU64, Relaxed};

/// The entry of a key, with its circuit and the time of its last use.
#[derive(Debug)]
pub(super) struct Slot {
    /// The circuit of the key. `None` if the settings of the key were refused. Calls of the key are then unguarded
    /// until the key is tried again.
    pub(super) circuit: Option<Circuit>,
    /// The number of calls of earlier, evicted circuits of the key.
    pub(super) calls_before: u64,
    /// The coarse tick (17 ms) of the last use, and the number of ticks in which the key was used. For a refused key,
    /// the tick of the refusal.
    ///
    /// ```text
    /// word   63..24 tick | 23..0 ticks with a use
    /// ```
    used: AtomicU64,
    /// The coarse tick at which the restore created the circuit. `u64::MAX` if a call created the circuit.
    brought_back: u64,
    /// True if the application had a handle to this circuit at the last count of absent circuits (circuits whose keys
    /// are not in use).
    had_handle: AtomicBool,
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
    pub(super) fn new(circuit: Option<Circuit>, calls_before: u64, now: u64, cause: Cause) -> Self {
        let brought_back = if cause == Cause::Restore { now } else { u64::MAX };
        let uses = u64::from(cause == Cause::Call);
        Self {
            circuit,
            calls_before,
            used: AtomicU64::new(now << USES_BITS | uses),
            brought_back,
            had_handle: AtomicBool::new(false),
        }
    }

    /// Returns the coarse tick of the last use.
    pub(super) fn used(&self) -> u64 {
        // Relaxed, because the time of use publishes no other data.
        self.used.load(Relaxed) >> USES_BITS
    }

    /// Stores whether the application has a handle to this circuit, for a count of absent circuits. Returns true if the
    /// present and the previous count have both found a handle.
    pub(super) fn note_handle(&self, has_handle: bool) -> bool {
        // Relaxed, because the flag publishes no other data.
        self.had_handle.swap(has_handle, Relaxed) && has_handle
    }

    /// Returns true if the restore created the circuit, and no call has used the key since.
    pub(super) fn awaits_first_call(&self) -> bool {
        self.used() == self.brought_back
    }

    /// Returns the circuit, and writes the time of its use. Returns `Some(None)` if the settings of the key were
    /// refused, and `None` when the key may be tried again.
    #[inline]
    pub(super) fn circuit_at(&self, now: u64) -> Option<Option<&Circuit>> {
        let used = self.used();
        let Some(circuit) = &self.circuit else {
            return (now < used.saturating_add(REFUSED_AGAIN)).then_some(None);
        };
        if used < now {
            self.note_use(circuit, now);
        }
        Some(Some(circuit))
    }

    /// Writes the time of a use in a new tick, and counts the tick. Calls within one tick count as one use, so that a
    /// short burst of calls is not counted as many uses.
    #[cold]
    fn note_use(&self, circuit: &Circuit, now: u64) {
        // Relaxed for both, because the word publishes no other data. If two threads write at the same time, a tick may
        // be counted twice or not at all, or the earlier of two ticks may remain. The time and the number of uses need
        // not be exact.
        let uses = (self.used.load(Relaxed) & MOST_USES).saturating_add(1).min(MOST_USES);
        self.used.store(now << USES_BITS | uses, Relaxed);
        if let Some(label) = &circuit.config().label {
            label.used(uses);
        }
    }
}

/// A coarse tick has at most 40 bits, which leaves 24 bits for the number of uses.
const USES_BITS: u32 = 24;
const MOST_USES: u64 = (1 << USES_BITS) - 1;
/// The number of coarse ticks after which a refused key is tried again.
const REFUSED_AGAIN: u64 = 10 * SECOND;
