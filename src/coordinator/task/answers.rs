//! The answers of the store. Each answer goes to the desk of its operation, and to the link (the state of the
//! connection to the store).
//!
//! The answer to a load, a write or a deletion marks the link as up or down. A failure that concerns one operation
//! only, such as a refused write or a failed write of the audit, does not mark the link as down. A failure of one part
//! of the store, such as one node of a cluster, does not mark the link as down while another part answers. Therefore
//! the other desks continue to write.

use std::time::Duration;

use super::jobs::{Begun, Ended, Lane, Requested};
use super::{Ledger, Task};
use crate::clock::{Clock, Tick};
use crate::coordinator::desk::{Now, Ticket};
use crate::coordinator::desks::DeskId;
use crate::coordinator::link::backoff;
use crate::coordinator::outbox::{Failed, Next, Sent};
use crate::record::Timestamp;
use crate::shown::quoted;
use crate::store::{AuditRow, Loaded, StoreError, Written};
use crate::telemetry;
use crate::telemetry::lines::Omitted;

impl Task {
    /// Handles the end of an operation.
    pub(super) fn ended(&mut self, (begun, ended): (Begun, Ended)) {
        let now = self.ledger.clock.now();
        let name = begun.name;
        self.orders_under_way -= usize::from(begun.lane == Lane::Orders);
        if let Ended::Loaded { requested, .. } = &ended {
            self.to_load.ended(requested);
        }
        match ended {
            Ended::Loaded { requested, result: Ok(loaded) } => self.loaded(begun, &requested, &loaded, now),
            Ended::Loaded { requested, result: Err(error) } => self.not_loaded(begun, &requested, &error, now),
            #[cfg(feature = "keyed")]
            Ended::Listed { result } => self.listed(result, now),
            #[cfg(feature = "keyed")]
            Ended::Surveyed { batch, result } => self.surveyed(begun, batch, result, now),
            Ended::Written { at, ticket, result: Ok(written) } => {
                self.wrote(begun, at, *ticket, written, now);
            }
            Ended::Deleted { at, result: Ok(deleted) } => {
                self.succeeded(now, name, None);
                let desk = &mut self.ledger.desks[at];
                if deleted {
                    let report = desk.deleted();
                    self.note(at, report, now);
                } else {
                    // Another instance has written a newer version since the last load. The next deletion must name the
                    // newer version, so the record is loaded again.
                    desk.delete_missed();
                    self.to_load.insert(at);
                }
            }
            Ended::Written { at, result: Err(error), .. } | Ended::Deleted { at, result: Err(error) } => {
                let Ledger { desks, dice, .. } = &mut self.ledger;
                desks[at].failed(error.kind(), now, dice);
                self.give_up_mark(at, now);
                self.to_load.insert(at);
                self.explain(at, &error);
                if error.kind().is_lasting() || error.is_of_one_part() {
                    // The failure concerns only this write or one part of the store. Therefore the failure does not
                    // mark the link as down, and the other desks continue to write.
                    self.ledger.link.note(now, name, &error);
                    self.close_for_next(at, now);
                } else {
                    self.failed(begun, &error, now);
                }
            }
            Ended::Audited { sent, result: Ok(()) } => {
                self.audit_under_way = false;
                self.ledger.audit_failures = 0;
                self.ledger.outbox.stored(&sent);
                self.succeeded(now, name, None);
            }
            Ended::Audited { sent, result: Err(error) } => {
                self.audit_under_way = false;
                self.not_audited(name, &sent, &error, now);
            }
            Ended::Trimmed { result: Ok(more) } => {
                if more {
                    self.next_trim = now.saturating_add(TRIM_ON.mul_f64(0.5 + self.ledger.dice.share()));
                }
            }
            Ended::Trimmed { result: Err(error) } => self.ledger.link.note(now, name, &error),
            Ended::Swept(swept) => self.swept(swept, now),
            Ended::Beaten(beaten) => self.beaten(begun, beaten, now),
            Ended::Watching { result: Ok(watch) } => {
                self.watch_under_way = false;
                // The new watch does not report changes that were made before the watch began. Therefore all records
                // are loaded.
                if watch.is_some() {
                    self.load_all(now);
                }
                self.watch = watch;
            }
            Ended::Watching { result: Err(error) } => {
                self.watch_under_way = false;
                self.ledger.link.note(now, name, &error);
                self.watch_at = Some(now.saturating_add(WATCH_FAILED.mul_f64(0.5 + self.ledger.dice.share())));
            }
        }
    }

    /// Marks the link as up. Also notes the time of the store from the answer, unless the machine was suspended since
    /// the operation began.
    pub(super) fn answered(&mut self, begun: Begun, store: Timestamp, now: Tick) {
        self.succeeded(now, begun.name, Some(store).filter(|_| begun.wake_ups == self.slept.wake_ups));
    }

    /// Marks the link as up. If the store was down, the backoff of orders and of audit rows ends. Therefore orders and
    /// audit rows are written before the records of circuits without an order.
    pub(super) fn succeeded(&mut self, now: Tick, operation: &'static str, store: Option<Timestamp>) {
        let was_down = !self.ledger.link.is_up();
        self.ledger.link.succeeded(now, operation, store);
        if was_down {
            self.audit_at = now;
            self.ledger.membership.answers_again(now);
            for at in self.to_write.orders() {
                self.ledger.desks[at].end_backoff(now);
            }
        }
    }

