//! The desks (the data of the task about one circuit each) with something to write. Desks with an order of an operator
//! come first, from the oldest order to the newest.
//!
//! An outage of the network opens thousands of circuits at once. An operator who acts during the outage waits for an
//! answer, and must not wait for the writes of all these circuits.

use std::collections::{BTreeMap, BTreeSet};

use super::desks::DeskId;

/// The desks with something to write.
#[derive(Debug, Default)]
pub(super) struct ToWrite {
    /// The desks that have an order to write, by the number of the order. A newer order has a higher number.
    orders: BTreeMap<u64, DeskId>,
    /// The keys of `orders`, by desk.
    numbers: BTreeMap<DeskId, u64>,
    others: BTreeSet<DeskId>,
    /// The number of the last order.
    last: u64,
}

impl ToWrite {
    /// Adds a desk that has something to write. A desk with an order keeps its place until the order is written.
    pub(super) fn insert(&mut self, at: DeskId, has_order: bool) {
        if !has_order {
            self.remove(at);
            self.others.insert(at);
        } else if !self.numbers.contains_key(&at) {
            self.others.remove(&at);
            self.last += 1;
            self.numbers.insert(at, self.last);
            self.orders.insert(self.last, at);
        }
    }

    pub(super) fn remove(&mut self, at: DeskId) {
        self.others.remove(&at);
        if let Some(number) = self.numbers.remove(&at) {
            self.orders.remove(&number);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.orders.len() + self.others.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the desks with an order.
    pub(super) fn orders(&self) -> impl Iterator<Item = DeskId> {
        self.orders.values().copied()
    }

    /// Returns true if a desk without an order has something to write.
    pub(super) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// Returns the desks without an order.
    pub(super) fn others(&self) -> impl Iterator<Item = DeskId> {
        self.others.iter().copied()
    }
}
