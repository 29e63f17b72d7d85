//! What operators order here: on its way to the record, and what became of it.

use std::time::Duration;

use super::{Desk, Pending, Told, Who};
use crate::clock::Tick;
use crate::coordinator::waiters::Fate;
use crate::record::{CircuitRecord, Operated, OperatorCommand, Timestamp};
use crate::state::order::Order;
use crate::state::{Act, By, State, Transition};
use crate::store::{AuditRow, Etag};

impl Desk {
    /// An operator did something here, which the record must have.
    pub(super) fn ordered(&mut self, act: Act, by: &By, edge: &Transition, age: Duration, who: &Who, now: Tick) {
        let era = self.eras.saturating_add(edge.era);
        let id = edge.order.as_deref().map_or_else(|| format!("{}-{era}", who.incarnation), ToOwned::to_owned);
        // One that could not be written is not done later, neither here nor, given again, elsewhere.
        let mut replaced = self.act.take().map_or_else(Vec::new, |Pending { command, .. }| {
            let mut replaced = command.replaced;
            replaced.push(command.id);
            replaced
        });
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
            on: self.acts,
            after: 0,
            instance: who.id.clone(),
            incarnation: who.incarnation.clone(),
            era,
        };
        self.binding = Some(command.id.clone());
        self.act = Some(Pending { at: edge.at, command });
        // Somebody waits for it, or may.
        self.retry_at = self.retry_at.min(now);
    }

    /// An operator wants nothing to be known any more.
    pub(super) fn forget(&mut self, by: &By, edge: &Transition, who: &Who, now: Tick, told: &mut Told) {
        let era = self.eras.saturating_add(edge.era);
        let id = edge.order.as_deref().map_or_else(|| format!("{}-{era}", who.incarnation), ToOwned::to_owned);
        self.known = CircuitRecord::unknown(self.circuit.name());
        self.evidence.forget(self.circuit.totals());
        if let Some(Pending { command, .. }) = self.act.take() {
            let why = format!("{} by {} afterwards: {}", Act::Forget, by.user(), by.reason());
            let dropped = command.replaced.into_iter().chain([command.id]);
            told.fates.extend(dropped.map(|id| (id, Fate::Superseded { why: why.clone() })));
        }
        (self.transition, self.binding) = (None, None);
        (self.acts, self.followed, self.advised_until) = (0, 0, None);
        (self.behind, self.strayed, self.reverts) = (false, false, false);
        self.forgetting.push(id);
        self.retry_at = self.retry_at.min(now);
    }

    /// Returns what is to be deleted, if something is: the version that is there, or that nothing is.
    pub(in crate::coordinator) fn deletes(&self) -> Option<Option<Etag>> {
        if self.forgetting.is_empty() { None } else { self.etag.clone() }
    }

    /// Nothing is there any more.
    pub(in crate::coordinator) fn forgotten(&mut self) -> Told {
        self.etag = Some(None);
        self.failures = 0;
        let mut told = Told::default();
        let generation = self.known.latest();
        let forgotten = std::mem::take(&mut self.forgetting).into_iter();
        told.fates.extend(forgotten.map(|id| (id, Fate::Stored { generation })));
        told
    }

    /// An order was given again.
    pub(in crate::coordinator) fn asked(&self, order: &Order, who: &Who) -> Told {
        let id = order.command_id().to_owned();
        let mut told = Told::default();
        let pending = self.act.as_ref().is_some_and(|act| act.command.id == id || act.command.replaced.contains(&id));
        if pending || self.forgetting.contains(&id) {
            return told;
        }
        let operated = self.known.operator.as_ref().filter(|operated| operated.commands.contains(&id));
        if operated.is_none() && order.act != Act::Forget {
            told.fates.push((id, Fate::Superseded { why: "other acts came after it".to_owned() }));
            return told;
        }
        if self.behind {
            return told;
        }
        // The instance that it was given to first may have died before its row was written. A row that is there is kept once.
        let row = AuditRow::of_order(self.name(), order, Timestamp::default(), self.known.generation, &who.id);
        told.rows.push((Duration::ZERO, row));
        told.fates.push((id, Fate::Stored { generation: self.known.latest() }));
        told
    }

    /// The record has these orders.
    pub(super) fn stored(&self, act: Option<&String>, told: &mut Told) {
        let Some(operated) = &self.known.operator else { return };
        let generation = self.known.latest();
        if let Some(id) = act {
            told.fates.push((id.clone(), Fate::Stored { generation }));
        }
        // Those before it were written in their turn, and have been told so; or it has replaced them.
        let why = format!("{} by {} afterwards: {}", operated.act, operated.user, operated.reason);
        let before = operated.commands.iter().filter(|id| Some(*id) != act);
        told.fates.extend(before.map(|id| (id.clone(), Fate::Superseded { why: why.clone() })));
    }
}
