//! The common decision of a fleet about one circuit, and the votes and leases of the instances. All are parts of the
//! record of the circuit.
//!
//! [`Fleet`] is the last decision. A later decision has a larger `generation`. The fleet opens when enough instances
//! vote for an opening. When the open duration is over, the fleet becomes half-open, and instances with leases make
//! probes. The fleet closes after enough successful probes, counted over all instances. If a record has no decision,
//! the fleet is closed and has generation zero.
//!
//! The vote and the lease of an instance are in the entry of the instance. Only this instance writes the entry, and
//! each write has a higher sequence. Therefore the merge of two copies of a record needs a rule only for the decision
//! (`join.rs`). A version of this crate that knows no fleets keeps the decision, the votes and the leases as unknown
//! fields.
//!
//! The commands are in `fleet/command.rs`, their guards and effects in `fleet/rules.rs`, and the effect of a decision
//! in `fleet/decision.rs`.
//!
//! A record can be damaged, and the clock of a store can be set back. Therefore a vote or a lease is ignored if its end
//! is further away than the longest vote or lease. Otherwise one damaged entry could vote for ever. A decision that is
//! dated far in the future counts as old, so that its opening or its half-open round may end. Otherwise the fleet could
//! stay open or half-open until the clock reaches that date.

#[cfg_attr(not(feature = "test-util"), expect(unreachable_pub, reason = "public for tests only"))]
mod command;
mod decision;
mod rules;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::left;
use super::{CircuitRecord, InstanceEntry, Timestamp, is_default, words};
use crate::state::{Generation, State};
pub use command::{FleetChange, FleetCommand};
pub(super) use decision::reset;
pub(super) use rules::command;

/// The common decision of the instances of a fleet about one circuit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fleet {
    /// The state that the fleet has decided.
    #[serde(with = "words::state")]
    pub state: State,
    /// The number of the decision. A later decision has a larger number. Each command of an instance carries the number
    /// of the last decision that the instance knew. A round is the period from a decision for half-open to the next
    /// decision.
    #[serde(default, with = "words::generation")]
    pub generation: Generation,
    /// The time of the decision.
    #[serde(default)]
    pub since: Timestamp,
    /// The time when the open fleet begins to probe. `None` if the fleet is not open, or if it stays open until a
    /// reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The whole open duration in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<u64>,
    /// The number of openings in a row. The open duration can grow with this number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempt: u32,
    /// The number of votes that opened the fleet. The number is kept until the fleet closes or is reset. `None` if no
    /// votes opened the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub votes: Option<u32>,
    /// The number of votes that were needed to open the fleet (the quorum). `None` if no votes opened the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<u32>,
    /// True if the sums of the call counts of several instances opened the fleet, and not votes. The flag is kept until
    /// the fleet closes or is reset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub merged: bool,
    /// The reason of the decision, as a sentence.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// The instance that wrote the decision.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instance: String,
    /// Fields that this version of the crate does not know, such as fields of a later version. Up to
    /// [`MAX_EXTRA_BYTES`](CircuitRecord::MAX_EXTRA_BYTES) of unknown fields in a record are written back unchanged.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The vote of an instance to open the fleet. An instance votes after its own calls have opened its circuit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Vote {
    /// The generation of the fleet at the time of the vote. The vote is valid only while the fleet has this generation.
    /// Zero if the fleet had not made a decision.
    #[serde(default, with = "words::generation")]
    pub on: Generation,
    /// The time when the vote ends.
    #[serde(default)]
    pub until: Timestamp,
    /// Fields that this version of the crate does not know, such as fields of a later version. Up to
    /// [`MAX_EXTRA_BYTES`](CircuitRecord::MAX_EXTRA_BYTES) of unknown fields in a record are written back unchanged.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The right of an instance to make one probe while the fleet is half-open. The lease also holds the results of the
