//! What operators order here: on its way to the record, and what became of it.

use std::time::Duration;

use super::{Desk, Told, Who};
use crate::clock::Tick;
use crate::coordinator::delivery::row_id;
use crate::coordinator::waiters::{Asked, Fate};
use crate::record::{Operated, OperatorCommand};
use crate::state::{Act, By, Transition};

impl Desk {
    /// An operator did something here, which the record must have.
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
            to: edge.to.state,
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

    /// An operator wants nothing to be known any more.
    pub(super) fn forget(&mut self, by: &By, edge: &Transition, who: &Who, now: Tick, told: &mut Told) {
        let era = self.changes.era(edge);
        let id = edge.order.as_deref().map_or_else(|| format!("{}-{era}", who.incarnation), ToOwned::to_owned);
        self.known.forget();
        self.evidence.forget(self.circuit.totals());
        let why = format!("{} by {} afterwards: {}", Act::Forget, by.user(), by.reason());
        let dropped = self.changes.take_act().into_iter();
        told.fates.extend(dropped.map(|id| (id, Fate::Superseded { why: why.clone() })));
        self.changes.drop_transition();
        self.adopted.forget();
        self.changes.forget(id);
        self.sending.hurry(now);
    }

    /// Reports the results of the orders to delete the record, which the store does not have any more.
    pub(super) fn forgotten(&mut self) -> Told {
        self.known.deleted();
        self.sending.deleted();
        let mut told = Told::default();
        let generation = self.known.record().latest();
        let forgotten = self.changes.forgotten().into_iter();
        told.fates.extend(forgotten.map(|id| (id, Fate::Stored { generation })));
        told
    }

    /// An order was given again.
    pub(in crate::coordinator) fn asked(&self, asked: &Asked, who: &Who) -> Told {
        let Asked { id, act, by, .. } = asked;
        let mut told = Told::default();
        if self.changes.is_pending(id) {
            return told;
        }
        let operated = self.known.record().operator.as_ref().filter(|operated| operated.commands.contains(id));
        if operated.is_none() && *act != Act::Forget {
            told.fates.push((id.clone(), Fate::Superseded { why: "other acts came after it".to_owned() }));
            return told;
        }
        if self.known.is_behind() {
            return told;
        }
        // The instance that it was given to first may have died before its row was written. A row that is there is kept once.
        let mut row = self.row(who, act.as_str(), by.reason().to_owned(), Some(by.user().to_owned()));
        row.id = row_id(self.name(), id);
        told.rows.push((Duration::ZERO, row));
        told.fates.push((id.clone(), Fate::Stored { generation: self.known.record().latest() }));
        told
    }

    /// The record has these orders.
    pub(super) fn stored(&self, act: Option<&String>, told: &mut Told) {
        let Some(operated) = &self.known.record().operator else { return };
        let generation = self.known.record().latest();
        if let Some(id) = act {
            told.fates.push((id.clone(), Fate::Stored { generation }));
        }
        // Those before it were written in their turn, and have been told so; or it has replaced them.
        let why = format!("{} by {} afterwards: {}", operated.act, operated.user, operated.reason);
        let before = operated.commands.iter().filter(|id| Some(*id) != act);
        told.fates.extend(before.map(|id| (id.clone(), Fate::Superseded { why: why.clone() })));
    }
}
