//! The reports of the running task, and the ledger that the task leaves for the next task.
//!
//! Reports go to the findings of the hub, so that the registry can read them without a message to the task. At its end,
//! the task leaves every unwritten change in the ledger. The `drop` of the task passes the ledger to the hub, because a
//! drop also happens after a panic and at the end of the runtime.

use std::time::Duration;

use super::{Ledger, Task};
use crate::circuit::Circuit;
use crate::clock::{Clock, Tick};
use crate::coordinator::desk::{Desk, Report};
use crate::coordinator::desks::DeskId;
use crate::coordinator::report::Restored;
use crate::telemetry;

impl Task {
    /// Adds the result of the restore to the findings for the registry. If the record cannot be overwritten, also adds
    /// the format version of the record. Then handles the report of the desk. The task calls this function after each
    /// answer to a load or a write of the desk.
    pub(super) fn settle(&mut self, at: DeskId, report: Report, now: Tick) {
        let desk = &self.ledger.desks[at];
        let (restored, unwritable, name) = (desk.restored(), desk.unwritable(), desk.name().to_owned());
        let mut findings = self.hub.findings.lock();
        if findings.unwritable.get(&name).copied() != unwritable {
            match unwritable {
                Some(version) => findings.unwritable.insert(name.clone(), version),
                None => findings.unwritable.remove(&name),
            };
        }
        drop(findings);
        if restored != Restored::Waiting {
            let before = self.hub.findings.lock().restored.insert(name.clone(), restored.clone());
            if before.as_ref() != Some(&restored) {
                // Keyed circuits can be thousands, so no line is logged for each of them. The survey logs one line for
                // all circuits of a layer.
                #[cfg(feature = "keyed")]
                let is_keyed = self.hub.prefixes.cover(&name);
                #[cfg(not(feature = "keyed"))]
                let is_keyed = false;
                if let Restored::From { store, .. } = &restored
                    && !is_keyed
                {
                    telemetry::restored(&name, store, self.ledger.desks[at].restoring_edge().as_ref());
                }
                self.hub.notify_progress();
            }
        }
        self.note(at, report, now);
    }

    /// Ends the waits for audit rows that are stored or lost, and the waits of first calls whose time is over. Also
    /// updates the status of the store in the findings.
    pub(super) fn report(&mut self) {
        let now = self.ledger.clock.now();
        self.ledger.outbox.take_lost().iter().for_each(|id| self.hub.waiters.set_aside(id));
        self.hub.waiters.stored(|id| self.ledger.outbox.contains(id));
        self.log_lost_rows(now);
        let waits = !self.hub.terms.first_call_waits.is_zero();
        for desk in self.ledger.desks.iter_mut().filter(|_| waits) {
            desk.end_wait_of_calls(now);
        }
        #[cfg(feature = "keyed")]
        self.settle_prefixes(now);
        let mut findings = self.hub.findings.lock();
        findings.status.up = self.ledger.link.answers();
        findings.status.audit_rows = self.ledger.outbox.len();
        findings.status.audit_lost = self.ledger.outbox.lost();
        findings.status.audit_refused = self.ledger.outbox.refused();
        findings.rows_of_people = self.ledger.outbox.people();
        let last = self.ledger.link.last_error.as_ref();
        findings.status.last_error_kind = last.map(|(kind, _)| *kind);
        if findings.status.last_error.as_ref() != last.map(|(_, text)| text) {
            findings.status.last_error = last.map(|(_, text)| text.clone());
        }
        if findings.status.instance != self.ledger.who.id {
            findings.status.instance.clone_from(&self.ledger.who.id);
        }
    }

    /// Ends a task that never ran. If no task runs at a shutdown, the shutdown creates such a task only to find the
    /// unwritten changes. The task observes all circuits, which may have changed since the last task ended or since
    /// they were created. Afterwards the findings contain the unwritten changes, and the report of the shutdown shows
    /// them.
    pub(in crate::coordinator) fn end_unrun(mut self) {
        self.read_inbox();
    }

    /// Returns true if the task must end. After a request for a shutdown, the task ends once everything is written. The
    /// task also ends if the registry is gone.
    pub(super) fn is_done(&self) -> bool {
        // A load, a watch and a deletion of old audit rows write no change of this process. A shutdown need not wait
        // for them.
        let written = || {
            let is_writing = self.audit_under_way || self.ledger.desks.iter().any(Desk::is_writing);
            let is_empty = self.to_write.is_empty() && self.ledger.outbox.len() == 0;
            let owes_mark = self.ledger.membership.owes_mark() && self.ledger.link.is_up();
            !is_writing && is_empty && !owes_mark && self.hub.unsaved() == 0
        };
        self.finished || self.closing && written()
    }
}

/// Passes the ledger to the hub, and ends the waits of all callers. This happens even after a panic, because a caller
/// must not wait for a task that is gone.
impl Drop for Task {
    fn drop(&mut self) {
        let died = std::thread::panicking();
        let circuits: Vec<_> = self.ledger.desks.iter().flat_map(Desk::circuits).cloned().collect();
        {
            let mut findings = self.hub.findings.lock();
            findings.status.audit_rows = self.ledger.outbox.len();
            findings.status.deaths += u64::from(died);
            findings.members.clear();
        }
        if self.ledger.membership.is_kept() {
            telemetry::store::members(None);
        }
        let rest = Ledger::new(&self.hub.terms, &*self.hub.store);
        *self.hub.ledger.lock() = Some(std::mem::replace(&mut self.ledger, rest));
        // A caller that finds `running` false starts a task, and that task takes the ledger. Therefore `running` is
        // cleared after the ledger is in the hub.
        let mut inbox = self.hub.inbox.lock();
        let next = inbox.next.take();
        (inbox.running, inbox.task, inbox.ending) = (next.is_some(), None, false);
        // A panic of the task has its own warning below. No other warning about the missing task is needed.
        inbox.warned |= died;
        let introduced = inbox.introduced.clone();
        drop(inbox);
        self.hub.waiters.end();
        #[cfg(feature = "keyed")]
        self.hub.prefixes.end_all_waits();
        circuits.iter().chain(introduced.values()).for_each(Circuit::restored);
        // No task requests leases now, so the circuits probe without leases.
        circuits.iter().for_each(|circuit| circuit.lease_probes(Duration::ZERO));
        if died {
            telemetry::lines::warn(format_args!(
                "the task that keeps circuits in the store has died of a panic; circuits go on in memory until `restore`"
            ));
        }
        if let Some(runtime) = next {
            // If the runtime has ended, `spawn` drops the next task, and the drop clears `running`.
            Self::spawn(&self.hub, &runtime);
        }
        self.hub.notify_progress();
    }
}
