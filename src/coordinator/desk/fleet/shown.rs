//! The decision of the fleet in the status and the metrics of the circuit.
//!
//! This module counts the probes without a lease, because only the desk knows both the probes and the leases. A probe
//! without a lease shows that the store did not answer. A lease allows one probe, and an instance gets its next lease
//! only after a further check. Therefore of the probes that end between two checks at most one had a lease. A circuit
//! in shadow is left out, because such a circuit never needs a lease.

use super::turn::Outcome;
use super::{Desk, Who};
use crate::record::{Fleet, FleetChange, Timestamp};
use crate::state::{FleetBrief, FleetProbe, Reason, State, Transition};

/// The probes of one half-open era (version of the state) that the desk has already counted.
#[derive(Debug, Default)]
pub(super) struct Probed {
    era: u64,
    ended: u32,
    /// True once the desk has given the circuit a summary of its fleet (`show`). Without a fleet, no probe is counted.
    is_shown: bool,
}

impl Desk {
    /// Gives the circuit a summary of the fleet's decision, with the present votes and leases. The circuit shows the
    /// summary in its status.
    pub(super) fn show(&mut self, fleet: &Fleet, who: &Who, now: Timestamp) {
        let record = self.known.record();
        let (mut leases, mut passed) = (0_u32, 0_u32);
        for (_, lease) in record.round(fleet) {
            leases += u32::from(lease.is_pending(now));
            passed = passed.saturating_add(lease.passed);
        }
        let is_closed = fleet.state == State::Closed;
        let votes = if is_closed { number(record.votes(fleet, now).count()) } else { fleet.votes.unwrap_or(0) };
        let needed = fleet.needed.filter(|_| !is_closed).unwrap_or_else(|| who.needed());
        self.fleet.probed.is_shown = true;
        self.circuit.show_fleet(FleetBrief {
            state: fleet.state,
            votes,
            needed,
            live: who.members.live,
            leases,
            passed,
        });
    }

    /// Counts the probes that have ended since the last check. `had_lease` is true if, at the last check, the instance
    /// could make a probe with a lease or was making such a probe.
    pub(super) fn count_probes(&mut self, had_lease: bool, who: &Who) {
        if let Some(seen) = self.circuit.probing() {
            self.ended(seen.era, seen.successes.saturating_add(seen.failures), had_lease, who);
        }
    }

    /// Counts the last probes of a half-open era when a transition ends the era. If the era was restored, the probes
    /// that an earlier process has counted are left out.
    pub(super) fn count_last_probes(&mut self, edge: &Transition, taken_over: bool, had_lease: bool, who: &Who) {
        let ended = if let Reason::ProbesPassed { successes, .. } | Reason::QuietService { successes, .. } = edge.reason
        {
            successes
        } else if let Reason::ProbeFailed { failures, successes, .. } = edge.reason {
            failures.saturating_add(successes)
        } else {
            self.fleet.probed.ended
        };
        if edge.from.state == State::HalfOpen && !taken_over {
            self.ended(self.fleet.probed.era, ended, had_lease, who);
        }
        if edge.to.state == State::HalfOpen {
            let seen = self.circuit.probing().filter(|seen| taken_over && seen.era == edge.era);
            let before = seen.map_or(0, |seen| seen.successes.saturating_add(seen.failures));
            (self.fleet.probed.era, self.fleet.probed.ended) = (edge.era, before);
        }
    }

    fn ended(&mut self, era: u64, ended: u32, had_lease: bool, who: &Who) {
        let before = if self.fleet.probed.era == era { self.fleet.probed.ended } else { 0 };
        (self.fleet.probed.era, self.fleet.probed.ended) = (era, ended);
        let has_result = matches!(self.fleet.turn.outcome(), Some(Outcome::Passed | Outcome::Failed));
        let leased = u32::from(had_lease && has_result);
        if self.fleet.probed.is_shown && self.is_active() && self.is_common(who) {
            let unleased = ended.saturating_sub(before).saturating_sub(leased);
            self.circuit.report_fleet_probes(FleetProbe::Unleased, unleased);
        }
    }

    /// Counts the result of a leased probe in the metrics, after the store has the result.
    pub(super) fn count_result(&self, change: &FleetChange) {
        let result = match change {
            FleetChange::Passed { .. } => FleetProbe::Passed,
            FleetChange::Failed { .. } => FleetProbe::Failed,
            FleetChange::Returned => FleetProbe::Returned,
            FleetChange::Late { .. } => FleetProbe::Late,
            FleetChange::Vote { .. }
            | FleetChange::Merged { .. }
            | FleetChange::Withdraw
            | FleetChange::Healthy
            | FleetChange::Lease { .. }
            | FleetChange::Renew { .. }
            | FleetChange::Unopposed { .. }
            | FleetChange::Overdue => return,
        };
        self.circuit.report_fleet_probes(result, 1);
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
