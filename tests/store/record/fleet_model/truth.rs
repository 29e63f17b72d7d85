//! The votes and probes that really happened, and the invariants of each accepted write.

use std::collections::{BTreeMap, BTreeSet};

use tower_circuit_breaker::State;
use tower_circuit_breaker::record::{CircuitRecord, FleetChange, Lease, Timestamp};

use super::member::Proposal;
use super::{PROBES, QUIET_MS, VOTE_MS, generation, state};

#[derive(Debug)]
pub(super) struct Truth {
    in_flight: u64,
    tolerated: usize,
    needed: usize,
    count: u64,
    /// The instance, the generation and the time of each vote.
    votes: Vec<(usize, u64, u64)>,
    /// The probes whose results were accepted.
    counted: BTreeSet<u64>,
    /// The accepted results of each round: instance, success, time.
    results: BTreeMap<u64, Vec<(usize, bool, u64)>>,
    /// The results of overdue probes in each round, which count beside the leases of other instances.
    beside: BTreeMap<u64, u64>,
    /// The time of each loss of data. Of older decisions, members may know different results.
    losses: Vec<u64>,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Truth {
    pub(super) fn new(in_flight: u32, tolerated: u32, count: u64) -> Self {
        Self {
            in_flight: u64::from(in_flight),
            tolerated: tolerated as usize,
            needed: if count == 1 { 1 } else { 2 },
            count,
            votes: Vec::new(),
            counted: BTreeSet::new(),
            results: BTreeMap::new(),
            beside: BTreeMap::new(),
            losses: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
    }

    pub(super) fn voted(&mut self, who: usize, on: u64, at: u64) {
        self.votes.push((who, on, at));
    }

    pub(super) fn lose(&mut self, now: u64) {
        self.losses.push(now);
        self.count("loss");
    }

    /// Returns the number of losses of data at or after the decision of the generation.
    fn losses_since(&self, generation: u64) -> u64 {
        self.losses.iter().filter(|&&lost| lost >= generation).count() as u64
    }

    /// Checks a write that the register accepts.
    pub(super) fn check(
        &mut self,
        before: &CircuitRecord,
        after: &CircuitRecord,
        proposal: &Proposal,
    ) -> Result<(), String> {
        self.count("write");
        let Some(change) = &proposal.change else { return Ok(()) };
        let broken = |rule: &str| Err(format!("{rule}: {before:?} then {proposal:?}"));
        let (round, at) = (generation(before), proposal.at);
        // After a loss of data the register may know less than the writer.
        let is_certain = self.losses_since(round) == 0;
        if let Some(rule) = self.result(before, proposal, change, is_certain) {
            return broken(&rule);
        }
        let decided = generation(after) != round;
        if is_certain
            && decided
            && let Some(rule) = self.decision(before, after, proposal)
        {
            return broken(&rule);
        }
        if decided && (after.state, after.generation.get()) != (state(after), generation(after)) {
            return broken("the decision is not published");
        }
        let leases = leases(after, generation(after));
        let pending = leases.iter().filter(|(_, lease)| is_pending(lease, at)).count() as u64;
        let passed: u64 = leases.iter().map(|(_, lease)| u64::from(lease.passed)).sum();
        let beside = self.beside.get(&generation(after)).copied().unwrap_or(0);
        // After each loss of data, the register may give every lease again before members write the earlier leases back.
        let times = 1 + self.losses_since(generation(after));
        if state(after) == State::HalfOpen && pending > self.in_flight * times {
            return broken("more leases at once than allowed");
        }
        if state(after) == State::HalfOpen && passed + pending > u64::from(PROBES) * times + beside {
            return broken("more probes than needed");
        }
        if is_certain && !decided && state(after) == State::HalfOpen {
            let results = self.results.get(&round).map_or(0, |results| results.iter().filter(|(_, ok, _)| *ok).count());
            if passed != results as u64 {
                return broken("a result was forgotten or invented");
            }
        }
        Ok(())
    }

    /// Checks and notes the result of a probe, a lease or a vote.
    fn result(
        &mut self,
        before: &CircuitRecord,
        proposal: &Proposal,
        change: &FleetChange,
        is_certain: bool,
    ) -> Option<String> {
        let (round, at, who) = (generation(before), proposal.at, proposal.who);
        let own = before.instances.get(&format!("node-{who}")).and_then(|entry| entry.lease.clone());
        let own = own.filter(|lease| lease.round.get() == round).unwrap_or_default();
        let results = self.results.entry(round).or_default();
        let failures = results.iter().filter(|(_, ok, _)| !ok).count();
        let is_recent = |then: u64| then + 1_000 > at;
        let may_not_probe =
            results.iter().any(|(id, ok, then)| *id == who && !ok && (failures > self.tolerated || is_recent(*then)));
        let others_pending = leases(before, round)
            .iter()
            .filter(|(id, lease)| *id != format!("node-{who}") && is_pending(lease, at))
            .count() as u64;
        let (kind, passes) = match *change {
            FleetChange::Passed { .. } => ("passed", true),
            FleetChange::Failed { .. } => ("failed", false),
            FleetChange::Late { passed, .. } => ("late", passed),
            FleetChange::Lease { .. } if is_certain && state(before) == State::HalfOpen => {
                let gets_lease = generation(&proposal.record) == round;
                let broken = gets_lease && (is_pending(&own, at) || may_not_probe);
                return broken.then(|| "a lease for an instance that probes or has failed".to_owned());
            }
            FleetChange::Overdue => {
                self.count("overdue");
                return None;
            }
            FleetChange::Vote { .. } => {
                self.count("vote");
                return None;
            }
            FleetChange::Merged { .. }
            | FleetChange::Withdraw
            | FleetChange::Healthy
            | FleetChange::Lease { .. }
            | FleetChange::Renew { .. }
            | FleetChange::Unopposed { .. }
            | FleetChange::Returned
            | _ => return None,
        };
        let probe = proposal.probe?;
        if !is_certain {
            return None;
        }
        if probe.round != round {
            return Some("a result of another round counts".to_owned());
        }
        if !self.counted.insert(probe.id) {
            return Some("a result counts twice".to_owned());
        }
        let is_late = kind == "late";
        if !is_late && !is_pending(&own, at) {
            return Some("a result counts after the end of its lease".to_owned());
        }
        if is_late && !own.overdue && (others_pending >= self.in_flight || may_not_probe) {
            return Some("a lapsed lease counts while another instance probes, or after a failure".to_owned());
        }
        if is_late && own.overdue {
            *self.beside.entry(round).or_default() += 1;
        }
        self.results.entry(round).or_default().push((who, passes, at));
        self.count(kind);
        None
    }

    /// Checks a decision of the fleet.
    fn decision(&mut self, before: &CircuitRecord, after: &CircuitRecord, proposal: &Proposal) -> Option<String> {
        let (round, at) = (generation(before), proposal.at);
        let results = self.results.get(&round).cloned().unwrap_or_default();
        let passed = results.iter().filter(|(_, ok, _)| *ok).count();
        let failed: BTreeSet<usize> = results.iter().filter(|(_, ok, _)| !ok).map(|(id, ..)| *id).collect();
        let failures = results.iter().filter(|(_, ok, _)| !ok).count();
        let since = before.fleet.as_ref().map_or(0, |fleet| fleet.since.as_millis());
        let is_quiet = at >= since + QUIET_MS;
        let (kind, holds) = match (state(before), state(after)) {
            (State::Closed, State::Open) => {
                let is_live = |(_, on, then): &&(usize, u64, u64)| *on == round && then + VOTE_MS > at;
                let voters: BTreeSet<_> = self.votes.iter().filter(is_live).map(|(id, ..)| *id).collect();
                ("opened", voters.len() >= self.needed)
            }
            (State::Open, State::HalfOpen) => {
                let until = before.fleet.as_ref().and_then(|fleet| fleet.until);
                if proposal.change == Some(FleetChange::Healthy) {
                    ("began early", until.is_some())
                } else {
                    ("began", until.is_some_and(|until| until.as_millis() <= at))
                }
            }
            (State::Closed, State::HalfOpen) => {
                let hold = before.operator.as_ref().and_then(|last| last.until).map_or(0, Timestamp::as_millis);
                ("began after a hold", hold > since && hold <= at)
            }
            (State::HalfOpen, State::Closed) if passed >= PROBES as usize => ("closed", true),
            (State::HalfOpen, State::Closed) => ("quiet", is_quiet && passed > 0 && failed.is_empty()),
            (State::HalfOpen, State::Open)
                if failures > self.tolerated && (failed.len() >= 2 || self.count == 1 && failed.len() == 1) =>
            {
                ("reopened", true)
            }
            (State::HalfOpen, State::Open) => {
                let others = results.iter().any(|(id, ok, _)| *ok && *id != proposal.who);
                let own = results.iter().any(|(id, ok, then)| !ok && *id == proposal.who && then + 1_000 <= at);
                let pending = leases(before, round).iter().any(|(_, lease)| is_pending(lease, at));
                let is_unopposed = own && !others && !pending && failures > self.tolerated;
                let kind = if is_quiet { "no verdict" } else { "unopposed" };
                (kind, !pending && (is_quiet || is_unopposed))
            }
            _ => ("other", false),
        };
        self.count(kind);
        (!holds).then(|| format!("the fleet decided ({kind}) without cause, after {results:?}"))
    }
}

fn leases(record: &CircuitRecord, round: u64) -> Vec<(&str, &Lease)> {
    let leases = record.instances.iter().filter_map(|(id, entry)| Some((id.as_str(), entry.lease.as_ref()?)));
    leases.filter(|(_, lease)| lease.round.get() == round).collect()
}

fn is_pending(lease: &Lease, at: u64) -> bool {
    lease.until.is_some_and(|until| until.as_millis() > at)
}
