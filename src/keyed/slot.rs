//! The entry of a key in the map of keyed circuits.

use super::circuits::SECOND;
use crate::circuit::Circuit;
use crate::sync::{AtomicBool, AtomicU64, Relaxed};

/// The entry of a key, with its circuit and the time of its last use.
#[derive(Debug)]
pub(super) struct Slot {
    /// The circuit of the key, or `None` if the settings for the key were invalid. Without a circuit, calls of the key
    /// pass unguarded until the settings are tried again.
    pub(super) circuit: Option<Circuit>,
    /// The number of calls of the key through its earlier, evicted circuits.
    pub(super) calls_before: u64,
    /// The coarse tick (17 ms) of the last use of the key, and the number of ticks in which the key was used. If the
    /// settings for the key were invalid, the tick is the time at which the settings were checked.
    ///
    /// ```text
    /// word   63..24 tick | 23..0 ticks with a use
    /// ```
    used: AtomicU64,
    /// The coarse tick at which the circuit was restored from the store. `u64::MAX` if a call created the circuit.
    brought_back: u64,
    /// True if the application had a handle to this circuit when absent circuits (circuits without recent calls) were
    /// last counted.
    had_handle: AtomicBool,
}

/// The cause of a new circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A call with a new key.
    Call,
    /// The restore from the store, which creates circuits for stored names.
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

    /// Stores whether a count of absent circuits has found a handle of the application to this circuit. Returns true if
    /// this count and the previous count have both found a handle.
    pub(super) fn note_handle(&self, has_handle: bool) -> bool {
        // Relaxed, because the flag publishes no other data.
        self.had_handle.swap(has_handle, Relaxed) && has_handle
    }

    /// Returns true if the circuit was restored from the store and no call has used the key since.
    pub(super) fn awaits_first_call(&self) -> bool {
        self.used() == self.brought_back
    }

    /// Returns the circuit, and stores `now` as the time of its last use. If the settings for the key were invalid,
    /// returns `Some(None)`, or `None` if it is time to try the settings again.
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

    /// Stores the tick of a use, and adds 1 to the number of uses. The caller calls this function only if the stored
    /// tick is earlier, so that a short burst of calls counts as one use.
    #[cold]
    fn note_use(&self, circuit: &Circuit, now: u64) {
        // Relaxed for the load and the store, because the word publishes no other data. If two threads write at the
        // same time, a tick may be counted twice or not at all, or the earlier of two ticks may remain. The time and
        // the number of uses need not be exact.
        let uses = (self.used.load(Relaxed) & MOST_USES).saturating_add(1).min(MOST_USES);
        self.used.store(now << USES_BITS | uses, Relaxed);
        if let Some(label) = &circuit.config().label {
            label.used(uses);
        }
    }
}

/// The number of bits for the number of uses. The other 40 bits of the word hold the coarse tick.
const USES_BITS: u32 = 24;
const MOST_USES: u64 = (1 << USES_BITS) - 1;
/// The number of coarse ticks after which invalid settings for a key are tried again.
const REFUSED_AGAIN: u64 = 10 * SECOND;
