//! The operations of the task on the store, from their beginning to their end.
//!
//! An operation returns its result together with all data that the task needs in order to use the result. Therefore the
//! task keeps no table of the operations under way, and cannot confuse the results of two operations.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::members::Beaten;
use super::sweep::Swept;
use super::{Ledger, Task};
use crate::clock::{Clock, Tick};
use crate::coordinator::desk::{Now, Step, Ticket};
use crate::coordinator::desks::DeskId;
use crate::coordinator::outbox::{Batch, Sent};
use crate::event::guarded;
use crate::store::{Loaded, StoreError, Watch, Written, answer_within};
use crate::telemetry;

/// The start of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    /// The name of the operation in logs and metrics.
    pub(super) name: &'static str,
    pub(super) lane: Lane,
    pub(super) at: Tick,
    /// The number of wake-ups of the machine from a suspend, when the operation began.
    pub(super) wake_ups: u64,
}

/// A desk whose record a load requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requested {
    pub(super) at: DeskId,
    /// The turn of the desk (the number of its writes that began or ended) when the load began.
    pub(super) turn: u64,
    /// The era of the circuit when the load began. The era increases with each transition.
    pub(super) era: u64,
}

/// The end of an operation on the store, with its result.
#[derive(Debug)]
pub(super) enum Ended {
    /// The end of a load, with the requested desks in the order of the loaded records.
    Loaded { requested: Vec<Requested>, result: Result<Loaded, StoreError> },
    /// The end of a write of the desk `at`. `ticket` describes the content of the write.
    Written { at: DeskId, ticket: Box<Ticket>, result: Result<Written, StoreError> },
    /// The end of a deletion of the record of the desk `at`. The result is false if the store has another version of
    /// the record.
    Deleted { at: DeskId, result: Result<bool, StoreError> },
    /// The end of a write of audit rows.
    Audited { sent: Sent, result: Result<(), StoreError> },
    /// The end of a listing of all names in the store, for the survey (the search for keyed circuits).
    #[cfg(feature = "keyed")]
    Listed { result: Result<Vec<String>, StoreError> },
    /// The end of a load for the survey (the search for keyed circuits). `batch` has the requested names.
    #[cfg(feature = "keyed")]
    Surveyed { batch: Vec<(usize, String)>, result: Result<Loaded, StoreError> },
    /// The end of a deletion of old audit rows. The result is true if the store has more old rows.
    Trimmed { result: Result<bool, StoreError> },
    /// The end of an operation of the sweep, which deletes old records.
    Swept(Swept),
    /// The end of a heartbeat of this instance in its fleet.
    Beaten(Beaten),
    /// The end of a request for a watch. The result is `None` if the store has no watches.
    Watching { result: Result<Option<Watch>, StoreError> },
}

/// The two kinds of operations. Each kind has its own limit on concurrent operations, so that an order of an operator
/// need not wait for the timeout of other operations that hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Orders,
    Others,
}

impl Task {
    /// Begins the operations that are due, as many as the link allows. Orders of operators come first. Loads come
    /// before other writes, because a desk must load a record before it can write the record. Loads leave half of the
    /// allowed operations to writes. Deletions of old audit rows come after writes, because old rows can wait.
    pub(super) fn launch(&mut self, now: Tick) {
        self.launch_orders(now);
        let others = self.under_way().saturating_sub(self.orders_under_way);
        let mut room = self.ledger.link.room(now).saturating_sub(others);
        if !self.ledger.link.is_up() && self.orders_under_way > 0 {
            // While the store is down, only one operation at a time tries the store. An operation for an order is under
            // way, so no other operation begins.
            room = 0;
        }
        let for_writes = if self.to_write.has_others() { room / 2 } else { 0 };
        while room > for_writes && !self.to_load.is_empty() {
            let wanted = self.to_load.next();
            if self.load(wanted, Lane::Others, now) {
                room -= 1;
            }
        }
        #[cfg(feature = "keyed")]
        if room > 0 && self.survey(now) {
            room -= 1;
        }
        if room > 0 && self.append(Lane::Others, now) {
            room -= 1;
        }
        let ready: Vec<DeskId> = self.to_write.others().collect();
        for at in ready {
            if room == 0 {
                break;
            }
            if self.write(at, Lane::Others, now) {
                room -= 1;
            }
        }
        if room > 0 && self.next_trim <= now && self.ledger.link.is_up() {
            self.trim(now);
        }
        if room > 0 && self.ledger.link.is_up() {
            self.sweep(now);
        }
        if self.watch_at.is_some_and(|at| at <= now) && self.ledger.link.is_up() && !self.watch_under_way {
            self.watch_at = None;
            self.watch_under_way = true;
            let store = self.hub.store.clone();
            self.begin("watch", Lane::Others, now, async move { store.watch().await }, |result| Ended::Watching {
                result,
            });
        }
        self.beat(now);
    }