/// instance's probes in this half-open round.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// The generation of the fleet in the half-open round of this lease.
    #[serde(default, with = "words::generation")]
    pub round: Generation,
    /// The time when the lease expires, or `None` if the probe has ended or the lease was given back. After the lease
    /// has expired, the instance may still make the probe, until the instance knows that another instance has a lease.
    /// A result that arrives after the lease has expired counts only if the round still has room for a new lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The number of probes of this instance that passed in the round.
    #[serde(default, skip_serializing_if = "is_default")]
    pub passed: u32,
    /// The number of probes of this instance that failed in the round.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed: u32,
    /// The time of the last failed probe of this instance in the round. `None` if no probe failed. After a failed
    /// probe, the instance gets a further lease in this round only if the settings tolerate the number of failed probes
    /// of all instances in the round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// True if the instance gave the lease back because its probe took too long, and the probe is still under way. The
    /// result of this probe will count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overdue: bool,
    /// Fields that this version of the crate does not know, such as fields of a later version. Up to
    /// [`MAX_EXTRA_BYTES`](CircuitRecord::MAX_EXTRA_BYTES) of unknown fields in a record are written back unchanged.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Fleet {
    /// Returns the state of a fleet that has never decided, which is closed with generation zero.
    fn never() -> Self {
        Self {
            state: State::Closed,
            generation: Generation::new(0),
            since: Timestamp::default(),
            until: None,
            open_ms: None,
            attempt: 0,
            votes: None,
            needed: None,
            merged: false,
            reason: String::new(),
            instance: String::new(),
            extra: Map::new(),
        }
    }

    /// Returns true if the fleet is open and its open duration has passed. The fleet may then become half-open.
    fn is_over(&self, now: Timestamp) -> bool {
        let Some(until) = self.until.filter(|_| self.state == State::Open) else { return false };
        let longest = self.open_ms.map(|whole| self.since.saturating_add(Duration::from_millis(whole)));
        longest.map_or(until, |longest| until.min(longest)) <= now || self.is_ahead(now)
    }

    /// Returns the time until the open fleet begins to probe. `None` if the fleet is not open, or if it stays open
    /// until a reset.
    pub(crate) fn open_for(&self, now: Timestamp) -> Option<Duration> {
        let until = self.until.filter(|_| self.state == State::Open);
        if self.is_over(now) { Some(Duration::ZERO) } else { left(until, self.open_ms, now) }
    }

    /// Returns true if the present decision of the fleet is at least `age` old.
    fn is_older_than(&self, age: Duration, now: Timestamp) -> bool {
        now.since(self.since) >= age || self.is_ahead(now)
    }

    /// Returns true if an entry with the date `written` was written after the present decision. While the decision is
    /// dated in the future, also returns true for each entry that is not dated in the future.
    pub(crate) fn is_before(&self, written: Timestamp, now: Timestamp) -> bool {
        written > self.since || self.is_ahead(now) && written <= now.saturating_add(SLACK)
    }

    /// Returns true if the decision is dated more than a minute in the future. Then the clock of the store was set back
    /// after the decision, or the record is damaged.
    fn is_ahead(&self, now: Timestamp) -> bool {
        self.since > now.saturating_add(SLACK)
    }

    /// Cuts texts that are too long, and replaces invisible characters and line breaks by spaces.
    pub(super) fn clean(&mut self) {
        self.reason = words::clean(&self.reason, 300);
        self.instance = words::clean(&self.instance, 200);
    }
}

impl Vote {
    pub(crate) fn counts(&self, on: Generation, now: Timestamp) -> bool {
        self.on == on && is_running(self.until, LONGEST_VOTE, now)
    }
}

impl Lease {
    /// Returns true if the lease is valid and has not ended. Its holder is then probing, or may still begin the probe.
    pub(crate) fn is_pending(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| is_running(until, LONGEST_LEASE, now))
    }

    /// Returns the number of probes of this instance that failed in the round. An earlier version of this crate writes
    /// only the time of a failure, which counts as one failed probe.
    fn failures(&self) -> u32 {
        self.failed.max(self.failed_at.is_some().into())
    }

    /// Returns true if the lease has ended without a result.
    fn has_lapsed(&self, now: Timestamp) -> bool {
        self.until.is_some() && !self.is_pending(now)
    }
}

impl CircuitRecord {
    /// Returns the state that `entry` shows for the circuit of its instance. The mode that an operator set has no
    /// effect on the result.
    ///
    /// When the fleet closes, each instance closes its circuit, but writes its entry up to 18 s later. Therefore an
    /// entry written before the fleet closed counts as closed.
    #[must_use]
    pub fn state_of(&self, entry: &InstanceEntry) -> State {
        let is_ended = |fleet: &Fleet| fleet.state == State::Closed && entry.updated_at < fleet.since;
        if self.fleet.as_ref().is_some_and(is_ended) { State::Closed } else { entry.state }
    }

    /// Returns true if an instance must follow the published state of the record instead of the decision of the fleet.
    /// This is the case if the published state is newer than the decision, and if the instance has `Sharing::Follow`
    /// (`follows`).
    ///
    /// A decision of the fleet is also written as the published state, with the same generation. A newer published
    /// state was written by one instance with `Sharing::Advise` or with an earlier version of this crate. Such an
    /// instance takes no part in the decisions of the fleet.
    pub(crate) fn is_decided_by_one(&self, follows: bool) -> bool {
        follows && self.generation > self.fleet.as_ref().map_or(Generation::new(0), |fleet| fleet.generation)
    }

    /// Returns the state and the generation that an instance must follow. They come from the published state of the
    /// record if [`is_decided_by_one`](Self::is_decided_by_one) returns true, and otherwise from the decision of the
    /// fleet.
    pub(crate) fn decided(&self, follows: bool) -> (State, Generation) {
        match &self.fleet {
            _ if self.is_decided_by_one(follows) => (self.state, self.generation),
            Some(fleet) => (fleet.state, fleet.generation),
            None => (State::Closed, Generation::new(0)),
        }
    }

