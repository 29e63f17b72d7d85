//! The orders that operators gave to this process, and the results of these orders. An order is kept until the stored
//! record has the act of the order, which is the change that the operator requested.
//!
//! The circuit first carries out the order, and the desk then observes the act. A caller that waits for the result gets
//! the result once the store has the act. If the act can no longer be stored, the caller gets a result with the reason
//! at once, for example `Superseded` if a newer act has superseded the act. The record has room for one act. Therefore
//! the next act replaces an act that is still unwritten, and the order of the replaced act gets the result
//! `Superseded`.

use std::time::Duration;

use super::look::act_id;
use super::{Desk, Report, Who};
use crate::clock::Tick;
use crate::coordinator::waiters::Fate;
use crate::record::{Operated, OperatorCommand, Timestamp};
use crate::state::order::Order;
use crate::state::order_hash::Repetition;
use crate::state::{Act, By, State, Transition};
use crate::store::AuditRow;

impl Desk {
    /// Keeps an act that an operator of this process has ordered, until the record has the act.
    pub(super) fn ordered(&mut self, act: Act, by: &By, edge: &Transition, age: Duration, who: &Who, now: Tick) {
        let era = self.changes.era(edge);
        let id = act_id(edge, era, who);
        // The record names the replaced orders too. Therefore any instance recognises a replaced order that is given
        // again, and does not carry out the order a second time.
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
            in_fleet: who.sharing.is_of_fleet(),
        };
        self.adopted.ordered(command.id.clone());
        self.changes.order(edge.at, command);
        // The rest of a backoff is skipped, because a caller may wait for the result of the order.
        self.sending.hurry(now);
    }

    /// Carries out an operator's order to forget the circuit. Forgets the known content of the record, and keeps the
    /// order until the store has deleted the record.
    ///
    /// Pending changes are dropped as well, because they would create the record again. The orders of dropped acts get
    /// the result `Superseded`.
    pub(super) fn forget(&mut self, by: &By, edge: &Transition, who: &Who, now: Tick, report: &mut Report) {
        let era = self.changes.era(edge);
        let id = act_id(edge, era, who);
        self.known.forget();
        self.evidence.forget(self.circuit.totals());
        let why = format!("{} by {} afterwards: {}", Act::Forget, by.user(), by.reason());
        let dropped = self.changes.take_act().into_iter();
        report.fates.extend(dropped.map(|(id, _)| (id, Fate::Superseded { why: why.clone() })));
        self.changes.drop_transition();
        self.adopted.forget();
        self.fleet.forget();
        self.changes.forget(id);
        self.sending.hurry(now);
    }

    /// Reports that the pending orders of [`Act::Forget`](crate::state::Act::Forget) are done, because the store no
    /// longer has the record.
    pub(super) fn forgotten(&mut self) -> Report {
        self.known.deleted();
        self.sending.deleted();
        let mut report = Report::default();
        let generation = self.known.record().latest();
        let forgotten = self.changes.forgotten().into_iter();
        report.fates.extend(forgotten.map(|id| (id, Fate::Stored { generation, lacking: None })));
        report
    }

    /// Reports the result of an order that was given again. If a write of the order is still pending, the report has no
    /// result. The result is then reported after the write.
    pub(in crate::coordinator) fn ordered_again(&mut self, order: &Order, who: &Who) -> Report {
        let id = order.command_id();
        let mut report = Report::default();
        // The audit row is written again, because the instance that got the order first may have stopped before the row
        // was written. An existing row is not duplicated, because both rows have the same id.
        let record = self.known.record();
        let (generation, latest) = (record.generation, record.latest());
        let row = AuditRow::of_order(self.name(), order, Timestamp::default(), generation, &who.id);
        if self.changes.is_pending(id) {
            report.repeated.push((Duration::ZERO, row));
            return report;
        }
        let is_done = |operated: &&Operated| operated.earlier(id).of(order.order_hash()) == Repetition::Same;
        let operated = record.operator.as_ref().filter(is_done);
        if operated.is_none() && order.act != Act::Forget {
            report.fates.push((id.to_owned(), Fate::Superseded { why: "other acts came after it".to_owned() }));
            return report;
        }
        report.rows.push((Duration::ZERO, row));
        self.known.write_again();
        if self.known.is_behind() {
            return report;
        }
        report.fates.push((id.to_owned(), Fate::Stored { generation: latest, lacking: None }));
        report
    }

    /// Reports all orders in the record as stored, after this process has written back content that the store lacked. A
    /// caller may have given one of these orders again and may wait for the result.
    pub(super) fn written_back(&self, lacking: Option<&'static str>, report: &mut Report) {
        let generation = self.known.record().latest();
        let commands = self.known.record().operator.iter().flat_map(|operated| &operated.commands);
        report.fates.extend(commands.map(|id| (id.clone(), Fate::Stored { generation, lacking })));
    }

    /// Reports the results of the orders in the record after a write that contained an act. `act` is the id of this
    /// act, and `lacking` is the tier that does not have the write yet.
    pub(super) fn stored(&self, act: Option<&String>, lacking: Option<&'static str>, report: &mut Report) {
        let Some(operated) = &self.known.record().operator else { return };
        let generation = self.known.record().latest();
        if let Some(id) = act {
            report.fates.push((id.clone(), Fate::Stored { generation, lacking }));
        }
        // The other ids in the list belong to unwritten orders that the act has replaced, and to earlier acts. The
        // callers of the earlier acts do not wait any more, so a second result for the earlier acts has no effect.
        let why = format!("{} by {} afterwards: {}", operated.act, operated.user, operated.reason);
        let before = operated.commands.iter().filter(|id| Some(*id) != act);
        report.fates.extend(before.map(|id| (id.clone(), Fate::Superseded { why: why.clone() })));
    }
}
