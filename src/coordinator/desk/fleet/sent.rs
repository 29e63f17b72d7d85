//! The command to the fleet in a write of the record, from its proposal to the answer of the store.
//!
//! A write contains the command that the last check has chosen. If the check has chosen no command, a write with new
//! counts may open the fleet by the counts of several instances. The audit gets one row for each decision, from the
//! instance that wrote the decision.

use std::time::Duration;

use super::turn::Turn;
use super::{Desk, Now, Report, Who, is_result};
use crate::record::{CircuitRecord, Command, Effect, FleetChange, apply};
use crate::state::State;
use crate::store::{AuditRow, Hint};
use crate::telemetry;
use crate::window::Tally;

/// The command to the fleet in a write.
#[derive(Debug)]
pub(in crate::coordinator::desk) struct Sent {
    change: FleetChange,
    /// True if other instances must load the record soon, because the command opens or closes the fleet, or requests a
    /// lease after the lease of another instance has expired.
    wakes: bool,
}

impl Sent {
    /// Returns the hint (a notification of the other instances) for a write that contains this command and no
    /// operator's act.
    ///
    /// Hints are rare, because each instance loads the whole record after a hint. The write sends a hint if the fleet
    /// opens or closes, if a health probe makes the fleet half-open, or if a probe has ended and another instance must
    /// probe. A vote that does not open the fleet sends no hint, because the next vote of another instance meets a
    /// conflict and gets the record then. A request for a lease sends a hint only if the lease of another instance has
    /// expired. That instance keeps its permission to probe until it has loaded a record with the lease of this
    /// instance. A probe that passed sends no hint, because its instance requests the next lease itself.
    pub(in crate::coordinator::desk) const fn hint(&self) -> Hint {
        let is_met = matches!(
            self.change,
            FleetChange::Vote { .. }
                | FleetChange::Withdraw
                | FleetChange::Lease { .. }
                | FleetChange::Renew { .. }
                | FleetChange::Passed { .. }
        );
        if is_met && !self.wakes { Hint::None } else { Hint::Transition }
    }
}

impl Desk {
    /// Applies the command of the last check to a record that is about to be written. `has_counts` is true if the
    /// record has new counts of this instance, which may open the fleet together with other counts. Returns the command
    /// if it has changed the record.
    pub(in crate::coordinator::desk) fn command_fleet(
        &mut self,
        record: &mut CircuitRecord,
        has_counts: bool,
        who: &Who,
        now: Now,
    ) -> Option<Sent> {
        if !who.sharing.is_of_fleet() {
            return None;
        }
        let wanted = self.fleet.wanted.clone();
        let change = wanted.or_else(|| has_counts.then(|| self.merged(record, who, now)).flatten())?;
        let command = Command::Fleet(self.fleet_command(change.clone(), who));
        if apply(record, &command, now.store) != Effect::Applied {
            // The record has refused the command. The next check chooses another command.
            self.fleet.wanted = None;
            return None;
        }
        if let Some(own) = record.instances.get_mut(&who.id).filter(|_| has_counts && self.evidence.is_stopping()) {
            // The command has given the entry a new sequence number. The mark `stopped` is valid only with the same
            // number.
            own.stopped = Some(own.sequence);
        }
        Some(self.propose(change, record, who, now))
    }

    /// Returns the command that opens the fleet by the counts in `record`. `None` if the fleet or the circuit is not
    /// closed, or if the sum of the counts of all instances meets no rule.
    fn merged(&self, record: &CircuitRecord, who: &Who, now: Now) -> Option<FleetChange> {
        let fleet = record.decision(who.follows());
        if fleet.state != State::Closed || self.circuit.state() != State::Closed || !self.is_active() {
            return None;
        }
        let window = self.circuit.config().window.length().unwrap_or_default().max(MERGED_AT_LEAST);
        let fresh = record.instances.values().filter(|entry| now.store.since(entry.updated_at) < window);
        let (mut entries, mut calls, mut score, mut slow) = (0_u64, 0_u64, 0.0, 0_u64);
        for entry in fresh.filter(|entry| fleet.is_before(entry.updated_at, now.store)) {
            entries += 1;
            calls = calls.saturating_add(entry.calls);
            score += entry.score;
            slow = slow.saturating_add(entry.slow);
        }
        self.circuit.trips_with(Tally::new(calls, score, slow))?;
        // An instance without a failure writes no counts, but its successes must lower the failure rate. So each
        // instance without counts is assumed to have made as many calls as the other instances on average.
        let live = u64::from(who.members.live?).max(entries);
        let all = calls.saturating_mul(live) / entries.max(1);
        let (attempt, rule) = self.circuit.trips_with(Tally::new(all, score, slow))?;
        Some(FleetChange::Merged {
            needed: 2,
            window,
            open_for: self.circuit.open_duration(attempt),
            attempt,
            reason: format!("the calls of several instances: {rule}"),
        })
    }

    /// Notes the command of a write that is about to begin. The caller keeps the returned command until the write ends.
    fn propose(&mut self, change: FleetChange, record: &CircuitRecord, who: &Who, now: Now) -> Sent {
        if let Some(own) = record.instances.get(&who.id) {
            self.evidence.observed(own);
            self.sending.propose(record.generation.get(), own.sequence);
        }
        let decided =
            record.fleet.as_ref().map(|fleet| fleet.generation).filter(|after| *after != self.generation(who));
        self.fleet.decided = decided.or(self.fleet.decided);
        let is_round = record.fleet.as_ref().is_some_and(|fleet| fleet.state == State::HalfOpen);
        let is_lease = matches!(change, FleetChange::Lease { .. });
        let wakes = decided.is_some() && !is_round || is_lease && record.others_have_lapsed(&who.id, now.store);
        Sent { change, wakes }
    }

    /// Notes that the store has accepted the write that contains the command `sent`.
    pub(in crate::coordinator::desk) fn fleet_written(&mut self, sent: &Sent) {
        self.count_result(&sent.change);
        if is_result(&sent.change) {
            // If a call used the lease within a second and the probe passed, this instance has enough calls, and
            // requests its next lease at once. With fewer calls, the next lease could wait long for a call, and the
            // other instances would wait for the lease.
            self.fleet.has_demand |= self.fleet.turn.has_passed_soon();
            self.fleet.turn = Turn::None;
        }
        if let FleetChange::Lease { .. } = sent.change {
            self.fleet.has_demand = false;
        }
    }

    /// Adds to the report the audit row of a decision that this instance has written. Instances that only adopt the
    /// decision add no row.
    pub(in crate::coordinator::desk) fn row_of_decision(&mut self, who: &Who, report: &mut Report) {
        let Some(fleet) = &self.known.record().fleet else { return };
        let Some(generation) = self.fleet.decided else { return };
        if fleet.generation >= generation {
            if fleet.generation == generation && fleet.instance == who.id {
                let action = match fleet.state {
                    State::Open => telemetry::audit::OPENED,
                    State::HalfOpen => telemetry::audit::HALF_OPENED,
                    State::Closed => telemetry::audit::CLOSED,
                };
                let row =
                    AuditRow { generation: generation.get(), ..self.row(who, action, fleet.reason.clone(), None) };
                report.rows.push((Duration::ZERO, row));
            }
            self.fleet.decided = None;
        }
    }
}

/// For at least this time after a write, the counts in an entry are recent enough to be added up. Each instance writes
/// its counts every 12 to 18 s, so a shorter time would find few entries.
const MERGED_AT_LEAST: Duration = Duration::from_secs(18);
