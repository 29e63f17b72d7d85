//! Circuits come and go: a desk is opened for a new one, and closed when its circuit was forgotten and all is written.
//!
//! What a forgotten circuit leaves is little, as none is forgotten that is open or held: what failed lately, and that it has
//! closed. While the store is down it waits, as far as there is room; beyond that the oldest is given up.

use std::sync::Arc;
use std::task::Waker;

use super::{Bell, Task};
use crate::circuit::Circuit;
use crate::clock::Tick;
use crate::coordinator::desk::{Desk, Life};
use crate::coordinator::desks::DeskId;
use crate::coordinator::hub::LEAVING;
use crate::coordinator::report::Restored;
use crate::telemetry;

impl Task {
    pub(super) fn introduce(&mut self, circuit: Circuit, waits: Option<Tick>) {
        if let Some(at) = self.ledger.index.get(circuit.name()) {
            let desk = &mut self.ledger.desks[*at];
            if !desk.is_of(&circuit) {
                if desk.evict_for((circuit, waits)) {
                    self.ledger.leaving.push_back(*at);
                }
            } else if desk.is_waiting_for_restore() {
                // Introduced while the task was being started: only now is it known that services wait.
                desk.let_calls_wait(waits);
            } else if waits.is_some() {
                circuit.restored();
            }
            return;
        }
        let name = circuit.name().to_owned();
        let eras = self.ledger.eras;
        let bell = |desk| Waker::from(Arc::new(Bell { desk, hub: Arc::downgrade(&self.hub) }));
        let at = self.ledger.desks.add(|at, turn| Desk::new(circuit, bell(at), waits, Life { turn, eras }));
        self.ledger.index.insert(name.clone(), at);
        self.hub.findings.lock().restored.insert(name, Restored::Waiting);
        self.to_load.insert(at);
        self.look(at, crate::clock::Clock::now(&self.ledger.clock));
    }

    /// The circuit is in no registry any more: its desk goes once everything is written.
    pub(super) fn forget(&mut self, circuit: &Circuit, now: Tick) {
        if !self.ledger.index.contains_key(circuit.name()) {
            // It came and went between two looks, and has something to say.
            self.introduce(circuit.clone(), None);
        }
        let Some(at) = self.ledger.index.get(circuit.name()).copied() else { return };
        let desk = &mut self.ledger.desks[at];
        if !desk.is_of(circuit) {
            desk.forget_next(circuit);
            return circuit.restored();
        }
        desk.evict();
        self.ledger.leaving.push_back(at);
        self.look(at, now);
        if let Some(desk) = self.ledger.desks.get_mut(at) {
            desk.hurry(now);
            self.to_write.insert(at);
        }
        if self.ledger.leaving.len() > LEAVING {
            self.give_up(now);
        }
    }

    /// Closes the desk if its circuit is forgotten and nothing is left to be written.
    pub(super) fn release(&mut self, at: DeskId, now: Tick) {
        if self.ledger.desks.get(at).is_some_and(|desk| desk.is_finished(now)) {
            self.close(at);
        }
    }

    /// Lets the oldest go without being written.
    fn give_up(&mut self, now: Tick) {
        let desks = &self.ledger.desks;
        if let Some(at) = self.ledger.leaving.iter().copied().find(|at| !desks[*at].is_writing()) {
            self.let_go(at, now);
        }
    }

    /// Lets one go whose write was refused, if another of its name waits for that: it would wait for ever.
    pub(super) fn make_way(&mut self, at: DeskId, now: Tick) {
        if self.ledger.desks[at].has_next() {
            self.let_go(at, now);
        }
    }

    fn let_go(&mut self, at: DeskId, now: Tick) {
        self.close(at);
        if let Some(before) = self.ledger.given_up.next(now) {
            telemetry::store::warn(format_args!(
                "{} circuits that were evicted had failures which the store does not have: it refuses them, is down, or is slower than keys come and go",
                before + 1
            ));
        }
    }

    fn close(&mut self, at: DeskId) {
        let ledger = &mut self.ledger;
        let Some(desk) = ledger.desks.remove(at) else { return };
        ledger.leaving.retain(|leaving| *leaving != at);
        ledger.index.remove(desk.name());
        // Whoever comes back under this name goes on counting.
        ledger.eras = ledger.eras.max(desk.last_era());
        self.to_load.remove(&at);
        self.to_write.remove(&at);
        self.hub.findings.lock().restored.remove(desk.name());
        if let Some((next, waits)) = desk.close() {
            self.introduce(next, waits);
        }
    }
}
