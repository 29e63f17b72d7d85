//! The guards and the effects of the commands of a fleet: votes, leases and results of probes.
//!
//! | command | guard, otherwise the command is superseded | effect |
//! |---|---|---|
//! | `Vote` | closed | the vote counts until its end; enough votes open the fleet |
//! | `Merged` | closed; enough entries that are fresh and newer than the last decision have failures | the fleet opens |
//! | `Withdraw` | an own vote of this generation | the vote ends |
//! | `Healthy` | open, and the opening has an end time | a round begins without a lease |
//! | `Lease` | open with an end, and the opening is over or has lasted for `longest` | a round begins with this lease |
//! | `Lease` | closed, and a forced opening by an operator ended after the last decision | a round begins with this lease |
//! | `Lease` | half-open for `quiet_after`, no own lease pending | the fleet closes if a probe passed and none failed; otherwise the fleet reopens once no lease is pending |
//! | `Lease` | half-open, no own lease pending, room for a lease | the instance has a lease |
//! | `Renew` | own lease pending | the lease ends later |
//! | `Passed` | own lease pending | the probe counts; enough passed probes close the fleet |
//! | `Failed` | own lease pending | the failure counts; the fleet reopens if more probes failed than are tolerated, and probes of at least two instances failed or the instance is the only one |
//! | `Unopposed` | a probe of the instance failed at least a second ago; no lease pending; no other instance passed; more probes failed than are tolerated | the fleet reopens |
//! | `Late` | either the instance has an overdue probe, or its lease has lapsed and the round has room for a lease | the result counts |
//! | `Overdue`, `Returned` | own lease pending | the lease ends; after `Overdue` the result still counts |
//!
//! *Own* means the lease or the vote of the instance that gave the command. The round has room for a lease under two
//! conditions. Fewer than `in_flight` leases are pending. The passed probes and the pending leases together are fewer
//! than `probes`. After a failed probe of the instance, two more conditions must be met. The settings tolerate the
//! number of failed probes in the round. The last failed probe of the instance is at least a second old.
//!
//! During a hold of an operator every command is superseded, because only the operator decides about the calls. Each
//! decision of the fleet is also written as the published state of the record, with the same generation.
//!
//! The command with the result of a probe ends the lease of the probe. If the answer to this command is lost, the
//! instance sends the result again. The repeated result finds no pending lease, so it does not count twice. With a new
//! lease, the repeated result would count. Therefore an instance requests a new lease only after it knows that the
//! record has its last result.
//!
//! Four guards need an explanation:
//!
//! - After a forced opening the circuits probe before they close, because the service may still be down. These probes
//!   need leases, so the first request for a lease begins a round, although the fleet is closed.
//! - A late result needs an expired lease of its round, or an overdue probe. Otherwise an instance could send any
//!   number of results after its lease has ended.
//! - The result of an overdue probe counts even if another instance has a lease. Otherwise the circuit of a service
//!   whose calls take longer than the probe deadline would never close.
//! - A round that has lasted for `quiet_after` gives no more leases. While a lease is pending, the fleet does not
//!   reopen, because the probe of this lease may still succeed.
//!
//! The model in `tests/store/record/fleet_model.rs` tests all commands.

use std::time::Duration;

use serde_json::Map;

use super::decision::{Decision, Origin};
use super::{Fleet, FleetChange, FleetCommand, LONGEST_LEASE, LONGEST_VOTE, Lease, Vote};
use crate::record::apply::{Effect, next};
use crate::record::entry::is_id;
use crate::record::join::bound;
use crate::record::{CircuitRecord, InstanceEntry, Timestamp, words};
use crate::state::{Brief, Mode, State};