    /// Handles rows of the audit that the store has not taken.
    ///
    /// The link is not marked as down, because a store can take records while its audit fails. Only the audit waits.
    fn not_audited(&mut self, name: &'static str, sent: &Sent, error: &StoreError, now: Tick) {
        let Ledger { outbox, link, dice, audit_failures, refused_rows, .. } = &mut self.ledger;
        link.note(now, name, error);
        let failed = Failed { is_refused: error.kind().is_lasting(), is_up: link.is_up() };
        match outbox.failed(sent, failed, now) {
            Next::Now => self.audit_at = now,
            Next::Later => {
                *audit_failures = audit_failures.saturating_add(1);
                self.audit_at = now.saturating_add(backoff(*audit_failures, dice));
            }
            Next::SetAside(row) => {
                self.audit_at = now;
                self.hub.waiters.set_aside(&row.id);
                if let Some(more) = refused_rows.next(now) {
                    let AuditRow { id, service, action, user, .. } = *row;
                    let by = user.map_or_else(String::new, |user| format!(" by `{}`", quoted(&user)));
                    let (service, error) = (quoted(&service), error.chain());
                    telemetry::lines::warn(format_args!(
                        "the store refuses the row `{id}` of the audit for good, {action} of `{service}`{by}, so that the row is set aside: {error}{}",
                        Omitted(more)
                    ));
                }
            }
        }
    }

    /// Logs the number of rows that were lost because the outbox was full, at most once a minute.
    pub(super) fn log_lost_rows(&mut self, now: Tick) {
        let Ledger { outbox, lost_rows, logged_lost, .. } = &mut self.ledger;
        let lost = outbox.lost();
        if lost > *logged_lost && lost_rows.next(now).is_some() {
            telemetry::lines::warn(format_args!(
                "{} rows of the audit were lost, the oldest first, because too many rows wait for the store",
                lost - *logged_lost
            ));
            *logged_lost = lost;
        }
    }

    /// Notes the reason why the order of a desk is not stored yet, if the desk has an order.
    pub(super) fn explain(&mut self, at: DeskId, error: &StoreError) {
        let desk = &self.ledger.desks[at];
        if desk.has_order() {
            self.hub.findings.lock().held_up.insert(desk.name().to_owned(), error.chain());
        }
    }

    /// Marks the link as down, and wakes the callers that wait for a restore or a shutdown. A mark in an entry shows
    /// that this instance stops. During a shutdown, each desk whose only change is the mark drops the mark, because the
    /// shutdown must not wait for marks.
    pub(super) fn failed(&mut self, begun: Begun, error: &StoreError, now: Tick) {
        let Ledger { link, dice, .. } = &mut self.ledger;
        link.failed(begun.at, now, begun.name, error, dice);
        let stopping = self.closing.then(|| self.ledger.desks.places());
        for at in stopping.into_iter().flatten() {
            let Some(desk) = self.ledger.desks.get_mut(at) else { continue };
            desk.drop_mark();
            self.plan(at, now);
        }
        self.hub.notify_progress();
    }

    /// Passes each loaded record to its desk.
    fn loaded(&mut self, begun: Begun, requested: &[Requested], loaded: &Loaded, now: Tick) {
        self.answered(begun, loaded.now, now);
        self.to_load.loaded(requested);
        let now = Now { here: now, store: loaded.now };
        for (Requested { at, turn, era }, entry) in requested.iter().zip(&loaded.entries) {
            let Ledger { desks, who, link, .. } = &mut self.ledger;
            // The turn of a desk changes when a write begins or ends. If the turn has changed since the load began, the
            // loaded record is old. A place without a desk, or with the desk of another circuit, does not need the
            // record.
            let Some(desk) = desks.get_mut(*at).filter(|desk| desk.turn() == *turn) else { continue };
            let from = entry.as_ref().map_or(link.kind(), |entry| self.hub.store.origin(&entry.etag));
            let report = desk.found(entry.as_ref(), from, *era, who, now);
            self.settle(*at, report, now.here);
        }
    }

    /// Passes the answer to a write to its desk. After a conflict, the answer has the present record, and the desk
    /// takes over the record as after a load.
    fn wrote(&mut self, begun: Begun, at: DeskId, ticket: Ticket, written: Written, now: Tick) {
        let (Written::Applied { now: store, .. } | Written::Conflict { now: store, .. }) = &written;
        self.answered(begun, *store, now);
        let Ledger { desks, who, link, dice, .. } = &mut self.ledger;
        let desk = &mut desks[at];
        let report = match written {
            Written::Applied { etag, now: store } => {
                let lacking = self.hub.store.lacking(&etag);
                desk.written(ticket, etag, lacking, who, Now { here: now, store }, dice)
            }
            Written::Conflict { current, now: store } => {
                desk.conflicted();
                let from = current.as_ref().map_or(link.kind(), |current| self.hub.store.origin(&current.etag));
                let both = Now { here: now, store };
                let report = desk.found(current.as_ref(), from, ticket.era(), who, both);
                // The end of the process must not wait for other instances.
                if !self.closing {
                    desk.give_way(now.saturating_since(begun.at), who, both, dice);
                }
                report
            }
        };
        self.settle(at, report, now);
    }
}

/// The mean time from a failed request for a watch to the next request. The actual time is 50 % to 150 % of this time.
const WATCH_FAILED: Duration = Duration::from_secs(5);
/// The mean time to the next deletion if the store has more old audit rows. The actual time is 50 % to 150 % of this
/// time.
const TRIM_ON: Duration = Duration::from_secs(10);
