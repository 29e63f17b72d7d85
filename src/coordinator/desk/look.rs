//! The look, which turns the transitions of the circuit since the last look into audit rows and pending changes.
//!
//! A transition that the desk itself has caused by taking over a state becomes neither a row nor a pending change. The
//! record already has that state, and the instance that made the change has written the audit row.

use super::{Desk, Report, Who};
use crate::clock::Tick;
use crate::record::TransitionCommand;
use crate::state::{Act, Reason, State, Transition};
use crate::store::{AuditRow, row_id};
use crate::telemetry::audit::MISSING;

impl Desk {
    /// Reads the transitions and the counts of the circuit since the last look. Returns the audit rows.
    pub(in crate::coordinator) fn look(&mut self, who: &Who, now: Tick) -> Report {
        let mut report = Report::default();
        let (edges, missed) = self.changes.observe(&self.circuit);
        if missed > 0 {
            let reason = format!("{missed} transitions were too fast to be kept");
            report.missed = Some((missed, self.row(who, MISSING, reason, None)));
        }
        for edge in edges {
            // The evidence of a restored opening comes from the entry in the record, by `Evidence::continues`. A keyed
            // circuit is also restored when an evicted key comes back, before the circuit has a desk.
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

    /// Keeps a transition that the circuit, or an operator of this process, has made, until the store has it.
    fn happened(&mut self, who: &Who, edge: &Transition, now: Tick, report: &mut Report) {
        let age = self.circuit.now().saturating_since(edge.at);
        // The kill switch is a setting of this process, and must not reach other instances or the next start.
        if edge.reason == Reason::KillSwitch {
            return;
        }
        let era = self.changes.era(edge);
        let mut row = AuditRow::of_transition(self.name(), edge, &who.id);
        if matches!(edge.reason, Reason::Operator { .. }) {
            // The id is made from the act, so that another instance can append the row again.
            let (id, user) = (act_id(edge, era, who), row.user.as_deref().unwrap_or_default());
            row.id = row_id([self.name(), &id, &row.action, user, &row.reason]);
        }
        if who.sharing.is_of_fleet() && row.user.is_none() {
            row.reason.push_str("; this instance only");
        }
        // The row of the round stands for the half-open circuits of all instances.
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
        // The entry is due in its own right. In a fleet, a check takes the entry back if a restart would restore the state
        // from the decision. Without a fleet, the transition is dropped if the record has a newer state or a newer act, and
        // only the entry has the state of this instance then.
        self.evidence.owe(now);
        if who.sharing.is_of_fleet() {
            return;
        }
        // A reset becomes a transition too. If another act of this process replaces the reset before the write, the
        // state that the reset led to is still published.
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

/// Returns the id of the act of an operator. An act without an order has the start of the instance and the era as its id.
pub(super) fn act_id(edge: &Transition, era: u64, who: &Who) -> String {
    edge.order.as_deref().map_or_else(|| format!("{}-{era}", who.incarnation), ToOwned::to_owned)
}

/// Returns true if the transition leads to another state, or to a later end of the opening.
fn changes_state(edge: &Transition) -> bool {
    edge.from.state != edge.to.state || edge.reason == Reason::AtOnce
}
