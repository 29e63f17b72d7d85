//! The replacement of the entry of an instance.

use super::Effect;
use crate::record::join::{bound, merge};
use crate::record::{CircuitRecord, InstanceEntry};

pub(super) fn take_entry(record: &mut CircuitRecord, id: &str, entry: &InstanceEntry) -> Effect {
    let before = record.instances.get(id).cloned();
    if !entry.has_form() {
        return Effect::Unwritable;
    }
    // JSON has no form for a weight that is not a number, and the whole record could not be decoded again.
    let entry = &entry.cleaned();
    merge(&mut record.instances, id, entry);
    bound(&mut record.instances);
    let after = record.instances.get(id);
    if after == before.as_ref() {
        if after == Some(entry) { Effect::Known } else { Effect::Superseded }
    } else {
        Effect::Applied
    }
}
