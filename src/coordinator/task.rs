//! The task: it waits for a bell, an answer, news or the time, and lets every desk do what is due.

mod answers;
mod end;
mod jobs;
mod leave;

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::time::Duration;

use tokio::task::JoinSet;

use super::desk::{Desk, Now, Report, Via};
use super::desks::DeskId;
use super::hub::Hub;
use super::ledger::Ledger;
use crate::clock::{Clock, Tick};
use crate::store::{Watch, WatchEvent};
use crate::telemetry;
use jobs::Ended;

/// The task of one registry.
#[derive(Debug)]
pub(super) struct Task {
    hub: Arc<Hub>,
    /// `None` only while it is dropped.
    ledger: Ledger,
    /// The operations that are under way, by their names in logs and metrics.
    jobs: JoinSet<(&'static str, Ended)>,
    /// The desks whose record must be asked for, and those with something to write.
    to_load: BTreeSet<DeskId>,
    to_write: BTreeSet<DeskId>,
    audit_under_way: bool,
    watch_under_way: bool,
    /// When the audit may be written again.
    audit_at: Tick,
    watch: Option<Watch>,
    /// When to try to watch again. `None`: it is watching, trying, or cannot.
    watch_at: Option<Tick>,
    next_look: Tick,
    next_poll: Tick,
    /// When rows of the audit may be deleted again.
    next_trim: Tick,
    closing: bool,
    finished: bool,
}

impl Task {
    /// Takes up where the last task ended.
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        let mut ledger = hub.ledger.lock().take().unwrap_or_else(|| Ledger::new(&hub.terms, hub.store.kind()));
        for desk in ledger.desks.iter_mut() {
            desk.restart();
        }
        let now = ledger.clock.now();
        let next_trim = now.saturating_add(FIRST_TRIM.mul_f64(0.5 + ledger.dice.share()));
        Self {
            next_trim,
            hub: Arc::clone(hub),
            to_load: ledger.desks.ids().collect(),
            ledger,
            jobs: JoinSet::new(),
            to_write: BTreeSet::new(),
            audit_under_way: false,
            watch_under_way: false,
            audit_at: now,
            watch: None,
            watch_at: Some(now),
            next_look: now,
            next_poll: now,
            closing: false,
            finished: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.read_inbox();
            let now = self.ledger.clock.now();
            if self.next_look <= now {
                self.look_at_all(now);
            }
            if self.next_poll <= now {
                self.poll(now);
            }
            self.launch(now);
            self.report();
            if self.is_done() {
                self.finished = true;
                return;
            }
            // Never at once: should something stay due that cannot begin, it must not spin.
            let wait = self.next_wake().saturating_since(now).max(Duration::from_millis(1));
            tokio::select! {
                biased;
                () = self.hub.called.notified() => {}
                // Never an error: an operation catches its panics, and only the drop of all aborts one.
                Some(Ok(ended)) = self.jobs.join_next(), if !self.jobs.is_empty() => self.ended(ended),
                event = next_event(&mut self.watch) => self.news(event),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn read_inbox(&mut self) {
        let mut inbox = self.hub.inbox.lock();
        let introduced = std::mem::take(&mut inbox.introduced);
        let forgotten = std::mem::take(&mut inbox.forgotten);
        let rung = std::mem::take(&mut inbox.rung);
        let hurry = std::mem::take(&mut inbox.hurry);
        let asked = std::mem::take(&mut inbox.asked);
        inbox.orders = 0;
        let (shutdown, ended) = (inbox.shutdown, inbox.ended);
        // Somebody has started it again meanwhile.
        self.closing &= shutdown;
        drop(inbox);
        let now = self.ledger.clock.now();
        // First who goes: one of the same name may have come since.
        for circuit in forgotten {
            self.forget(&circuit, now);
        }
        for circuit in introduced.into_values() {
            let waits = self.hub.terms.first_call_waits;
            self.introduce(circuit, (!waits.is_zero()).then(|| now.saturating_add(waits)));
        }
        for desk in rung {
            self.look(desk, now);
        }
        for (circuit, order) in asked {
            let Some(at) = self.ledger.index.get(&circuit).copied() else { continue };
            self.look(at, now);
            let report = self.ledger.desks[at].asked(&order, &self.ledger.who);
            self.note(at, report, now);
        }
        if hurry {
            self.ledger.link.hurry(now);
            let desks = &self.ledger.desks;
            self.to_load.extend(desks.ids().filter(|at| desks[*at].is_waiting_for_restore()));
        }
        if shutdown && !self.closing {
            self.closing = true;
            self.look_at_all(now);
            for at in self.ledger.desks.places() {
                let Some(desk) = self.ledger.desks.get_mut(at) else { continue };
                desk.hurry(now);
                if desk.wants_write(now) {
                    self.to_write.insert(at);
                }
            }
            self.ledger.link.hurry(now);
            self.audit_at = now;
        }
        self.finished |= ended;
    }

    /// Looks at one circuit that has called.
    fn look(&mut self, at: DeskId, now: Tick) {
        let Ledger { desks, who, .. } = &mut self.ledger;
        let Some(desk) = desks.get_mut(at) else { return };
        let report = desk.look(who, now);
        self.note(at, report, now);
    }

    /// Polls every circuit, because counts have no bell, and reports its sums, in case its threads make no more calls.
    fn look_at_all(&mut self, now: Tick) {
        for at in self.ledger.desks.places() {
            if let Some(desk) = self.ledger.desks.get(at) {
                desk.report_sums();
            }
            self.look(at, now);
        }
        self.next_look = now.saturating_add(LOOK_EVERY);
    }

    /// Keeps the report of a desk, and notes whether the desk has something to write.
    fn note(&mut self, at: DeskId, report: Report, now: Tick) {
        if let Some((missed, row)) = report.missed {
            self.ledger.outbox.push_for(missed, now, row);
        }
        self.hub.waiters.tell(self.ledger.desks[at].name(), report.fates);
        for (age, row) in report.rows {
            row.log();
            self.ledger.outbox.push(Tick::from_nanos(now.as_nanos().saturating_sub(crate::clock::nanos(age))), row);
        }
        if self.ledger.desks[at].wants_write(now) {
            self.to_write.insert(at);
        } else {
            self.to_write.remove(&at);
        }
        if report.clash {
            self.rename(now);
        }
        self.release(at, now);
    }

    /// Another living instance has this id: takes the next one.
    fn rename(&mut self, now: Tick) {
        let ledger = &mut self.ledger;
        ledger.names += 1;
        let (named, before) = (&ledger.named, std::mem::take(&mut ledger.who.id));
        ledger.who.id = format!("{named}#{}", ledger.names);
        telemetry::store::warn(format_args!(
            "another instance of this service is called `{before}` too; this one is `{}` now: give each a name of its own",
            ledger.who.id
        ));
        for desk in ledger.desks.iter_mut() {
            desk.renamed(now);
        }
    }

    fn poll(&mut self, now: Tick) {
        let store = self.ledger.link.time(now);
        let eventful = self.ledger.desks.iter().any(|desk| desk.is_eventful(store));
        let polls = self.hub.terms.poll;
        let every = if eventful { polls.tripped } else { polls.closed };
        let spread = 0.8 + 0.4 * self.ledger.dice.share();
        self.next_poll = now.saturating_add(every.mul_f64(spread));
        self.to_load.extend(self.ledger.desks.ids());
    }

    fn news(&mut self, event: Option<WatchEvent>) {
        let now = self.ledger.clock.now();
        match event {
            Some(WatchEvent::Changed { name, current }) => {
                let Some(at) = self.ledger.index.get(&name).copied() else { return };
                match current {
                    Some((current, store)) => {
                        let now = Now { here: now, store };
                        let Ledger { desks, who, .. } = &mut self.ledger;
                        // While a write is under way, its answer says more.
                        if desks[at].is_writing() {
                            return;
                        }
                        let from = self.hub.store.origin(&current.etag);
                        let report = desks[at].found(Some(&current), Via::News, from, who, now);
                        self.settle(at, report, now.here);
                    }
                    None => {
                        self.to_load.insert(at);
                    }
                }
            }
            Some(WatchEvent::Gap) => self.to_load.extend(self.ledger.desks.ids()),
            None => {
                self.watch = None;
                self.watch_at = Some(now.saturating_add(WATCH_AGAIN.mul_f64(0.5 + self.ledger.dice.share())));
            }
        }
    }

    fn next_wake(&self) -> Tick {
        let mut next = self.next_look.min(self.next_poll);
        // While it is down one operation at a time finds out, and its end wakes by itself.
        let busy = self.under_way() > 0;
        let waits = !self.to_load.is_empty() || !self.to_write.is_empty() || self.ledger.outbox.len() > 0;
        if let Some(at) = self.ledger.link.next().filter(|_| waits && !busy) {
            next = next.min(at);
        }
        if let Some(at) = self.watch_at.filter(|_| self.ledger.link.is_up()) {
            next = next.min(at);
        }
        if self.hub.terms.first_call_waits.is_zero() {
            // There may be ten thousand desks, and this is asked after every operation.
            return next;
        }
        let waiting = self.ledger.desks.iter().filter_map(Desk::calls_wait_until).min();
        waiting.map_or(next, |at| next.min(at))
    }
}

/// The waker of one circuit.
#[derive(Debug)]
struct Bell {
    desk: DeskId,
    /// Weak, as it hangs on the circuit: else store and circuits would keep each other alive.
    hub: Weak<Hub>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(hub) = self.hub.upgrade() {
            hub.ring(self.desk);
        }
    }
}

/// Waits for ever if nothing is watched.
async fn next_event(watch: &mut Option<Watch>) -> Option<WatchEvent> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// How long after a start old rows of the audit are deleted for the first time, about: many instances may start at once.
const FIRST_TRIM: Duration = Duration::from_secs(60);
/// How often counts are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after a watch has ended it is tried again, about.
const WATCH_AGAIN: Duration = Duration::from_secs(2);
