//! The command that replaces the entry of an instance. The entry has the state and the evidence (the counts of calls)
//! of the instance.

use super::Effect;
use crate::record::join::{bound, merge};
use crate::record::{CircuitRecord, InstanceEntry};

pub(super) fn take_entry(record: &mut CircuitRecord, id: &str, entry: &InstanceEntry) -> Effect {
    let before = record.instances.get(id).cloned();
    if !entry.has_form() {
        return Effect::Unwritable;
    }
    // A weight that is not a number must not be written, because JSON has no such number, and the whole record could
    // not be decoded again.
    let mut entry = entry.cleaned();
    // If the new entry has no vote or no lease, the vote or the lease of the present entry is kept. Only the commands
    // of the instance to the fleet change votes and leases.
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
