//! The absent circuits of a layer. An absent circuit is not counted as a member of its group, because its endpoint is
//! probably gone.
//!
//! A circuit is absent if no call has used its key for a minute. A circuit that has taken an open slot of its group
//! (the right to be open) is absent only after ten minutes. In a service with few calls, the slots of open circuits
//! would otherwise become free after a minute, and too many circuits could open.
//!
//! Three kinds of circuits are needed and never absent, even without calls. They are circuits that an operator holds,
//! circuits to which the application has a handle, and circuits that would reject the next call. Callers avoid a key
//! whose circuit rejects calls, so the missing calls do not show that its endpoint is gone. A needed circuit is not
//! evicted as idle either.
//!
//! The number of references to a circuit shows whether the application has a handle. But a status page also holds a
//! reference for a moment. Therefore a handle makes a circuit needed only if two counts of absent circuits in a row
//! have found an additional reference. Until the second count, the group can have too few members, but never too many.

use super::circuits::{Circuits, GRAIN};
use super::slot::Slot;
use crate::circuit::Circuit;
use crate::group::{Absent, Group};

impl Circuits {
    /// Returns the number of absent circuits of the group, and the number of open slots that these circuits have taken.
    pub(super) fn absent(&self, group: &Group) -> Absent {
        let now = self.clock.now().as_nanos() >> GRAIN;
        let handles = self.registry.handles_of_a_circuit();
        let mut absent = Absent::default();
        for entry in self.known.pin().values() {
            if let Some(holds_slot) = holds_slot_and_is_absent(entry, group, now, handles) {
                absent.members += 1;
                absent.slots += u32::from(holds_slot);
            }
        }
        absent
    }
}

/// For an absent circuit of the group, returns whether the circuit has taken an open slot of the group. Returns `None`
/// for every other circuit.
fn holds_slot_and_is_absent(entry: &Slot, group: &Group, now: u64, handles: usize) -> Option<bool> {
    let unused_for = now.saturating_sub(entry.used());
    let circuit = entry.circuit.as_ref().filter(|_| unused_for >= ABSENT_AFTER)?;
    let holds_slot = circuit.holds_slot_of(group)?;
    let is_recent = holds_slot && unused_for < ABSENT_WITH_SLOT_AFTER;
    let has_handle = entry.note_handle(circuit.has_calls_under_way(handles));
    let is_present = is_recent || has_handle || rejects_or_is_held(circuit);
    (!is_present).then_some(holds_slot)
}

/// Returns true if the circuit must be kept although no call uses its key. `handles` is the number of references to an
/// unused circuit. A circuit with more references has calls under way, or the application has a handle.
pub(super) fn is_needed(circuit: &Circuit, handles: usize) -> bool {
    circuit.has_calls_under_way(handles) || rejects_or_is_held(circuit)
}

fn rejects_or_is_held(circuit: &Circuit) -> bool {
    circuit.is_held() || !circuit.would_admit_without_leases()
}

/// The time without a call after which a circuit is absent. The value is one minute, in coarse ticks of 17 ms.
const ABSENT_AFTER: u64 = 60_000_000_000 >> GRAIN;
const ABSENT_WITH_SLOT_AFTER: u64 = 10 * ABSENT_AFTER;