    /// Begins the operations for orders of operators, the oldest order first. Then begins the write of the operators'
    /// audit rows.
    fn launch_orders(&mut self, now: Tick) {
        let mut room = self.ledger.link.room(now).min(ORDERS).saturating_sub(self.orders_under_way);
        let orders: Vec<DeskId> = self.to_write.orders().collect();
        for at in &orders {
            if room == 0 {
                return;
            }
            if self.write(*at, Lane::Orders, now) {
                room -= 1;
            }
        }
        // This load has only desks with orders. In a load with other desks, a refused record of another circuit could
        // make the whole load fail.
        if room > 0 && !self.to_load.is_empty() {
            let wanted = self.to_load.next_of(&orders);
            room -= usize::from(self.load(wanted, Lane::Orders, now));
        }
        if room > 0 && self.ledger.outbox.people() > 0 {
            self.append(Lane::Orders, now);
        }
    }

    /// Begins a load of the records of these desks, at most [`BATCH`]. Returns false if none of the desks needs a load.
    fn load(&mut self, wanted: Vec<DeskId>, lane: Lane, now: Tick) -> bool {
        let desks = &mut self.ledger.desks;
        let mut requested = Vec::new();
        for at in wanted {
            let desk = &mut desks[at];
            // A desk with a write under way needs no load, because the answer to the write has the present record.
            if !desk.is_writing() {
                requested.push(Requested { at, turn: desk.turn(), era: desk.circuit_era() });
            }
        }
        if requested.is_empty() {
            return false;
        }
        self.begin_load(requested, lane, now);
        true
    }

    /// Begins a load of these records. An empty load queries only the time of the store.
    fn begin_load(&mut self, requested: Vec<Requested>, lane: Lane, now: Tick) {
        let names: Vec<String> =
            requested.iter().map(|wanted| self.ledger.desks[wanted.at].name().to_owned()).collect();
        self.to_load.begun(requested.iter().map(|wanted| wanted.at));
        let store = self.hub.store.clone();
        let load = async move { store.load_many(&names).await };
        self.begin("load", lane, now, load, |result| Ended::Loaded { requested, result });
    }

    /// Begins a write of audit rows, or an empty load if the time of the store is unknown. Returns false if no
    /// operation has begun.
    fn append(&mut self, lane: Lane, now: Tick) -> bool {
        if self.audit_under_way || self.audit_at > now || self.ledger.outbox.len() == 0 {
            return false;
        }
        // Rows are dated by the clock of the store, because the clocks of instances differ.
        let Some(time) = self.ledger.link.time(now) else {
            // The time of the store is unknown, and the answer to a load would have the time. A registry without
            // circuits plans no loads, so an empty load begins.
            let is_idle = self.to_load.is_empty() && self.under_way() == 0;
            if is_idle {
                self.begin_load(Vec::new(), lane, now);
            }
            return is_idle;
        };
        let Some(Batch { rows, sent }) = self.ledger.outbox.batch(now, time) else { return false };
        let store = self.hub.store.clone();
        self.audit_under_way = true;
        let append = async move { store.append_audit(&rows).await };
        self.begin("append_audit", lane, now, append, |result| Ended::Audited { sent, result });
        true
    }

    /// Begins a deletion of audit rows that are older than the retention. A deletion can be expensive for the store and
    /// is not urgent, so it runs only about once an hour. If more old rows are left, the next deletion follows sooner.
    fn trim(&mut self, now: Tick) {
        let (Some(kept), Some(time)) = (self.hub.terms.audit_kept, self.ledger.link.time(now)) else { return };
        self.next_trim = now.saturating_add(TRIM_EVERY.mul_f64(0.5 + self.ledger.dice.share()));
        let store = self.hub.store.clone();
        let before = time.saturating_sub(kept);
        let trim = async move { store.trim_audit(before).await };
        self.begin("trim_audit", Lane::Others, now, trim, |result| Ended::Trimmed { result });
    }

