//! The decisions of a fleet, and the function that writes a decision into a record. The function also writes the
//! decision into the fields that hold the published state of the record.

use std::time::Duration;

use super::Fleet;
use crate::record::apply::enter;
use crate::record::timestamp::millis;
use crate::record::{CircuitRecord, Timestamp, words};
use crate::state::{Generation, State};

/// The new state of a fleet, with its open duration, the cause of the opening (`origin`), and a sentence for people
/// (`reason`).
pub(super) struct Decision {
    pub(super) state: State,
    pub(super) open_for: Option<Duration>,
    pub(super) attempt: u32,
    pub(super) origin: Origin,
    pub(super) reason: String,
}

/// The cause of the opening of a fleet, which the record shows until the fleet closes or is reset. A decision to reopen
/// or to become half-open has `Kept`, and the record then keeps the cause of the first opening. A decision to close has
/// `None`.
pub(super) enum Origin {
    Votes { votes: u32, needed: u32 },
    Merged,
    Kept,
    None,
}

impl Decision {
    /// Writes the decision into the record, as the decision of the fleet and as the published state.
    pub(super) fn write(
        self,
        record: &mut CircuitRecord,
        before: Fleet,
        generation: Generation,
        id: &str,
        now: Timestamp,
    ) {
        let Self { state, open_for, attempt, origin, reason } = self;
        let (votes, needed, merged) = match origin {
            Origin::Votes { votes, needed } => (Some(votes), Some(needed), false),
            Origin::Merged => (None, None, true),
            Origin::Kept => (before.votes, before.needed, before.merged),
            Origin::None => (None, None, false),
        };
        let open_for = open_for.filter(|_| state == State::Open);
        let (until, open_ms) = (open_for.map(|open_for| now.saturating_add(open_for)), open_for.map(millis));
        let reason = words::clean(&reason, 300);
        record.generation = generation;
        enter(record, state, now);
        (record.until, record.open_ms) = (until, open_ms);
        record.reason.clone_from(&reason);
        record.half_open_attempts = attempt;
        id.clone_into(&mut record.instance);
        // The fleet has decided, and not the circuit of one instance. Therefore the published state has no
        // `incarnation` (the id of a run of an instance) and no `era` (the number of a transition in that run).
        (record.incarnation, record.era) = (String::new(), 0);
        record.fleet = Some(Fleet {
            state,
            generation,
            since: now,
            until,
            open_ms,
            attempt,
            votes,
            needed,
            merged,
            reason,
            instance: id.to_owned(),
            extra: before.extra,
        });
    }
}

/// Writes the reset of an operator as a decision of the fleet, with the same generation as the published state of the
/// record.
///
/// Writes nothing if the circuit is in no fleet. This is so if the record has no vote, no lease and no decision, and
/// `in_fleet` is false.
pub(in crate::record) fn reset(record: &mut CircuitRecord, to: State, in_fleet: bool, now: Timestamp) {
    let is_of_fleet = in_fleet
        || record.fleet.is_some()
        || record.instances.values().any(|entry| entry.vote.is_some() || entry.lease.is_some());
    if is_of_fleet {
        let extra = record.fleet.take().map(|fleet| fleet.extra).unwrap_or_default();
        record.fleet = Some(Fleet {
            state: to,
            generation: record.generation,
            since: now,
            reason: record.reason.clone(),
            instance: words::clean(&record.instance, 200),
            extra,
            ..Fleet::never()
        });
    }
}
