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
            if !desk.circuit.is(&circuit) {
                // The one of that name that was before goes first: two at once would overwrite each other's entry.
                desk.next = Some((circuit, waits));
                if !std::mem::replace(&mut desk.is_leaving, true) {
                    self.ledger.leaving.push_back(*at);
                }
            } else if desk.restored == Restored::Waiting {
                // Introduced while the task was being started: only now is it known that services wait.
                desk.wait_until = desk.wait_until.or(waits);
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
        if !desk.circuit.is(circuit) {
            // It waits for its own last life to be written: what it has seen since is lost.
            desk.next.take_if(|(next, _)| next.is(circuit));
            return circuit.restored();
        }
        desk.is_leaving = true;
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
        let written = |desk: &Desk| !desk.has_unwritten() && !desk.wants(now);
        let done = |desk: &Desk| desk.is_leaving && !desk.in_flight && (written(desk) || desk.is_read_only());
        if self.ledger.desks.get(at).is_some_and(done) {
            self.close(at);
        }
    }

    /// Lets the oldest go without being written.
    fn give_up(&mut self, now: Tick) {
        let desks = &self.ledger.desks;
        if let Some(at) = self.ledger.leaving.iter().copied().find(|at| !desks[*at].in_flight) {
            self.let_go(at, now);
        }
    }

    /// Lets one go whose write was refused, if another of its name waits for that: it would wait for ever.
    pub(super) fn make_way(&mut self, at: DeskId, now: Tick) {
        if self.ledger.desks[at].next.is_some() {
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
        desk.circuit.restored();
        if let Some((next, waits)) = desk.next {
            self.introduce(next, waits);
        }
    }
}
