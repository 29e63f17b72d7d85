//! The decision of a fleet with its votes and leases, loaded from the store for each query.
//!
//! No copy of the answer stays in memory. The bytes in the store are not trusted. The record is decoded as the
//! instances decode their records. A vote or a lease that lasts longer than any command allows is ignored.

use std::time::Duration;

use crate::record::{CircuitRecord, InstanceEntry, Timestamp};
use crate::registry::Registry;
use crate::state::{Generation, Mode, State};
use crate::store::{Loaded, StoreError, StoreErrorKind, answer_within};

/// The decision of a fleet about one circuit, with the votes, the leases and the entries of its instances
/// ([`Registry::fleet`]). All durations are measured at the moment of the answer, by the clock of the store.
///
/// A record has room for about 100 instances. If a fleet has more instances, the entries that were written longest ago
/// are missing, with their votes and leases.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FleetStatus {
    /// The name of the circuit.
    pub circuit: String,
    /// The state that the fleet has decided.
    pub state: State,
    /// The generation of the decision, which increases with each decision. Zero if the fleet has never decided.
    pub generation: Generation,
    /// The time since the decision. `None` if the fleet has never decided.
    pub decided_for: Option<Duration>,
    /// The time until the open fleet begins to probe, or zero if the time is over and the fleet waits for the next
    /// call. `None` if the fleet is not open, or if only a reset ends the opening.
    pub open_for: Option<Duration>,
    /// The number of openings in a row, by which the open duration grows.
    pub attempt: u32,
    /// The reason of the decision, as a sentence without a full stop. Empty if the fleet has never decided.
    pub reason: String,
    /// The name of the instance that wrote the decision. Empty if the fleet has never decided.
    pub instance: String,
    /// The number of votes that opened the fleet. `None` if the fleet is closed, or if no votes opened the fleet.
    pub opened_by: Option<u32>,
    /// The number of votes that an opening needs. If votes have opened the fleet and the fleet has not closed since,
    /// this is the number that the present opening needed, from the record. Otherwise the number comes from the circuit
    /// of this process, and is `None` if this process has no such circuit in a fleet.
    pub needed: Option<u32>,
    /// The votes in force for an opening, by instance. Empty unless the fleet is closed, because the votes end when the
    /// fleet opens.
    pub votes: Vec<FleetVote>,
    /// The leases of the present round, by instance. Empty if the fleet is not half-open.
    pub leases: Vec<FleetLease>,
    /// The instances that have an entry in the record, by name.
    pub instances: Vec<FleetInstance>,
}

/// The vote of one instance for an opening of the fleet. The vote is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetVote {
    /// The name of the instance that votes.
    pub instance: String,
    /// The time until the vote ends.
    pub left: Duration,
}

/// The lease of an instance in the present round, with the results of its probes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetLease {
    /// The name of the instance that has or had the lease.
    pub instance: String,
    /// The time until the lease ends. `None` if the instance may make no probe at present.
    pub left: Option<Duration>,
    /// The number of probes of the instance that passed in the round.
    pub passed: u32,
    /// True if a probe of the instance failed in the round.
    pub failed: bool,
}

/// The entry of an instance in the record. A healthy instance writes its entry rarely. [`seen`](Self::seen) is the age
/// of the entry and of its numbers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FleetInstance {
    /// The name of the instance.
    pub instance: String,
    /// The state of the circuit on the instance.
    pub state: State,
    /// The mode of the circuit on the instance.
    pub mode: Mode,
    /// The time since the instance wrote its entry.
    pub seen: Duration,
    /// True if the instance has stopped, or has written nothing for so long that the instance no longer counts as live.
    pub gone: bool,
    /// The run of failures, which is the weight of the failures since the last success.
    pub run: f64,
    /// The weight of the failures in the window of the instance.
    pub score: f64,
    /// The number of calls in the window of the instance.
    pub calls: u64,
    /// True if the instance votes for an opening.
    pub votes: bool,
}

impl Registry {
    /// Returns the decision of the fleet about a circuit, with its votes, its leases and its instances. Reads the
    /// record of the circuit from the store.
    ///
    /// A circuit without a record has the status of a fleet that has never decided, which is closed. The same status is
    /// returned if the registry has no store. This process need not have the circuit.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time, or if the record is damaged
    /// ([`StoreErrorKind::Corrupt`]).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn fleet(&self, circuit: &str) -> Result<FleetStatus, StoreError> {
        let (record, now) = match self.delivery() {
            Some(delivery) => {
                let names = [circuit.to_owned()];
                let loaded = answer_within(delivery.timeout(), delivery.store().load_many(&names)).await?;
                let Loaded { entries, now } = loaded;
                let decode = |bytes: &[u8]| {
                    CircuitRecord::decode(circuit, bytes, now)
                        .map_err(|corrupt| StoreError::new(StoreErrorKind::Corrupt, corrupt.to_string()))
                };
                (entries.into_iter().next().flatten().map(|entry| decode(&entry.bytes)).transpose()?, now)
            }
            None => (None, Timestamp::default()),
        };
        let mut status = FleetStatus::of(&record.unwrap_or_else(|| CircuitRecord::unknown(circuit)), now);
        let brief = self.get(circuit).and_then(|circuit| circuit.fleet());
        status.needed = status.needed.or(brief.map(|brief| brief.needed));
        Ok(status)
    }
}

impl FleetStatus {
    /// Returns the status of the fleet from its record, at the time `now` of the store.
    pub(super) fn of(record: &CircuitRecord, now: Timestamp) -> Self {
        let fleet = record.decision(false);
        let has_decided = fleet.generation != Generation::new(0);
        let is_closed = fleet.state == State::Closed;
        let votes = record.votes(&fleet, now).map(|(id, left)| FleetVote { instance: id.to_owned(), left });
        let votes: Vec<_> = votes.collect();
        let leases = record.round(&fleet).map(|(id, lease)| FleetLease {
            instance: id.clone(),
            left: lease.until.filter(|_| lease.is_pending(now)).map(|until| until.since(now)),
            passed: lease.passed,
            failed: lease.failed_at.is_some(),
        });
        let instance = |(id, entry): (&String, &InstanceEntry)| FleetInstance {
            instance: id.clone(),
            state: record.state_of(entry),
            mode: entry.mode,
            seen: now.since(entry.updated_at),
            gone: entry.is_gone(now),
            run: entry.run,
            score: entry.score,
            calls: entry.calls,
            votes: votes.iter().any(|vote| vote.instance == *id),
        };
        Self {
            circuit: record.service.clone(),
            state: fleet.state,
            generation: fleet.generation,
            decided_for: has_decided.then(|| now.since(fleet.since)),
            open_for: fleet.open_for(now),
            attempt: fleet.attempt,
            leases: leases.collect(),
            instances: record.instances.iter().map(instance).collect(),
            votes,
            opened_by: fleet.votes.filter(|_| !is_closed),
            needed: fleet.needed.filter(|_| !is_closed),
            reason: fleet.reason,
            instance: fleet.instance,
        }
    }
}
