//! New and evicted circuits, with the creation and the end of their desks.
//!
//! A new circuit gets a desk. The desk of an evicted circuit is closed once every change is written. Usually, only the
//! last failures and transitions of an evicted circuit are unwritten. An act of an operator that holds the circuit is
//! rarely among the unwritten changes, because a held circuit is evicted only together with all circuits of its layer.
//! While the store is down, the desks of evicted circuits wait, up to [`LEAVING`] of them. Beyond this number, the
//! oldest desk is closed without its write. Otherwise keyed circuits, which come and go without end, would fill the
//! memory.

use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::Task;
use crate::circuit::Circuit;
use crate::clock::Tick;
use crate::coordinator::desk::{Desk, Life};
use crate::coordinator::desks::DeskId;
use crate::coordinator::hub::{Hub, LEAVING};
use crate::coordinator::report::Restored;
use crate::telemetry;

impl Task {
    /// Creates the desk of a new circuit. If an evicted circuit of the same name still has a desk, the new circuit
    /// waits until that desk is closed. The first calls of the circuit wait for the restore until the tick `waits`, or
    /// do not wait if `waits` is `None`.
    pub(super) fn introduce(&mut self, circuit: Circuit, waits: Option<Tick>) {
        if let Some(at) = self.ledger.index.get(circuit.name()) {
            let desk = &mut self.ledger.desks[*at];
            if !desk.is_of(&circuit) {
                if desk.evict_for((circuit, waits)) {
                    self.ledger.leaving.push_back(*at);
                }
            } else if desk.is_waiting_for_restore() {
                // The circuit has a desk already, but was introduced a second time. For example, the circuit was
                // created while `start` listed the circuits of the registry. If `start` has let the first calls of the
                // circuit wait, the desk gets the end of this wait only now.
                desk.let_calls_wait(waits);
            } else if waits.is_some() {
                circuit.restored();
            }
            return;
        }
        self.run_health_of(&circuit);
        let name = circuit.name().to_owned();
        let eras = self.ledger.eras;
        let bell = |desk| Waker::from(Arc::new(Bell { desk, circuit: name.clone(), hub: Arc::downgrade(&self.hub) }));
        let at = self.ledger.desks.add(|at, turn| Desk::new(circuit, bell(at), waits, Life { turn, eras }));
        self.ledger.index.insert(name.clone(), at);
        self.hub.findings.lock().restored.insert(name, Restored::Waiting);
        self.to_load.insert(at);
        self.look(at, crate::clock::Clock::now(&self.ledger.clock));
    }

    /// Notes that the registry has evicted the circuit. The desk of the circuit is closed once every change is written.
    pub(super) fn evict(&mut self, circuit: &Circuit, now: Tick) {
        // The health probes of the circuit end now, although the circuit may stay in memory. The next circuit of the
        // same key gets its own health probes.
        circuit.stop_checks();
        if !self.ledger.index.contains_key(circuit.name()) {
            // The circuit was created and evicted since the inbox was last read. The inbox keeps such a circuit only if
            // the circuit has a change to write.
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
            self.plan(at, now);
        }
        if self.ledger.leaving.len() > LEAVING {
            self.give_up(now);
        }
    }

    /// Closes the desk if its circuit is evicted and no change is left to be written.
    pub(super) fn close_if_finished(&mut self, at: DeskId, now: Tick) {
        if self.ledger.desks.get(at).is_some_and(|desk| desk.is_finished(now)) {
            self.close(at);
        }
    }

    /// Closes the oldest desk of an evicted circuit without its write. A desk with a write under way stays, because the
    /// answer to its write is still to come.
    fn give_up(&mut self, now: Tick) {
        let desks = &self.ledger.desks;
        if let Some(at) = self.ledger.leaving.iter().copied().find(|at| !desks[*at].is_writing()) {
            self.close_unwritten(at, now);
        }
    }

    /// Closes a desk whose write the store has refused, if a new circuit of the same name waits. Otherwise the new
    /// circuit would never get a desk, because the store would refuse each later write of the old desk too.
    pub(super) fn close_for_next(&mut self, at: DeskId, now: Tick) {
        if self.ledger.desks[at].has_next() {
            self.close_unwritten(at, now);
        }
    }

    /// Closes a desk with unwritten changes, and logs the loss at most once a minute.
    fn close_unwritten(&mut self, at: DeskId, now: Tick) {
        self.close(at);
        if let Some(before) = self.ledger.given_up.next(now) {
            telemetry::lines::warn(format_args!(
                "{} circuits were evicted before their last failures were stored, because the store refuses writes, is down, or is slower than the evictions",
                before + 1
            ));
        }
    }

    /// Closes a desk. If a new circuit of the same name waits, creates the desk of the new circuit.
    fn close(&mut self, at: DeskId) {
        let ledger = &mut self.ledger;
        let Some(desk) = ledger.desks.remove(at) else { return };
        ledger.leaving.retain(|leaving| *leaving != at);
        ledger.index.remove(desk.name());
        // The next circuit of this name continues the count of eras (numbers of transitions), so that a command of the
        // new circuit never has the number of an old command.
        ledger.eras = ledger.eras.max(desk.last_era());
        self.to_load.forget(at);
        self.polls.forget(at);
        self.to_write.remove(at);
        let mut findings = self.hub.findings.lock();
        findings.unwritten.remove(&at);
        findings.restored.remove(desk.name());
        findings.held_up.remove(desk.name());
        drop(findings);
        if let Some((next, waits)) = desk.close() {
            self.introduce(next, waits);
        }
    }
}

/// The waker of one circuit, which puts the desk of the circuit into the inbox and wakes the task.
#[derive(Debug)]
struct Bell {
    desk: DeskId,
    /// The name of the circuit.
    circuit: String,
    /// The reference is weak, because the hub has the circuits and each circuit owns its waker. Strong references would
    /// form a cycle, and neither the hub nor the circuit would ever be dropped.
    hub: Weak<Hub>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(hub) = self.hub.upgrade() {
            hub.ring(self.desk, &self.circuit);
        }
    }
}
