//! The task of a registry, which connects its circuits with the store.
//!
//! Each circuit has a desk, which is the data of the task about the circuit. The task waits for the next event. A
//! circuit wakes the task after a transition, and the registry wakes the task with a message. An answer or a hint of
//! the store, the end of a health probe's runner, and the time of planned work are events too. After each event, the
//! desks observe the changed circuits, and the task begins the operations that can begin now. One task serves all
//! circuits of a registry, so the desks need no lock.
//!
//! The task keeps its data in the [`Ledger`]. After a panic, the next task continues with the ledger. The desks compute
//! each record just before its write.
//!
//! | file | content |
//! |---|---|
//! | `jobs.rs`, `answers.rs` | the operations on the store, and their answers |
//! | `loads.rs` | the batches of loads |
//! | `polls.rs`, `hints.rs` | the reasons for loads, which are polls and the hints of the store |
//! | `leave.rs` | new and evicted circuits |
//! | `survey.rs` | the search for keyed circuits after a start |
//! | `sweep.rs` | the deletion of old records |
//! | `members.rs` | the heartbeats for the fleet |
//! | `health.rs` | the runners of health probes |
//! | `slept.rs` | the wake-up of a suspended machine |
//! | `end.rs` | the reports, and the end of the task |
//!
//! The file is longer than others, so that the loop and all events that wake the loop are in one place.

mod answers;
mod end;
mod health;
mod hints;
mod jobs;
mod leave;
mod loads;
mod members;
mod polls;
mod slept;
#[cfg(feature = "keyed")]
mod survey;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::desk::{Desk, Now, Report};
use super::desks::DeskId;
use super::hub::Hub;
use super::ledger::Ledger;
use super::to_write::ToWrite;
use crate::clock::{Clock, Tick};
use crate::store::{Watch, WatchEvent};
use crate::telemetry;
use crate::telemetry::lines::Omitted;
use hints::Hints;
use jobs::{Begun, Ended};
use loads::Loads;
use polls::Polls;
use slept::Slept;
use sweep::Sweep;

/// The task of one registry.
#[derive(Debug)]
pub(super) struct Task {
    hub: Arc<Hub>,
    /// The data that the next task continues with. When the task is dropped, the ledger goes back to the hub.
    ledger: Ledger,
    /// The operations on the store that are under way.
    jobs: JoinSet<(Begun, Ended)>,
    /// The runners of the health probes.
    runners: JoinSet<()>,
    /// True while the health probes run.
    runs_health: bool,
    /// The number of runners that have ended since the last search for health probes whose circuits are gone.
    ended_runners: usize,
    /// The desks whose records must be loaded.
    to_load: Loads,
    /// The desks that have something to write.
    to_write: ToWrite,
    /// The number of store operations under way in the lane of orders, which serve the orders of operators.
    orders_under_way: usize,
    /// The search of the store for keyed circuits that are not closed.
    #[cfg(feature = "keyed")]
    survey: survey::Survey,
    /// True while audit rows are being written. Only one such write runs, because a second write would get the same
    /// rows.
    audit_under_way: bool,
    /// True while a request for a watch is under way.
    watch_under_way: bool,
    /// The earliest time of the next write of audit rows.
    audit_at: Tick,
    /// The watch of the store, while one is open.
    watch: Option<Watch>,
    /// The hints of the watch that have not caused a load yet.
    hints: Hints,
    /// The time of the next attempt to get a watch. `None` while a watch exists or is requested, and if the store has
    /// no watches.
    watch_at: Option<Tick>,
    /// The next time at which the desks observe all circuits.
    next_look: Tick,
    /// The polls, which load records at regular times.
    polls: Polls,
    /// The time of the next deletion of old audit rows.
    next_trim: Tick,
    /// The deletion of records that no instance has needed for long.
    sweep: Sweep,
    /// The detection of a suspend of the machine.
    slept: Slept,
    /// True after a request for a shutdown. The task ends once every change is written.
    closing: bool,
    /// True if the task ends now, even with unwritten changes.
    finished: bool,
}

