//! The data that only transitions and operators' acts use, behind one mutex that no call takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Tick;
use crate::state::{Generation, Mode, Transition};

/// What only transitions touch.
#[derive(Debug)]
pub(super) struct Cold {
    /// The last transitions, oldest first; it grows as they happen.
    pub(super) history: VecDeque<Transition>,
    pub(super) generation: Generation,
    /// The openings in a row, and how long the last of them was.
    pub(super) attempt: u32,
    pub(super) last_open: Duration,
    /// How long it has been closed since then, over the eras that have ended: no mode laid over it winds that back.
    pub(super) closed_for: Duration,
    /// What a hold ends in: automatic or shadow.
    pub(super) beneath: Mode,
    /// The rejections counted when the circuit last was closed.
    pub(super) rejected_before: u64,
    /// What orders are judged by. Most circuits never need it, so it is made when there is something in it.
    past: Option<Box<Past>>,
}

impl Cold {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            history: VecDeque::new(),
            generation: Generation::default(),
            attempt: 0,
            last_open: Duration::ZERO,
            closed_for: Duration::ZERO,
            beneath: mode,
            rejected_before: 0,
            past: None,
        }
    }

    pub(super) fn past(&self) -> Option<&Past> {
        self.past.as_deref()
    }

    pub(super) fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    /// How long ago it left closed, if it has not closed since.
    pub(super) fn tripped_for(&self, now: Tick) -> Option<Duration> {
        self.past()?.tripped.map(|since| since.passed(now))
    }

    pub(super) fn latest(&self) -> Generation {
        self.past().map_or_else(Generation::default, |past| past.latest)
    }

    /// What `mode` ends in, if it is a hold, or else what it is.
    pub(super) const fn beneath(&self, mode: Mode) -> Mode {
        if mode.is_hold() { self.beneath } else { mode }
    }
}

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