    /// Returns the decision that an instance must follow, with all its fields. [`decided`](Self::decided) returns only
    /// the state and the generation.
    pub(crate) fn decision(&self, follows: bool) -> Fleet {
        let fleet = self.fleet.clone().unwrap_or_else(Fleet::never);
        if !self.is_decided_by_one(follows) {
            return fleet;
        }
        Fleet {
            state: self.state,
            generation: self.generation,
            since: self.last_state_change.unwrap_or_default(),
            until: self.until,
            open_ms: self.open_ms,
            attempt: self.half_open_attempts,
            reason: self.reason.clone(),
            instance: self.instance.clone(),
            extra: fleet.extra,
            ..Fleet::never()
        }
    }

    /// Returns the time when the vote of an instance ends. `None` if the instance has no valid vote.
    pub(crate) fn own_vote(&self, id: &str, follows: bool, now: Timestamp) -> Option<Timestamp> {
        let (_, on) = self.decided(follows);
        let vote = self.instances.get(id)?.vote.as_ref()?;
        vote.counts(on, now).then_some(vote.until)
    }

    /// Returns the lease of an instance in the present round. `None` if the fleet is not half-open, or if the instance
    /// has no lease of this round.
    pub(crate) fn own_lease(&self, id: &str, follows: bool) -> Option<&Lease> {
        let (state, round) = self.decided(follows);
        let lease = self.instances.get(id)?.lease.as_ref()?;
        (state == State::HalfOpen && lease.round == round).then_some(lease)
    }

    /// Returns true if another instance has a pending lease in the present round.
    pub(crate) fn others_probe(&self, id: &str, follows: bool, now: Timestamp) -> bool {
        let (_, round) = self.decided(follows);
        self.leases(round).any(|(other, lease)| other != id && lease.is_pending(now))
    }

    /// Returns true if the lease of another instance in the present round has ended without a result.
    pub(crate) fn others_have_lapsed(&self, id: &str, now: Timestamp) -> bool {
        let round = self.fleet.as_ref().map(|fleet| fleet.generation);
        round.is_some_and(|round| self.leases(round).any(|(other, lease)| other != id && lease.has_lapsed(now)))
    }

    /// Returns the instances that vote for an opening, each with the remaining duration of its vote. Empty if the fleet
    /// is not closed.
    pub(crate) fn votes(&self, fleet: &Fleet, now: Timestamp) -> impl Iterator<Item = (&str, Duration)> {
        let is_closed = fleet.state == State::Closed;
        let voters = self.voters(fleet.generation, now).filter(move |_| is_closed);
        voters.map(move |(id, _, vote)| (id.as_str(), vote.until.since(now)))
    }

    /// Returns the leases of the present round. Empty if the fleet is not half-open.
    pub(crate) fn round(&self, fleet: &Fleet) -> impl Iterator<Item = (&String, &Lease)> {
        let is_round = fleet.state == State::HalfOpen;
        self.leases(fleet.generation).filter(move |_| is_round)
    }

    /// Returns the entries of instances that have a valid vote for the generation `on`.
    fn voters(&self, on: Generation, now: Timestamp) -> impl Iterator<Item = (&String, &InstanceEntry, &Vote)> {
        let votes = self.instances.iter().filter_map(|(id, entry)| Some((id, entry, entry.vote.as_ref()?)));
        votes.filter(move |(_, _, vote)| vote.counts(on, now))
    }

    /// Returns the leases of a round.
    fn leases(&self, round: Generation) -> impl Iterator<Item = (&String, &Lease)> {
        let leases = self.instances.iter().filter_map(|(id, entry)| Some((id, entry.lease.as_ref()?)));
        leases.filter(move |(_, lease)| lease.round == round)
    }
}

/// Returns true if a vote or a lease that ends at `until` is valid. The end must be in the future, but not further away
/// than the longest vote or lease (`longest`).
fn is_running(until: Timestamp, longest: Duration, now: Timestamp) -> bool {
    until > now && until.since(now) <= longest.saturating_add(SLACK)
}

/// The longest duration of a vote, which is also the largest allowed length of a window. A vote lasts as long as the
/// window of its instance, but at least ten seconds.
const LONGEST_VOTE: Duration = Duration::from_secs(24 * 3600);
/// The longest duration of a lease without a renewal. If an instance crashes, its lease blocks the other instances for
/// at most this time.
const LONGEST_LEASE: Duration = Duration::from_secs(60);
/// The largest time by which a timestamp in a record may be ahead of the clock of the store. A larger difference means
/// that the clock was set back, or that the record is damaged.
const SLACK: Duration = Duration::from_secs(60);
