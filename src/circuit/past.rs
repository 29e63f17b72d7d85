//! What has happened to a circuit, as far as orders of operators are judged by it: since when it is tripped, what its operators
//! could have seen, and which orders it has done.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Tick;
use crate::state::Generation;

/// What has happened to a circuit, as far as orders are judged by it.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// When it left closed, or was tripped by hand, if it has not closed since: from there a reset's cooldown counts.
    pub(super) tripped: Option<Since>,
    /// The same of the state that was published last: of this circuit on other instances.
    pub(super) tripped_elsewhere: Option<Since>,
    /// Grows with all that an operator could have seen: with each transition here, and with what is heard of others.
    pub(super) latest: Generation,
    /// The ids of the last orders, here and elsewhere, the newest last.
    orders: VecDeque<Arc<str>>,
}

impl Past {
    pub(super) fn has_done(&self, order: &str) -> bool {
        self.orders.iter().any(|done| **done == *order)
    }

    pub(super) fn remember(&mut self, order: &str) {
        if self.has_done(order) {
            return;
        }
        if self.orders.len() == ORDERS {
            self.orders.pop_front();
        }
        self.orders.push_back(order.into());
    }
}

/// When something happened, perhaps before the clock began: of that, a tick cannot tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    at: Tick,
    before: Duration,
}

impl Since {
    pub(super) const fn new(now: Tick, ago: Duration) -> Self {
        Self { at: now, before: ago }
    }

    pub(super) const fn passed(self, now: Tick) -> Duration {
        now.saturating_since(self.at).saturating_add(self.before)
    }
}

/// How many orders it recognises when they are given again.
const ORDERS: usize = 16;
