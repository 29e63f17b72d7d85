//! The orders of operators of this process on their way to the record, and their results.

use std::time::Duration;

use super::{Desk, Report, Who};
use crate::clock::Tick;
use crate::coordinator::waiters::Fate;
use crate::record::{Operated, OperatorCommand, Timestamp};
use crate::state::order::Order;
use crate::state::{Act, By, State, Transition};
use crate::store::AuditRow;

impl Desk {
    /// Keeps an act of an operator of this process until the record has it.
    pub(super) fn ordered(&mut self, act: Act, by: &By, edge: &Transition, age: Duration, who: &Who, now: Tick) {
        let era = self.changes.era(edge);
        let id = edge.order.as_deref().map_or_else(|| format!("{}-{era}", who.incarnation), ToOwned::to_owned);
        // An act that could not be written is not done later, neither here nor, if it is given again, on another instance.
        let mut replaced = self.changes.take_act();
        let excess = replaced.len().saturating_sub(Operated::MAX_COMMANDS - 1);
        replaced.drain(..excess);
        let command = OperatorCommand {
            id,
            replaced,
            act,
            to: edge.resets_to.map_or(edge.to.state, State::from),
            hold: edge.lasts.filter(|_| matches!(act, Act::Trip | Act::Disable)),
            by: by.clone(),
            age,
            on: self.adopted.act_sequence(),
            after: 0,
            instance: who.id.clone(),
            incarnation: who.incarnation.clone(),
            era,
        };
        self.adopted.ordered(command.id.clone());
        self.changes.order(edge.at, command);
        // A caller may wait for the result.
        self.sending.hurry(now);
    }

    /// Forgets the content of the record, and keeps the order of the operator until the store has deleted the record.
    pub(super) fn forget(&mut self, by: &By, edge: &Transition, who: &Who, now: Tick, report: &mut Report) {
        let era = self.changes.era(edge);
        let id = edge.order.as_deref().map_or_else(|| format!("{}-{era}", who.incarnation), ToOwned::to_owned);
        self.known.forget();
        self.evidence.forget(self.circuit.totals());
        let why = format!("{} by {} afterwards: {}", Act::Forget, by.user(), by.reason());
        let dropped = self.changes.take_act().into_iter();
        report.fates.extend(dropped.map(|id| (id, Fate::Superseded { why: why.clone() })));
        self.changes.drop_transition();
        self.adopted.forget();
        self.changes.forget(id);
        self.sending.hurry(now);
    }

    /// Reports the results of the orders to delete the record, which the store does not have any more.
    pub(super) fn forgotten(&mut self) -> Report {
        self.known.deleted();
        self.sending.deleted();
        let mut report = Report::default();
        let generation = self.known.record().latest();
        let forgotten = self.changes.forgotten().into_iter();
        report.fates.extend(forgotten.map(|id| (id, Fate::Stored { generation })));
        report
    }

    /// An order was given again.
    pub(in crate::coordinator) fn asked(&self, order: &Order, who: &Who) -> Report {
        let id = order.command_id();
        let mut report = Report::default();
        if self.changes.is_pending(id) {
            return report;
        }
        let is_done = |operated: &&Operated| operated.commands.iter().any(|done| done == id);
        let operated = self.known.record().operator.as_ref().filter(is_done);
        if operated.is_none() && order.act != Act::Forget {
            report.fates.push((id.to_owned(), Fate::Superseded { why: "other acts came after it".to_owned() }));
            return report;
        }
        if self.known.is_behind() {
            return report;
        }
        // The instance that it was given to first may have died before its row was written. A row that is there is kept once.
        let record = self.known.record();
        let row = AuditRow::of_order(self.name(), order, Timestamp::default(), record.generation, &who.id);
        report.rows.push((Duration::ZERO, row));
        report.fates.push((id.to_owned(), Fate::Stored { generation: record.latest() }));
        report
    }

    /// Reports the results of the orders that the record has.
    pub(super) fn stored(&self, act: Option<&String>, report: &mut Report) {
        let Some(operated) = &self.known.record().operator else { return };
        let generation = self.known.record().latest();
        if let Some(id) = act {
            report.fates.push((id.clone(), Fate::Stored { generation }));
        }
        // An earlier order was reported when it was written. The others were replaced by the act.
        let why = format!("{} by {} afterwards: {}", operated.act, operated.user, operated.reason);
        let before = operated.commands.iter().filter(|id| Some(*id) != act);
        report.fates.extend(before.map(|id| (id.clone(), Fate::Superseded { why: why.clone() })));
    }
}
