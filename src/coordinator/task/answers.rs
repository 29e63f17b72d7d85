//! The answers of the store, each passed to the desk of its operation and to the link.
//!
//! Each answer marks the link as up or down. A failure that concerns one operation only, such as a refused write or a
//! failed write of the audit, does not mark the link as down, so that the other desks go on writing.

use std::time::Duration;

use super::jobs::Ended;
use super::{Ledger, Task};
use crate::clock::{Clock, Tick};
use crate::coordinator::desk::{Desk, Now, Ticket, Via};
use crate::coordinator::desks::DeskId;
use crate::coordinator::link::backoff;
use crate::store::{Loaded, StoreError, StoreErrorKind, Written};

impl Task {
    /// Handles the end of an operation. `name` is the name of the operation in the log.
    pub(super) fn ended(&mut self, (name, ended): (&'static str, Ended)) {
        let now = self.ledger.clock.now();
        match ended {
            Ended::Loaded { requested, result: Ok(loaded) } => self.loaded(&requested, &loaded, now),
            Ended::Loaded { requested, result: Err(error) } => {
                let desks = &self.ledger.desks;
                // The desks are loaded again, except those that were closed during the load.
                self.to_load.extend(requested.iter().map(|(at, _)| *at).filter(|at| desks.get(*at).is_some()));
                self.failed(name, &error, now);
            }
            #[cfg(feature = "keyed")]
            Ended::Listed { result } => self.listed(result, now),
            #[cfg(feature = "keyed")]
            Ended::Surveyed { batch, result } => self.surveyed(batch, result, now),
            Ended::Written { at, ticket, began, result: Ok(written) } => {
                self.wrote(at, *ticket, written, began, now);
            }
            Ended::Deleted { at, result: Ok(deleted) } => {
                self.ledger.link.succeeded(now, None);
                let desk = &mut self.ledger.desks[at];
                if deleted {
                    let report = desk.deleted();
                    self.note(at, report, now);
                } else {
                    // Another instance has written a version since the last load, and the new version is to be deleted.
                    desk.delete_missed();
                    self.to_load.insert(at);
                }
            }
            Ended::Written { at, result: Err(error), .. } | Ended::Deleted { at, result: Err(error) } => {
                let Ledger { desks, dice, .. } = &mut self.ledger;
                desks[at].failed(error.kind(), now, dice);
                desks[at].drop_mark();
                if !desks[at].wants_write(now) {
                    self.to_write.remove(&at);
                }
                self.to_load.insert(at);
                if error.kind() == StoreErrorKind::Refused {
                    // The failure does not mark the link as down, so that the other desks do not wait because of one
                    // refused write.
                    self.ledger.link.note(now, name, &error);
                    self.close_for_next(at, now);
                } else {
                    self.failed(name, &error, now);
                }
            }
            Ended::Audited { last, result: Ok(()) } => {
                self.audit_under_way = false;
                self.ledger.audit_failures = 0;
                self.ledger.outbox.taken(&last);
                self.ledger.link.succeeded(now, None);
            }
            Ended::Audited { result: Err(error), .. } => {
                self.audit_under_way = false;
                // `link.failed` is not called, because a store of two tiers can take records while its audit fails.
                // Only the audit waits.
                let Ledger { link, dice, audit_failures, .. } = &mut self.ledger;
                *audit_failures = audit_failures.saturating_add(1);
                self.audit_at = now.saturating_add(backoff(*audit_failures, dice));
                link.note(now, name, &error);
            }
            Ended::Trimmed { result: Ok(more) } => {
                if more {
                    self.next_trim = now.saturating_add(TRIM_ON.mul_f64(0.5 + self.ledger.dice.share()));
                }
            }
            Ended::Trimmed { result: Err(error) } => self.ledger.link.note(now, name, &error),
            Ended::Swept { result } => self.swept(result, now),
            Ended::Watching { result: Ok(watch) } => {
                self.watch_under_way = false;
                // The new watch does not report changes that were made before the watch began.
                if watch.is_some() {
                    self.to_load.extend(self.ledger.desks.ids());
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

    /// Marks the link as down, and wakes the callers that wait for a restore or a shutdown.
    pub(super) fn failed(&mut self, operation: &'static str, error: &StoreError, now: Tick) {
        let Ledger { link, dice, desks, .. } = &mut self.ledger;
        link.failed(now, operation, error, dice);
        if self.closing {
            desks.iter_mut().for_each(Desk::drop_mark);
            self.to_write.retain(|at| desks.get(*at).is_some_and(|desk| desk.wants_write(now)));
        }
        self.hub.notify_progress();
    }

    /// Passes each loaded record to its desk. `requested` has the turn of each desk at the beginning of the load.
    fn loaded(&mut self, requested: &[(DeskId, u64)], loaded: &Loaded, now: Tick) {
        self.ledger.link.succeeded(now, Some(loaded.now));
        let now = Now { here: now, store: loaded.now };
        for ((at, turn), entry) in requested.iter().zip(&loaded.entries) {
            let Ledger { desks, who, link, .. } = &mut self.ledger;
            // A desk with another turn has begun or ended a write since the load began, so the loaded record is old. A
            // place without a desk, or with the desk of another circuit, has no use for the record either.
            let Some(desk) = desks.get_mut(*at).filter(|desk| desk.turn() == *turn) else { continue };
            let from = entry.as_ref().map_or(link.kind(), |entry| self.hub.store.origin(&entry.etag));
            let report = desk.found(entry.as_ref(), Via::Answer, from, who, now);
            self.settle(*at, report, now.here);
        }
    }

    /// Passes the answer to a write to its desk. After a conflict the answer has the present record, which the desk
    /// takes over as after a load.
    fn wrote(&mut self, at: DeskId, ticket: Ticket, written: Written, began: Tick, now: Tick) {
        let Ledger { desks, who, link, dice, .. } = &mut self.ledger;
        let desk = &mut desks[at];
        let report = match written {
            Written::Applied { etag, now: store } => {
                link.succeeded(now, Some(store));
                desk.written(ticket, etag, who, Now { here: now, store })
            }
            Written::Conflict { current, now: store } => {
                link.succeeded(now, Some(store));
                desk.conflicted(now.saturating_since(began), now, dice);
                let from = current.as_ref().map_or(link.kind(), |current| self.hub.store.origin(&current.etag));
                desk.found(current.as_ref(), Via::Answer, from, who, Now { here: now, store })
            }
        };
        self.settle(at, report, now);
    }
}

/// The mean time from a failed request for a watch to the next request. The actual time is 50 % to 150 % of this time.
const WATCH_FAILED: Duration = Duration::from_secs(5);
/// The mean time to the next deletion if the store has more old rows of the audit. The actual time is 50 % to 150 % of
/// this time.
const TRIM_ON: Duration = Duration::from_secs(10);
