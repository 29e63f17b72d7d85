//! The look, which turns the transitions of the circuit since the last look into audit rows and pending changes.
//!
//! A transition that only applies a state from the stored record becomes neither a row nor a pending change. The record
//! already has that state, and the instance that made the change has written the audit row.

use super::{Desk, Report, Who};
use crate::clock::Tick;
use crate::record::TransitionCommand;
use crate::state::{Act, Reason, State, Transition};
use crate::store::{AuditRow, row_id};
use crate::telemetry::audit::MISSING;

impl Desk {
    /// Reads the transitions and the counts of the circuit since the last look. Returns the report with the audit rows
    /// and the results of orders.
    pub(in crate::coordinator) fn look(&mut self, who: &Who, now: Tick) -> Report {
        let mut report = Report::default();
        let (edges, missed) = self.changes.observe(&self.circuit);
        if missed > 0 {
            let reason = format!("{missed} transitions were too fast to be kept");
            report.missed = Some((missed, self.row(who, MISSING, reason, None)));
        }
        for edge in edges {
            // A restore is not a change made by this process. The test of the reason also finds restores that the desk
            // did not make. For example, if the key of an evicted circuit returns, the new circuit is restored before
            // it has a desk.
            let restored = edge.reason == Reason::Restored;
            let taken_over = self.changes.seen(&edge) || restored;
            if changes_state(&edge) && !restored {
                self.evidence.moved(&edge);
            }
            if who.sharing.is_of_fleet() {
                self.note_for_fleet(&edge, taken_over, who, now);
            }
            if taken_over {
                continue;
            }
            self.happened(who, &edge, now, &mut report);
        }
        self.evidence.look(&self.circuit, self.is_common(who), now);
        report
    }

    /// Handles a transition that the circuit, or an operator of this process, has made. The audit gets a row, and the
    /// desk keeps the change until the store has it.
    fn happened(&mut self, who: &Who, edge: &Transition, now: Tick, report: &mut Report) {
        let age = self.circuit.now().saturating_since(edge.at);
        // The kill switch is a setting of this process, and must not reach other instances or the next start.
        if edge.reason == Reason::KillSwitch {
            return;
        }
        let era = self.changes.era(edge);
        let mut row = AuditRow::of_transition(self.name(), edge, &who.id);
        if matches!(edge.reason, Reason::Operator { .. }) {
            // The id of the row is derived from the act, so that the row is stored once even if another instance
            // appends it again.
            let (id, user) = (act_id(edge, era, who), row.user.as_deref().unwrap_or_default());
            row.id = row_id([self.name(), &id, &row.action, user, &row.reason]);
        }
        if who.sharing.is_of_fleet() && row.user.is_none() {
            row.reason.push_str("; this instance only");
        }
        // While the fleet as a whole is open or half-open, an instance writes no row when its own circuit becomes
        // half-open. The audit then has one row for the half-open state of the whole fleet. An act of an operator has a
        // row in every case.
        if edge.to.state != State::HalfOpen || row.user.is_some() || !self.is_common(who) {
            report.rows.push((age, row));
        }
        self.changes.moved();
        if let Reason::Operator { act, by } = &edge.reason {
            if *act == Act::Forget {
                self.forget(by, edge, who, now, report);
                return;
            }
            self.ordered(*act, by, edge, age, who, now);
        }
        if !changes_state(edge) {
            return;
        }
        // The entry of this instance in the record must be written again, even if the transition itself is not written.
        // In a fleet, a later check cancels the write if a restart would restore the present state even without the
        // write. Without a fleet, the record may refuse the transition because of a newer state or a newer act. Then
        // only the entry has the state of this instance.
        self.evidence.owe(now);
        if who.sharing.is_of_fleet() {
            return;
        }
        // The desk keeps a reset twice. `ordered` above keeps the act, and the transition is kept here. If another act
        // of this process replaces the reset before the write, the transition still publishes the state to which the
        // reset led.
        let command = TransitionCommand {
            on: edge.generation,
            after: 0,
            state: edge.to.state,
            reason: edge.because().to_string(),
            age,
            open_for: edge.lasts.filter(|_| edge.to.state == State::Open),
            attempt: edge.attempt,
            instance: who.id.clone(),
            incarnation: who.incarnation.clone(),
            era,
        };
        self.changes.transition(edge.at, command);
    }
}

/// Returns the id of the act of an operator, which is the id of its order. An act without the id of an order gets an id
/// from the incarnation (the id of this start) and the era.
pub(super) fn act_id(edge: &Transition, era: u64, who: &Who) -> String {
    edge.order.as_deref().map_or_else(|| format!("{}-{era}", who.incarnation), ToOwned::to_owned)
}

/// Returns true if the transition leads to another state, or makes the open state last longer.
fn changes_state(edge: &Transition) -> bool {
    edge.from.state != edge.to.state || edge.reason == Reason::AtOnce
}
