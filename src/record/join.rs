//! Two copies of a record become one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use super::{CircuitRecord, InstanceEntry};
use crate::state::State;

/// Returns what two copies of a record say together: of each part the newer one.
///
/// Commutative, associative and idempotent, so it does not matter in which order, how often and over which way copies arrive.
/// A tie of numbers is broken for the safer state (open before half-open before closed), then arbitrarily but the same way
/// everywhere.
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
    for (id, entry) in &other.instances {
        merge(&mut joined.instances, id, entry);
    }
    bound(&mut joined.instances);
    joined.sum();
    joined
}

/// Puts the entry in, unless there is a newer one.
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

/// Keeps the entries that were written last. Whoever is left out once, is left out of every later join too.
pub(super) fn bound(instances: &mut BTreeMap<String, InstanceEntry>) {
    while instances.len() > CircuitRecord::MAX_INSTANCES {
        let oldest =
            instances.iter().min_by_key(|(id, entry)| (entry.sequence, (*id).clone())).map(|(id, _)| id.clone());
        oldest.and_then(|id| instances.remove(&id));
    }
}

/// Orders the published states.
fn published(a: &CircuitRecord, b: &CircuitRecord) -> Ordering {
    let key = |record: &CircuitRecord| {
        let rank = match record.state {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        };
        // An opening without an end is the longest.
        (
            record.generation,
            rank,
            record.until.is_none(),
            record.until,
            record.last_state_change,
            record.half_open_attempts,
        )
    };
    key(a).cmp(&key(b)).then_with(|| rest(a).cmp(&rest(b)))
}

/// All that is published beside what orders it, as one text.
fn rest(record: &CircuitRecord) -> String {
    let CircuitRecord { reason, opened_at, left_closed_at, open_ms, instance, incarnation, era, extra, .. } = record;
    text(&(reason, opened_at, left_closed_at, open_ms, instance, incarnation, era, extra))
}

fn text(part: &impl Serialize) -> String {
    // It cannot fail: keys are strings. Should it, the tie is broken by which copy is the first.
    serde_json::to_string(part).unwrap_or_default()
}