/// Applies the command of an instance to the record. Returns `Effect::Applied`, or the reason why the record did not
/// change.
pub(in crate::record) fn command(record: &mut CircuitRecord, command: &FleetCommand, now: Timestamp) -> Effect {
    let FleetCommand { on, after, instance: id, incarnation, follows, change } = command;
    // An entry with an invalid id is not written, because every reader of the record would drop the entry.
    if !is_id(id) {
        return Effect::Unwritable;
    }
    let present = record.instances.get(id);
    let fleet = record.decision(*follows);
    let is_held = record.held(now).is_some_and(|operated| operated.mode.is_hold());
    if *on != fleet.generation || is_held {
        return Effect::Superseded;
    }
    let previous = present.map_or(0, |entry| entry.sequence).max(*after);
    // An expired entry is replaced by a new entry, because the next load would drop the expired entry.
    let mut own = present
        .filter(|entry| !entry.is_expired(now))
        .cloned()
        .unwrap_or_else(|| InstanceEntry { updated_at: now, ..InstanceEntry::closed(&words::clean(incarnation, 64)) });
    let sequence = next(previous, now);
    let generation = next(fleet.generation.max(record.generation).get().max(*after), now);
    let (Some(sequence), Some(generation)) = (sequence, generation) else { return Effect::Unwritable };
    let is_round = fleet.state == State::HalfOpen;
    let present = own.lease.clone().filter(|lease| is_round && lease.round == fleet.generation);
    let present = present.unwrap_or_else(|| Lease { round: fleet.generation, ..Lease::default() });
    let mut judge = Judge { record, id, fleet, now, vote: own.vote.take(), lease: present.clone() };
    let decision = match judge.judge(change) {
        Ok(decision) => decision,
        Err(effect) => return effect,
    };
    let Judge { fleet, vote, mut lease, .. } = judge;
    own.vote = vote;
    if lease != present {
        if decision.as_ref().is_some_and(|decision| decision.state == State::HalfOpen) {
            lease.round = generation;
        }
        own.lease = Some(lease);
    }
    // The command does not change the time of the entry, so that old counts do not look fresh. The opening gets the new
    // sequence, because an opening with an older sequence is ignored. The field `stopped` keeps the old sequence.
    // Therefore the entry no longer counts as stopped. This is right, because the instance is running.
    let opening = own.opening.as_mut().filter(|opening| opening.sequence == own.sequence);
    own.sequence = sequence.get();
    if let Some(opening) = opening {
        opening.sequence = own.sequence;
    }
    record.instances.insert(id.clone(), own);
    bound(&mut record.instances);
    if let Some(decision) = decision {
        decision.write(record, fleet, generation, id, now);
    }
    Effect::Applied
}

/// Checks one command of an instance at the time `now`, and computes its effect. The command may change `vote` and
/// `lease`, which are copies of the instance's vote and lease.
struct Judge<'a> {
    record: &'a CircuitRecord,
    id: &'a str,
    fleet: Fleet,
    now: Timestamp,
    vote: Option<Vote>,
    /// The lease of the instance in the present round.
    lease: Lease,
}

