//! The look, which turns the new transitions of a circuit into audit rows and pending changes. A pending change is a
//! change that is still to be written to the store.
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
    /// Reads the transitions and the counts of the circuit since the last call. Returns a report with the audit rows
    /// and the results of orders.
    pub(in crate::coordinator) fn look(&mut self, who: &Who, now: Tick) -> Report {
        let mut report = Report::default();
        let (edges, missed) = self.changes.observe(&self.circuit);
        if missed > 0 {
            let reason = format!("{missed} transitions were too fast to be kept");
            report.missed = Some((missed, self.row(who, MISSING, reason, None)));
        }
        for edge in edges {
            // A restored state is not a change by this process. `seen` finds only the restores by this desk. The test
            // of the reason also finds a restore before the desk existed. For example, the registry restores the
            // circuit of a key that returns after an eviction. A restored transition is not passed to
            // `Evidence::moved`, because `Evidence::continues` takes the evidence of a restored opening from the entry
            // in the record.
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

    /// Handles a transition by the circuit itself or by an operator of this process. Adds a row to the audit, and keeps
    /// the change until the store has the change.
    fn happened(&mut self, who: &Who, edge: &Transition, now: Tick, report: &mut Report) {
        let age = self.circuit.now().saturating_since(edge.at);
        // The kill switch is a setting of this process. Its transitions must not reach other instances or the next
        // start.
        if edge.reason == Reason::KillSwitch {
            return;
        }
        let era = self.changes.era(edge);
        let mut row = AuditRow::of_transition(self.name(), edge, &who.id);
        if matches!(edge.reason, Reason::Operator { .. }) {
            // The id of the row depends only on the act of the operator. If another instance appends the row again,
            // both rows have the same id, and the store keeps only one row.
            let (id, user) = (act_id(edge, era, who), row.user.as_deref().unwrap_or_default());
            row.id = row_id([self.name(), &id, &row.action, user, &row.reason]);
        }
        if who.sharing.is_of_fleet() && row.user.is_none() {
            row.reason.push_str("; this instance only");
        }
        // While the fleet is open or half-open, this instance writes no row when its own circuit becomes half-open.
        // Otherwise each instance would write a row, although the fleet becomes half-open only once. An act of an
        // operator always gets a row.
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
        // The desk must write the entry of this instance again, because the entry may become the only place with the
        // new state. In a fleet, no transition is written, and a later `check` of the desk cancels the write of the
        // entry if a restart would restore the present state anyway. Without a fleet, the transition is written too,
        // but the record refuses a transition that is older than the state or the act in the record. After such a
        // refusal, only the entry has the new state.
        self.evidence.owe(now);
        if who.sharing.is_of_fleet() {
            return;
        }
        // The desk keeps a reset as an act (`ordered` above) and as a transition (here). If a later act of this process
        // replaces the reset before the write, the record gets only the later act. Then the transition publishes the
        // state to which the reset led.
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

/// Returns the id of an operator's act. Usually, this is the id of the order. If the order has no id, the result
/// consists of the incarnation (the id of this start of the process) and the era (the version of the state).
pub(super) fn act_id(edge: &Transition, era: u64, who: &Who) -> String {
    edge.order.as_deref().map_or_else(|| format!("{}-{era}", who.incarnation), ToOwned::to_owned)
}

/// Returns true if the transition leads to another state, or makes the open state last longer. A failure with
/// `Retry-After` can make the open state last longer, with the reason `AtOnce`.
fn changes_state(edge: &Transition) -> bool {
    edge.from.state != edge.to.state || edge.reason == Reason::AtOnce
}
