//! The merge of two copies of a record (`join`), which resolves conflicts between the writes of instances.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use super::{CircuitRecord, Fleet, InstanceEntry};
use crate::state::State;

/// Returns a record that contains the newer copy of each part of `a` and `b`.
///
/// The merge is commutative, associative and idempotent. Therefore neither the order of the copies nor a repeated copy
/// changes the result. If two published states have the same generation, the safer state wins. Open is safer than
/// half-open, and half-open is safer than closed. The content of the copies decides all other ties, so that every
/// instance computes the same result.
#[must_use]
pub fn join(a: &CircuitRecord, b: &CircuitRecord) -> CircuitRecord {
    let (newer, other) = if published(a, b) == Ordering::Less { (b, a) } else { (a, b) };
    let mut joined = newer.clone();
    joined.version = newer.version.max(other.version);
    joined.updated_at = newer.updated_at.max(other.updated_at);
    joined.operator = match (&a.operator, &b.operator) {
        (Some(a), Some(b)) => {
            Some(if a.sequence.cmp(&b.sequence).then_with(|| text(a).cmp(&text(b))).is_lt() { b } else { a }.clone())
        }
        (one, other) => one.as_ref().or(other.as_ref()).cloned(),
    };
    joined.fleet = match (&a.fleet, &b.fleet) {
        (Some(a), Some(b)) => Some(if decided(a, b).is_lt() { b } else { a }.clone()),
        (one, other) => one.as_ref().or(other.as_ref()).cloned(),
    };
    for (id, entry) in &other.instances {
        merge(&mut joined.instances, id, entry);
    }
    bound(&mut joined.instances);
    joined.fit();
    joined
}

/// Inserts the entry of an instance, unless the present entry of the instance is newer.
pub(super) fn merge(instances: &mut BTreeMap<String, InstanceEntry>, id: &str, entry: &InstanceEntry) {
    match instances.get_mut(id) {
        Some(present) => {
            let order = present.sequence.cmp(&entry.sequence).then_with(|| text(present).cmp(&text(entry)));
            if order.is_lt() {
                present.clone_from(entry);
            }
        }
        None => {
            instances.insert(id.to_owned(), entry.clone());
        }
    }
}

/// Removes the oldest entries until at most [`MAX_INSTANCES`](CircuitRecord::MAX_INSTANCES) entries remain. The
/// remaining entries are newer than each removed entry. If a later merge brings a removed entry back, the list is too
/// long again, and that entry is removed again as the oldest. Therefore the result of several merges does not depend on
/// the order of the copies.
pub(super) fn bound(instances: &mut BTreeMap<String, InstanceEntry>) {
    while instances.len() > CircuitRecord::MAX_INSTANCES {
        let oldest =
            instances.iter().min_by_key(|(id, entry)| (entry.sequence, (*id).clone())).map(|(id, _)| id.clone());
        oldest.and_then(|id| instances.remove(&id));
    }
}

/// Compares the published states of two copies of a record. The merge keeps the state that compares as greater.
fn published(a: &CircuitRecord, b: &CircuitRecord) -> Ordering {
    let key = |record: &CircuitRecord| {
        // An opening without an end wins, because it rejects calls longer than an opening with an end.
        (
            record.generation,
            rank(record.state),
            record.until.is_none(),
            record.until,
            record.last_state_change,
            record.half_open_attempts,
        )
    };
    key(a).cmp(&key(b)).then_with(|| rest(a).cmp(&rest(b)))
}

/// Compares the decisions of a fleet in two copies of a record, in the same way as [`published`] compares the published
/// states.
fn decided(a: &Fleet, b: &Fleet) -> Ordering {
    let key = |fleet: &Fleet| {
        let Fleet { generation, state, until, since, attempt, .. } = fleet;
        (*generation, rank(*state), until.is_none(), *until, *since, *attempt)
    };
    key(a).cmp(&key(b)).then_with(|| text(a).cmp(&text(b)))
}

/// Returns a number to compare two states of the same generation. A safer state has a higher number.
const fn rank(state: State) -> u8 {
    match state {
        State::Closed => 0,
        State::HalfOpen => 1,
        State::Open => 2,
    }
}

/// Returns the published fields that are not in the key of [`published`], as one text. The texts are compared if the
/// keys of two copies are equal.
fn rest(record: &CircuitRecord) -> String {
    let CircuitRecord { reason, opened_at, left_closed_at, open_ms, instance, incarnation, era, extra, .. } = record;
    text(&(reason, opened_at, left_closed_at, open_ms, instance, incarnation, era, extra))
}

fn text(part: &impl Serialize) -> String {
    // Serialization fails only for a state, mode or act that cannot be stored. A decoded record contains no such value.
    serde_json::to_string(part).unwrap_or_default()
}
