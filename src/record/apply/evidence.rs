//! The command that replaces the entry of an instance. The entry contains the state of the circuit on the instance and
//! its evidence (counts of calls).

use super::Effect;
use crate::record::join::{bound, merge};
use crate::record::{CircuitRecord, InstanceEntry};

pub(super) fn take_entry(record: &mut CircuitRecord, id: &str, entry: &InstanceEntry) -> Effect {
    let before = record.instances.get(id).cloned();
    if !entry.has_form() {
        return Effect::Unwritable;
    }
    // An invalid weight such as NaN is set to zero. JSON has no NaN, so a record with NaN could not be decoded again.
    let mut entry = entry.cleaned();
    // Only fleet commands change votes and leases. Therefore, if the new entry has no vote or no lease, the vote or the
    // lease of the present entry is kept.
    let present = before.as_ref();
    entry.vote = entry.vote.or_else(|| present?.vote.clone());
    entry.lease = entry.lease.or_else(|| present?.lease.clone());
    let entry = &entry;
    merge(&mut record.instances, id, entry);
    bound(&mut record.instances);
    let after = record.instances.get(id);
    if after == before.as_ref() {
        if after == Some(entry) { Effect::Known } else { Effect::Superseded }
    } else {
        Effect::Applied
    }
}