    /// Begins the next write or deletion of a desk's record. Returns false if no operation has begun, for example
    /// because the desk waits, has nothing to write, or needs a load first.
    fn write(&mut self, at: DeskId, lane: Lane, now: Tick) -> bool {
        let Ledger { desks, who, link, .. } = &mut self.ledger;
        let desk = &mut desks[at];
        if !desk.may_write(now) {
            return false;
        }
        let Some(time) = link.time(now) else {
            // The time of the store is unknown, and the answer to a load has the time. Therefore a load is planned. No
            // poll would load the record, because polls leave out a desk that is about to write.
            self.to_load.insert_unless_under_way(at);
            return false;
        };
        let ttl = self.hub.terms.ttl(desk.name());
        let store = self.hub.store.clone();
        match desk.begin(who, Now { here: now, store: time }, ttl) {
            Step::Nothing => {
                self.give_up_mark(at, now);
                return false;
            }
            Step::Load => {
                self.to_load.insert_unless_under_way(at);
                return false;
            }
            Step::Write(write, ticket) => {
                let write = async move { store.compare_and_set(&write).await };
                let ended = move |result| Ended::Written { at, ticket, result };
                self.begin("compare_and_set", lane, now, write, ended);
            }
            Step::Delete(etag) => {
                let name = desk.name().to_owned();
                let delete = async move { store.delete(&name, &etag).await };
                self.begin("delete", lane, now, delete, move |result| Ended::Deleted { at, result });
            }
            Step::Forgotten(report) => {
                self.note(at, report, now);
                return false;
            }
        }
        true
    }

    /// Spawns an operation with the deadline of the store and a metric of its duration. `ended` combines the result
    /// with the data that the task needs in order to use the result.
    pub(super) fn begin<T: Send + 'static>(
        &mut self,
        name: &'static str,
        lane: Lane,
        now: Tick,
        operation: impl Future<Output = Result<T, StoreError>> + Send + 'static,
        ended: impl FnOnce(Result<T, StoreError>) -> Ended + Send + 'static,
    ) {
        let deadline = self.hub.terms.timeout;
        let (kind, clock) = (self.hub.store.kind(), self.ledger.clock);
        let operation = async move {
            let result = answer_within(deadline, operation).await;
            let word = result.as_ref().err().map_or("ok", |error| error.kind().as_str());
            telemetry::store::operation(kind, name, word, clock.now().saturating_since(now));
            result
        };
        self.orders_under_way += usize::from(lane == Lane::Orders);
        // The drop of a `JoinSet` aborts its operations, so that no operation outlives the task.
        let begun = Begun { name, lane, at: now, wake_ups: self.slept.wake_ups };
        self.jobs.spawn(async move { (begun, ended(caught(operation).await)) });
    }

    /// Returns the number of operations under way that count towards the limit of the link. A request for a watch and a
    /// heartbeat do not count.
    pub(super) fn under_way(&self) -> usize {
        let others = usize::from(self.watch_under_way) + usize::from(self.ledger.membership.is_under_way());
        self.jobs.len().saturating_sub(others)
    }
}

/// Returns the result of the operation. A panic of the operation becomes an error, so that the task gets a result in
/// every case.
///
/// # Cancel safety
///
/// If the future is dropped, the operation is dropped as well.
async fn caught<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let mut operation = pin!(operation);
    // After a panic, the operation is not polled again, so no code sees its broken state. A store that panics has to
    // keep its shared data consistent.
    poll_fn(|context| {
        let polled = guarded(|| operation.as_mut().poll(context));
        polled.unwrap_or_else(|| Poll::Ready(Err(StoreError::timed_out("the store panicked"))))
    })
    .await
}

/// The largest number of operations for orders that run at the same time.
const ORDERS: usize = 4;
/// The largest number of records in one load.
pub(super) const BATCH: usize = 256;
/// The mean time between two deletions of old audit rows. The actual time is 50 % to 150 % of this time.
const TRIM_EVERY: Duration = Duration::from_secs(3600);
