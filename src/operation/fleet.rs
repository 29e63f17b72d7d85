//! The state on which a fleet has decided, with the votes and leases of its instances. Each query loads these data from
//! the store.
//!
//! The status is not cached. The bytes in the store are not trusted, and are decoded with the same checks as any
//! record. A vote or a lease is ignored if its end is impossibly far in the future.

use std::time::Duration;

use crate::record::{CircuitRecord, InstanceEntry, Timestamp};
use crate::registry::Registry;
use crate::state::{Generation, Mode, State};
use crate::store::{Loaded, StoreError, StoreErrorKind, answer_within};

/// The state on which a fleet has decided for one circuit, with the votes, the leases and the entries of its instances.
/// [`Registry::fleet`] returns this status. All durations are measured at the time of the query, by the clock of the
/// store.
///
/// A record has room for about 100 instances. If a fleet has more instances, the entries that were written longest ago
/// are missing, with their votes and leases.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FleetStatus {
    /// The name of the circuit.
    pub circuit: String,
    /// The state on which the fleet has decided.
    pub state: State,
    /// The number of the latest decision, which increases with each decision. Zero if the fleet has never decided.
    pub generation: Generation,
    /// The time since the latest decision. `None` if the fleet has never decided.
    pub decided_for: Option<Duration>,
    /// The time until the open fleet may begin to probe. Zero if the fleet may probe, but no call has arrived yet.
    /// `None` if the fleet is not open, or if the fleet stays open until a reset.
    pub open_for: Option<Duration>,
    /// The number of openings in a row. The open duration grows with this number.
    pub attempt: u32,
    /// The reason of the latest decision, as a sentence without a full stop. Empty if the fleet has never decided.
    pub reason: String,
    /// The name of the instance that wrote the latest decision. Empty if the fleet has never decided.
    pub instance: String,
    /// The number of votes with which the fleet opened. `None` if the fleet is closed, or if the fleet opened without
    /// votes.
    pub opened_by: Option<u32>,
    /// The number of votes that are needed to open the fleet. If votes have opened the fleet and the fleet has not
    /// closed since, this is the number in the record, which was needed at that time. In any other case this is the
    /// present number from the circuit of this process, or `None` if this process has no circuit of this name in a
    /// fleet.
    pub needed: Option<u32>,
    /// The valid votes for opening the fleet, sorted by instance. Only a closed fleet has votes, because the votes end
    /// when the fleet opens.
    pub votes: Vec<FleetVote>,
    /// The leases (rights to probe) of the half-open fleet in the present round of probes, sorted by instance. Empty if
    /// the fleet is not half-open.
    pub leases: Vec<FleetLease>,
    /// The instances with an entry in the record, sorted by name.
    pub instances: Vec<FleetInstance>,
}

/// A valid vote of one instance for opening the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetVote {
    /// The name of the instance that votes.
    pub instance: String,
    /// The time until the vote ends.
    pub left: Duration,
}

/// The lease (right to probe) of an instance in the present round of probes, with the results of its probes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetLease {
    /// The name of the instance to which the lease belongs.
    pub instance: String,
    /// The time until the lease ends. `None` if the instance may not probe at present, for example because the lease
    /// has ended.
    pub left: Option<Duration>,
    /// The number of successful probes of the instance in the round.
    pub passed: u32,
    /// True if a probe of the instance failed in the round.
    pub failed: bool,
}

/// The entry of one instance in the record. A healthy instance writes its entry rarely, so the numbers can be old.
/// [`seen`](Self::seen) is the age of the entry.
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
    /// True if the instance has stopped, or has not written its entry for so long that the instance does not count as
    /// present.
    pub gone: bool,
    /// The total weight of the failures since the last success.
    pub run: f64,
    /// The total weight of the failures in the window of the circuit on the instance.
    pub score: f64,
    /// The number of calls in the window of the circuit on the instance.
    pub calls: u64,
    /// True if the instance has a valid vote for opening the fleet.
    pub votes: bool,
}

impl Registry {
    /// Loads the record of a circuit from the store, and returns the state on which the fleet has decided, with votes,
    /// leases and instances.
    ///
    /// If the circuit has no record, or if the registry has no store, the status is that of a closed fleet that has
    /// never decided. The circuit need not exist in this process.
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
    /// Returns the status in a record. `now` is the present time by the clock of the store. The durations in the
    /// status begin or end at `now`.
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