impl Task {
    /// Continues with the ledger of the last task, or begins with a new ledger if there was no task before.
    ///
    /// All records are loaded again, because the answers to the operations of the last task are lost.
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        let mut ledger = hub.ledger.lock().take().unwrap_or_else(|| Ledger::new(&hub.terms, &*hub.store));
        for desk in ledger.desks.iter_mut() {
            desk.restart();
        }
        let now = ledger.clock.now();
        ledger.membership.restart(now);
        let next_trim = now.saturating_add(FIRST_TRIM.mul_f64(0.5 + ledger.dice.share()));
        let sweep = Sweep::new(now, &mut ledger.dice);
        Self {
            next_trim,
            sweep,
            hub: Arc::clone(hub),
            to_load: Loads::new(ledger.desks.ids().collect()),
            ledger,
            jobs: JoinSet::new(),
            runners: JoinSet::new(),
            runs_health: false,
            ended_runners: 0,
            to_write: ToWrite::default(),
            orders_under_way: 0,
            #[cfg(feature = "keyed")]
            survey: survey::Survey::default(),
            audit_under_way: false,
            watch_under_way: false,
            audit_at: now,
            watch: None,
            hints: Hints::new(now),
            watch_at: Some(now),
            next_look: now,
            polls: Polls::new(hub.terms.poll),
            slept: Slept::default(),
            closing: false,
            finished: false,
        }
    }

    /// Spawns the task of a hub. The caller has already set `running` in the inbox of the hub. Returns false if the
    /// runtime has ended, and true otherwise.
    ///
    /// The caller must not hold the lock of the inbox. A runtime that is shutting down drops the task within `spawn`,
    /// and the drop locks the inbox.
    pub(super) fn spawn(hub: &Arc<Hub>, runtime: &Handle) -> bool {
        let task = runtime.spawn(Self::new(hub).run());
        let mut inbox = hub.inbox.lock();
        // `running` can be false for two reasons. If the runtime has ended, the task was dropped and is finished.
        // Otherwise the task runs and is about to end, for example because another thread has requested a shutdown.
        if !inbox.running {
            return !task.is_finished();
        }
        inbox.task = Some(task.abort_handle());
        true
    }

    /// Runs until a shutdown is complete, or until the last handle to the registry is dropped.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, its operations are dropped as well, and the ledger goes back to the hub. A dropped
    /// operation may have reached the store, so the next task loads all records before it writes.
    pub(super) async fn run(mut self) {
        self.hub.inbox.lock().started = true;
        while self.step().await {}
    }

    /// Does the work that is due, and then waits for the next event. Returns true if the task continues, and false if
    /// the task is done.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no event is lost, because the next step handles the event.
    async fn step(&mut self) -> bool {
        self.read_inbox();
        let now = self.ledger.clock.now();
        if self.slept.since_last_time(now, self.ledger.clock.wall()) {
            self.wake_up(now);
        }
        if self.next_look <= now {
            self.look_at_all(now);
        }
        self.poll(now);
        self.follow_hints(now);
        self.launch(now);
        self.report();
        if self.is_done() && self.hub.inbox.lock().end() {
            self.finished = true;
            return false;
        }
        // The wait is at least one millisecond. Without a wait, the loop would use a whole core while an operation is
        // due but cannot begin.
        let wait = self.next_wake(now).saturating_since(now).max(Duration::from_millis(1));
        tokio::select! {
            biased;
            () = self.hub.called.notified() => {}
            // The join never fails, because an operation catches its panics, and is aborted only by the drop of
            // `jobs`.
            Some(Ok(ended)) = self.jobs.join_next(), if !self.jobs.is_empty() => self.ended(ended),
            event = next_event(&mut self.watch) => self.hinted(event),
            // A runner ends when its circuit ends, when another runner of the circuit begins, or when the registry
            // shuts down.
            Some(_) = self.runners.join_next(), if !self.runners.is_empty() => self.health_ended(),
            () = tokio::time::sleep(wait) => {}
        }
        true
    }

    fn read_inbox(&mut self) {
        let mut inbox = self.hub.inbox.lock();
        let introduced = std::mem::take(&mut inbox.introduced);
        let forgotten = std::mem::take(&mut inbox.forgotten);
        let rung = std::mem::take(&mut inbox.rung);
        // An unwritten change must be visible to other threads at every moment, either in the inbox or in the findings.
        // Therefore the changes enter the findings while the inbox is still locked.
        {
            let mut findings = self.hub.findings.lock();
            let known = rung.iter().filter(|(at, _)| self.ledger.desks.get(**at).is_some());
            findings.unwritten.extend(known.map(|(at, name)| (*at, name.clone())));
            findings.introduced.extend(introduced.values().cloned());
        }
        let hurry = std::mem::take(&mut inbox.hurry);
        let repeated = std::mem::take(&mut inbox.repeated);
        let health = std::mem::take(&mut inbox.health);
        inbox.orders = 0;
        let (shutdown, ended) = (inbox.shutdown, inbox.ended);
        drop(inbox);
        let now = self.ledger.clock.now();
        if self.closing && !shutdown {
            // A caller has started the task again since the request for a shutdown, so the task does not end.
            self.closing = false;
            self.ledger.membership.go_on(now);
            for at in self.ledger.desks.places() {
                let Some(desk) = self.ledger.desks.get_mut(at) else { continue };
                desk.go_on();
                self.plan(at, now);
            }
        }
        // The evicted circuits come first, because a new circuit may have the name of an evicted circuit.
        for circuit in forgotten {
            self.evict(&circuit, now);
        }
        for circuit in introduced.into_values() {
            let waits = self.hub.terms.first_call_waits;
            self.introduce(circuit, (!waits.is_zero()).then(|| now.saturating_add(waits)));
        }
        self.hub.findings.lock().introduced.clear();
        for desk in rung.into_keys() {
            self.look(desk, now);
        }
        for (circuit, order) in repeated {
            let Some(at) = self.ledger.index.get(&circuit).copied() else { continue };
            self.look(at, now);
            let report = self.ledger.desks[at].ordered_again(&order, &self.ledger.who);
            self.note(at, report, now);
        }
        if hurry {
            self.ledger.link.hurry(now);
            let desks = &self.ledger.desks;
            self.to_load.extend(desks.ids().filter(|at| desks[*at].is_waiting_for_restore()));
            #[cfg(feature = "keyed")]
            self.hurry_survey(now);
        }
        if shutdown && !self.closing {
            self.closing = true;
            self.look_at_all(now);
            self.ledger.membership.stop(now);
            let mut marks = 0;
            for at in self.ledger.desks.places() {
                let Some(desk) = self.ledger.desks.get_mut(at) else { continue };
                desk.hurry(now);
                // The mark in an entry shows that this instance stops. While the store is down, no marks are written,
                // because the writes would delay the end of the process. Nothing is lost without the marks.
                if self.ledger.link.is_up() && desk.stop(marks < CLOSED_MARKS, now) {
                    marks += usize::from(desk.is_closed());
                }
                self.plan(at, now);
            }
            self.ledger.link.hurry(now);
            self.audit_at = now;
        }
        self.run_health(health);
        self.finished |= ended;
    }

    /// Lets a desk observe its circuit. This function is called when the circuit has put the desk into the inbox, and
    /// once a second.
    fn look(&mut self, at: DeskId, now: Tick) {
        let Ledger { desks, who, .. } = &mut self.ledger;
        let Some(desk) = desks.get_mut(at) else { return };
        let report = desk.look(who, now);
        self.note(at, report, now);
    }

    /// Lets every desk observe its circuit, because no circuit notifies the task of a change that is only in its
    /// counters.
    ///
    /// The function also reports the sums of the calls of each circuit to the observers of the circuit. Each thread
    /// reports its own sums only while it makes calls, so the last sums of an idle thread would be missing otherwise.
    fn look_at_all(&mut self, now: Tick) {
        self.count_members(now);
        for at in self.ledger.desks.places() {
            if let Some(desk) = self.ledger.desks.get(at) {
                desk.report_sums();
            }
            self.look(at, now);
        }
        self.next_look = now.saturating_add(LOOK_EVERY);
    }

    /// Plans the next write of a desk and the pace of its polls. Afterwards the desk is in `to_write` if it has
    /// something to write now, and otherwise not. The desk is in `findings.unwritten` as long as the store lacks a
    /// change of the circuit, even if the write must wait. A command to the fleet does not count as a change here.
    /// Neither does the mark `stopped` in the entry of this instance.
    fn plan(&mut self, at: DeskId, now: Tick) {
        self.check(at, now);
        self.set_pace(at, now);
        let desk = &mut self.ledger.desks[at];
        if self.closing {
            desk.hurry_counts(now);
        }
        let (has_order, has_unwritten) = (desk.has_order(), desk.has_unwritten());
        if desk.wants_write(now) {
            self.to_write.insert(at, has_order);
        } else {
            self.to_write.remove(at);
        }
        let mut findings = self.hub.findings.lock();
        if !has_order {
            findings.held_up.remove(desk.name());
        }
        if has_unwritten {
            findings.unwritten.entry(at).or_insert_with(|| desk.name().to_owned());
        } else {
            findings.unwritten.remove(&at);
        }
    }

    /// Lets a desk compare its circuit with the decision of the fleet. Does nothing while the time of the store is
    /// unknown.
    fn check(&mut self, at: DeskId, now: Tick) {
        let Ledger { desks, who, link, dice, .. } = &mut self.ledger;
        if let Some(store) = link.time(now) {
            desks[at].check(who, link.is_up(), self.closing, Now { here: now, store }, dice);
        }
    }

    /// Plans the next write of a desk after an operation that has failed or could not begin. A shutdown must not wait
    /// for the mark `stopped` in the entry of this instance. Therefore the desk drops the mark if the mark is the only
    /// change.
    fn give_up_mark(&mut self, at: DeskId, now: Tick) {
        self.ledger.desks[at].drop_mark();
        self.plan(at, now);
    }

    /// Handles the report of a desk. The rows of the report go to the log and the audit, and the results of orders go
    /// to the waiting callers. Then the next write of the desk is planned. A desk that is finished is closed.
    fn note(&mut self, at: DeskId, report: Report, now: Tick) {
        if let Some((missed, row)) = report.missed {
            self.ledger.outbox.push_for(missed, now, row);
        }
        // A caller waits first for the result of its order, and then for the audit row. Therefore the row is in the
        // outbox before the result is sent.
        for (age, row) in report.rows {
            row.log();
            self.hub.waiters.sent(&row.id);
            self.ledger.outbox.push(Tick::from_nanos(now.as_nanos().saturating_sub(crate::clock::nanos(age))), row);
        }
        for (age, row) in report.repeated {
            self.hub.waiters.sent(&row.id);
            self.ledger
                .outbox
                .push_repeated(Tick::from_nanos(now.as_nanos().saturating_sub(crate::clock::nanos(age))), row);
        }
        self.hub.waiters.send(self.ledger.desks[at].name(), report.fates);
        self.plan(at, now);
        if report.clash {
            self.rename(now);
        }
        self.close_if_finished(at, now);
    }

    /// Changes the id of this instance to the next number, because another running instance has the present id. Two
    /// instances with the same id would overwrite each other's entries.
    fn rename(&mut self, now: Tick) {
        let ledger = &mut self.ledger;
        ledger.names += 1;
        let (named, before) = (&ledger.named, std::mem::take(&mut ledger.who.id));
        ledger.who.id = format!("{named}#{}", ledger.names);
        if let Some(more) = ledger.clashes.next(now) {
            telemetry::lines::warn(format_args!(
                "another instance of this service has the id `{before}` too, so that this instance is `{}` from now on; give each a name of its own{}",
                ledger.who.id,
                Omitted(more)
            ));
        }
        for at in self.ledger.desks.places() {
            let Some(desk) = self.ledger.desks.get_mut(at) else { continue };
            desk.renamed(now);
            self.plan(at, now);
        }
    }

    /// Returns the time at which the task must act even if no event comes.
    fn next_wake(&self, now: Tick) -> Tick {
        let mut next = self.next_poll().map_or(self.next_look, |poll| poll.min(self.next_look));
        // The end of an operation under way wakes the task. If the store is down, no second operation may begin before
        // that end, so the end of the backoff does not matter.
        let busy = self.under_way() > 0;
        let waits = !self.to_load.is_empty() || !self.to_write.is_empty() || self.ledger.outbox.len() > 0;
        if let Some(at) = self.ledger.link.next().filter(|_| waits && !busy) {
            next = next.min(at);
        }
        if self.ledger.link.is_up() && !busy && !self.to_load.is_empty() {
            // A write of this step has found that its desk needs a load, but the loads of this step have already begun.
            // Therefore the next step comes immediately and begins the load.
            return Tick::ZERO;
        }
        if let Some(at) = self.next_hint().into_iter().chain(self.next_beat()).min() {
            next = next.min(at);
        }
        if self.ledger.link.is_up() {
            let desks = &self.ledger.desks;
            let waiting = self.to_write.orders().chain(self.to_write.others());
            next = waiting.filter_map(|at| desks[at].waits_until(now)).fold(next, Tick::min);
        }
        if let Some(at) = self.watch_at.filter(|_| self.ledger.link.is_up()) {
            next = next.min(at);
        }
        #[cfg(feature = "keyed")]
        if let Some(at) = self.next_survey().into_iter().chain(self.hub.prefixes.next_end()).min() {
            next = next.min(at);
        }
        if self.hub.terms.first_call_waits.is_zero() {
            // In this configuration, no call waits for a restore. Therefore the search below is skipped. The search
            // would visit up to ten thousand desks after every event.
            return next;
        }
        let waiting = self.ledger.desks.iter().filter_map(Desk::calls_wait_until).min();
        waiting.map_or(next, |at| next.min(at))
    }
}

/// Returns the next event of the watch, or waits for ever if there is no watch.
///
/// # Cancel safety
///
/// If the future is dropped, no event is lost, because the watch keeps each event until it is taken.
async fn next_event(watch: &mut Option<Watch>) -> Option<WatchEvent> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// The mean time from the start to the first deletion of old audit rows. The actual time is 50 % to 150 % of this time,
/// because many instances may start at the same time.
const FIRST_TRIM: Duration = Duration::from_secs(60);
/// The largest number of closed circuits for which a shutdown writes the mark `stopped` into the entry of this
/// instance. The limit saves a slow store from thousands of writes. A circuit that is not closed always gets a mark,
/// because its entry would otherwise look like the entry of a live instance for some minutes.
const CLOSED_MARKS: usize = 64;
/// The time between two observations of all circuits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