impl Judge<'_> {
    fn judge(&mut self, change: &FleetChange) -> Result<Option<Decision>, Effect> {
        match *change {
            FleetChange::Vote { lasts, needed, live, open_for, attempt, ref reason } => {
                let votes = self.vote(lasts, needed)?;
                Ok(votes.map(|votes| Decision {
                    state: State::Open,
                    open_for,
                    attempt,
                    origin: Origin::Votes { votes, needed },
                    reason: self.reason_of_votes(votes, live, reason),
                }))
            }
            FleetChange::Merged { needed, window, open_for, attempt, ref reason } => {
                // Only entries written after the last decision count, because the last decision has already used older
                // counts.
                let is_fresh = |entry: &&InstanceEntry| {
                    let is_later = self.fleet.is_before(entry.updated_at, self.now);
                    self.now.since(entry.updated_at) < window && is_later && entry.score > 0.0
                };
                let failing = self.record.instances.values().filter(is_fresh).count();
                allow(self.fleet.state == State::Closed && count(failing) >= needed.max(1))?;
                let (origin, reason) = (Origin::Merged, reason.clone());
                Ok(Some(Decision { state: State::Open, open_for, attempt, origin, reason }))
            }
            FleetChange::Withdraw => {
                allow(self.vote.take().is_some_and(|vote| vote.on == self.fleet.generation))?;
                Ok(None)
            }
            FleetChange::Healthy => {
                // A fleet that is open without an end time stays open until a reset, even if a health probe succeeds.
                allow(self.fleet.state == State::Open && self.fleet.until.is_some())?;
                Ok(Some(self.round(format!("a health probe of {} succeeded", self.id))))
            }
            FleetChange::Lease { lasts, probes, in_flight, tolerated, quiet_after, longest, open_for } => {
                let decision = match self.fleet.state {
                    State::HalfOpen => self.end_of_round(quiet_after, open_for)?,
                    State::Open | State::Closed => Some(self.begin(longest)?),
                };
                if decision.as_ref().is_none_or(|decision| decision.state == State::HalfOpen) {
                    allow(decision.is_some() || self.has_room(probes, in_flight, tolerated))?;
                    self.lend(lasts);
                }
                Ok(decision)
            }
            FleetChange::Renew { lasts } => {
                allow(self.lease.is_pending(self.now))?;
                self.lend(lasts);
                Ok(None)
            }
            FleetChange::Passed { probes } => {
                self.end_lease()?;
                Ok(self.passed(probes))
            }
            FleetChange::Failed { open_for, alone, tolerated } => {
                self.end_lease()?;
                Ok(self.failed(open_for, alone, tolerated))
            }
            FleetChange::Unopposed { open_for, tolerated } => {
                let is_confirmed = self.lease.failed_at.is_some_and(|at| self.now.since(at) >= CONFIRMATION_DELAY);
                let has_passed = self.others().any(|lease| lease.passed > 0);
                allow(is_confirmed && self.pending() == 0 && !has_passed && self.failures() > tolerated)?;
                let reason = format!("the probe of {} failed, and no probe of another instance passed", self.id);
                Ok(Some(self.reopen(open_for, reason)))
            }
            FleetChange::Late { passed, probes, in_flight, open_for, alone, tolerated } => {
                if !std::mem::take(&mut self.lease.overdue) {
                    allow(self.lease.has_lapsed(self.now) && self.has_room(probes, in_flight, tolerated))?;
                    self.lease.until = None;
                }
                Ok(if passed { self.passed(probes) } else { self.failed(open_for, alone, tolerated) })
            }
            FleetChange::Overdue => {
                self.end_lease()?;
                self.lease.overdue = true;
                Ok(None)
            }
            FleetChange::Returned => {
                self.end_lease()?;
                Ok(None)
            }
        }
    }

    /// Adds the vote of the instance. Returns the number of votes if they open the fleet, and `None` if more votes are
    /// needed. Returns an error if the fleet is not closed, or if the vote changes nothing.
    fn vote(&mut self, lasts: Duration, needed: u32) -> Result<Option<u32>, Effect> {
        allow(self.fleet.state == State::Closed && !lasts.is_zero())?;
        let (on, until) = (self.fleet.generation, self.now.saturating_add(lasts.min(LONGEST_VOTE)));
        let is_known = self.vote.as_ref().is_some_and(|vote| vote.counts(on, self.now) && vote.until >= until);
        if !is_known {
            self.vote = Some(Vote { on, until, extra: Map::new() });
        }
        let votes = 1 + count(self.record.voters(on, self.now).filter(|(id, ..)| *id != self.id).count());
        if votes >= needed {
            return Ok(Some(votes));
        }
        if is_known { Err(Effect::Known) } else { Ok(None) }
    }

    /// Returns the reason of an opening by votes, as a text. The text names the instance that voted first. The vote
    /// with the earliest end counts as the first vote.
    fn reason_of_votes(&self, votes: u32, live: Option<u32>, own: &str) -> String {
        let others = self.record.voters(self.fleet.generation, self.now).filter(|(id, ..)| *id != self.id);
        let others = others.map(|(id, entry, vote)| {
            (vote.until, id.as_str(), entry.opening().map_or("", |opening| opening.reason.as_str()))
        });
        let own = self.vote.iter().map(|vote| (vote.until, self.id, own));
        let (_, first, reason) = others.chain(own).min().unwrap_or_default();
        let begin = match live {
            _ if votes == 1 => format!("{first} opened"),
            Some(live) => format!("{votes} of {} instances opened, first {first}", live.max(votes)),
            None => format!("{votes} instances opened, first {first}"),
        };
        if reason.is_empty() { begin } else { format!("{begin}: {reason}") }
    }

    /// Returns the decision that makes the fleet half-open. One of three periods must be over: the open duration of the
    /// fleet, the duration `longest` since the fleet opened, or a forced opening by an operator. Otherwise returns an
    /// error.
    fn begin(&self, longest: Duration) -> Result<Decision, Effect> {
        let reason = if self.fleet.state == State::Open {
            let is_longest = self.fleet.until.is_some() && self.fleet.is_older_than(longest, self.now);
            allow(self.fleet.is_over(self.now) || is_longest)?;
            "the open duration of the fleet is over"
        } else {
            let last = self.record.operator.as_ref().filter(|last| last.mode == Mode::ForcedOpen);
            let end = last.and_then(|last| last.until).unwrap_or_default();
            allow(end > self.fleet.since && end <= self.now)?;
            "the forced opening is over"
        };
        Ok(self.round(reason.to_owned()))
    }

    const fn round(&self, reason: String) -> Decision {
        let attempt = self.fleet.attempt;
        Decision { state: State::HalfOpen, open_for: None, attempt, origin: Origin::Kept, reason }
    }

    /// Returns the decision that ends a round which has lasted for `quiet_after`. The fleet closes if a probe passed
    /// and none failed, and otherwise reopens. Returns `None` if the round is younger, so that the instance may get a
    /// lease. Returns an error if a lease of this instance is pending. Also returns an error if the fleet would reopen
    /// while a lease of a different instance is pending.
    fn end_of_round(&self, quiet_after: Duration, open_for: Option<Duration>) -> Result<Option<Decision>, Effect> {
        if self.lease.is_pending(self.now) {
            return Err(Effect::Known);
        }
        if !self.fleet.is_older_than(quiet_after, self.now) {
            return Ok(None);
        }
        let (passed, failed) = (self.passes(), self.failures());
        if passed > 0 && failed == 0 {
            let probes = if passed == 1 { "probe" } else { "probes" };
            let reason = format!("no probe failed in {}, {passed} {probes} succeeded", Brief(quiet_after));
            return Ok(Some(self.close(reason)));
        }
        allow(self.pending() == 0)?;
        let reason = format!("the probes gave no verdict in {}", Brief(quiet_after));
        Ok(Some(self.reopen(open_for, reason)))
    }

    fn passed(&mut self, probes: u32) -> Option<Decision> {
        self.lease.passed = self.lease.passed.saturating_add(1);
        let passed = self.passes();
        let noun = if passed == 1 { "probe" } else { "probes" };
        (passed >= u64::from(probes)).then(|| self.close(format!("{passed} {noun} of the fleet succeeded")))
    }

    fn failed(&mut self, open_for: Option<Duration>, alone: bool, tolerated: u32) -> Option<Decision> {
        self.lease.failed = self.lease.failures().saturating_add(1);
        self.lease.failed_at = Some(self.now);
        let (failed, instances) = (self.failures(), self.failed_instances());
        let reason = match (failed, instances) {
            (1, _) => format!("the probe of {} failed", self.id),
            (_, 1) => format!("{failed} probes of {} failed", self.id),
            _ => format!("the probes of {instances} instances failed, last {}", self.id),
        };
        ((instances >= 2 || alone) && failed > tolerated).then(|| self.reopen(open_for, reason))
    }

    fn close(&self, reason: String) -> Decision {
        let attempt = self.fleet.attempt;
        Decision { state: State::Closed, open_for: None, attempt, origin: Origin::None, reason }
    }

    fn reopen(&self, open_for: Option<Duration>, reason: String) -> Decision {
        let attempt = self.fleet.attempt.saturating_add(1);
        Decision { state: State::Open, open_for, attempt, origin: Origin::Kept, reason }
    }

    /// Gives the instance a lease in the present round, or extends its lease. From now on the result of an earlier,
    /// overdue probe does not count. Otherwise the record would accept a result for the lease and a second result for
    /// the overdue probe, so that a repeated result could count twice.
    fn lend(&mut self, lasts: Duration) {
        self.lease.overdue = false;
        self.lease.until = Some(self.now.saturating_add(lasts.min(LONGEST_LEASE)));
    }

    /// Ends the pending lease of the instance. Returns an error if the instance has no pending lease.
    fn end_lease(&mut self) -> Result<(), Effect> {
        allow(self.lease.is_pending(self.now))?;
        self.lease.until = None;
        Ok(())
    }

    /// Returns true if the round has room for a lease of the instance. An instance whose probe failed leaves the next
    /// probe to the other instances. If the settings tolerate the number of failed probes in the round, the instance
    /// may probe again after a second.
    fn has_room(&self, probes: u32, in_flight: u32, tolerated: u32) -> bool {
        let pending = self.pending();
        let may_try_again = |at: Timestamp| self.failures() <= tolerated && self.now.since(at) >= CONFIRMATION_DELAY;
        let may_probe = self.lease.failed_at.is_none_or(may_try_again);
        may_probe && pending < u64::from(in_flight) && self.passes() + pending < u64::from(probes)
    }

    /// Returns the leases of other instances in the round.
    fn others(&self) -> impl Iterator<Item = &Lease> {
        self.record.leases(self.fleet.generation).filter(|(id, _)| *id != self.id).map(|(_, lease)| lease)
    }

    fn pending(&self) -> u64 {
        self.others().chain([&self.lease]).map(|lease| u64::from(lease.is_pending(self.now))).sum()
    }

    fn passes(&self) -> u64 {
        self.others().chain([&self.lease]).map(|lease| u64::from(lease.passed)).sum()
    }

    fn failures(&self) -> u32 {
        self.others().chain([&self.lease]).map(Lease::failures).fold(0, u32::saturating_add)
    }

    fn failed_instances(&self) -> u32 {
        count(self.others().chain([&self.lease]).filter(|lease| lease.failed_at.is_some()).count())
    }
}

fn allow(guard: bool) -> Result<(), Effect> {
    if guard { Ok(()) } else { Err(Effect::Superseded) }
}

/// Converts a number of instances to `u32`. The number always fits, because a record has at most 100 instances.
fn count(instances: usize) -> u32 {
    u32::try_from(instances).unwrap_or(u32::MAX)
}

/// The time after a failed probe in which other instances may probe. If one of their probes passes, the failed probe
/// alone does not reopen the fleet.
const CONFIRMATION_DELAY: Duration = Duration::from_secs(1);
