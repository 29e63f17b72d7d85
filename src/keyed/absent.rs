//! The circuits of a layer that are absent from their group, because their endpoints are probably gone.
//!
//! No call has used the key of an absent circuit for a minute. A circuit that has taken an open slot of its group,
//! which is the right to be open, is absent only after ten minutes. Otherwise, in a service with few calls, each open
//! circuit would soon be absent, and the next circuit could use its slot. Some circuits are needed and never absent
//! although no call uses their keys. These are the circuits that an operator holds, and the circuits whose calls the
//! application makes by a handle. Circuits that would reject the next call are needed too, because callers avoid their
//! keys. A circuit that is needed is not evicted as idle either.
//!
//! Only the number of references to a circuit shows that the application has a handle, and a status page also holds a
//! reference for a moment. Therefore a handle makes its circuit needed only if two counts of absent circuits in a row
//! have found the handle. After the application has got a handle, the group can have too few members until the second
//! count, but never too many.

use super::circuits::{Circuits, GRAIN};
use super::slot::Slot;
use crate::circuit::Circuit;
use crate::group::{Absent, Group};

impl Circuits {
    /// Returns the number of absent circuits of the group, and the number of open slots that they hold.
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

/// Returns true if an absent circuit holds an open slot of the group, and false if an absent circuit holds none.
/// Returns `None` if the circuit is not absent from the group.
fn holds_slot_and_is_absent(entry: &Slot, group: &Group, now: u64, handles: usize) -> Option<bool> {
    let unused_for = now.saturating_sub(entry.used());
    let circuit = entry.circuit.as_ref().filter(|_| unused_for >= ABSENT_AFTER)?;
    let holds_slot = circuit.holds_slot_of(group)?;
    let is_recent = holds_slot && unused_for < ABSENT_WITH_SLOT_AFTER;
    let has_handle = entry.note_handle(circuit.has_calls_under_way(handles));
    let is_present = is_recent || has_handle || rejects_or_is_held(circuit);
    (!is_present).then_some(holds_slot)
}

/// Returns true if the circuit is needed although no call uses its key. `handles` is the number of handles to the
/// circuit if the application has no handle.
pub(super) fn is_needed(circuit: &Circuit, handles: usize) -> bool {
    circuit.has_calls_under_way(handles) || rejects_or_is_held(circuit)
}

fn rejects_or_is_held(circuit: &Circuit) -> bool {
    circuit.is_held() || !circuit.would_admit_without_leases()
}

/// The time without a call after which a circuit is absent, which is a minute in coarse ticks of 17 ms.
const ABSENT_AFTER: u64 = 60_000_000_000 >> GRAIN;
const ABSENT_WITH_SLOT_AFTER: u64 = 10 * ABSENT_AFTER;
