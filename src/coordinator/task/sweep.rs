//! The deletion of records that no instance has needed for long, in stores that do not expire records themselves.
//!
//! Keyed circuits come and go without end, and each key that has failed once leaves a record. About once an hour, the
//! task queries the store for the names of records that were not written for long, and decodes these records. The task
//! deletes each record whose time to live is over. A record that was written in the meantime stays, because a deletion
//! names the version that was decoded. The record of a circuit that exists in this process stays too. A deletion does
//! not close the circuit of another instance, because an instance keeps the state of a circuit whose record is absent.
//!
//! Each list, load and deletion is an operation of its own with the whole timeout of the store, so that even a slow
//! store completes a sweep. A record that the store refuses does not hold up the other records, and the next sweep
//! loads the record again.

use std::collections::VecDeque;
use std::time::Duration;

use super::Task;
use super::jobs::{Ended, Lane};
use crate::clock::Tick;
use crate::coordinator::hub::Hub;
use crate::coordinator::terms::Ttl;
use crate::random::Dice;
use crate::record::CircuitRecord;
use crate::store::health::doubled;
use crate::store::{Etag, Loaded, StoreError, Versioned};

/// The progress of the deletion of old records.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The time of the next operation.
    at: Tick,
    /// The last name that the store has listed. Empty at the start of a sweep.
    after: String,
    /// The listed names whose records are still to be loaded.
    names: VecDeque<String>,
    /// The records whose time to live is over, each with the version that was loaded.
    over: Vec<(String, Etag)>,
    /// The largest number of records in the next load. A failed load of several records halves the number, and a load
    /// that succeeds doubles the number, up to `STEP`.
    width: usize,
    /// The number of operations in a row that failed.
    failures: u32,
    under_way: bool,
}

/// The end of an operation of the sweep.
#[derive(Debug)]
pub(super) enum Swept {
    /// Some names of records that were not written for long, or an empty list if there are no more.
    Listed(Result<Vec<String>, StoreError>),
    /// The loaded records of these names.
    Loaded(Vec<String>, Result<Loaded, StoreError>),
    Deleted(Result<bool, StoreError>),
}

impl Sweep {
    /// Creates the progress of the first sweep, which begins after about an hour.
    pub(super) fn new(now: Tick, dice: &mut Dice) -> Self {
        let at = now.saturating_add(EVERY.mul_f64(0.5 + dice.share()));
        let (names, over) = (VecDeque::new(), Vec::new());
        Self { at, after: String::new(), names, over, width: STEP, failures: 0, under_way: false }
    }

    /// Handles the end of an operation. Returns the mean wait before the next operation. If the operation has failed,
    /// also returns the name of the operation and the error.
    fn ended(&mut self, hub: &Hub, swept: Swept) -> (Duration, Option<(&'static str, StoreError)>) {
        self.under_way = false;
        let (operation, error) = match swept {
            Swept::Listed(Ok(names)) => {
                self.failures = 0;
                self.after = names.last().cloned().unwrap_or_default();
                self.names = names.into();
                return (if self.names.is_empty() { EVERY } else { NEXT_STEP }, None);
            }
            Swept::Loaded(names, Ok(loaded)) => {
                (self.failures, self.width) = (0, (self.width * 2).min(STEP));
                self.over = over(hub, names, &loaded);
                return (Duration::ZERO, None);
            }
            Swept::Deleted(Ok(_)) => {
                self.failures = 0;
                return (Duration::ZERO, None);
            }
            Swept::Listed(Err(error)) => ("list", error),
            Swept::Loaded(names, Err(error)) => {
                // If the load of a single record fails, the next sweep loads the record again.
                if names.len() > 1 {
                    self.width = names.len() / 2;
                    names.into_iter().rev().for_each(|name| self.names.push_front(name));
                }
                ("load", error)
            }
            Swept::Deleted(Err(error)) => ("delete", error),
        };
        let wait = doubled(NEXT_STEP, self.failures, EVERY);
        self.failures = self.failures.saturating_add(1);
        (wait, Some((operation, error)))
    }
}

impl Task {
    /// Begins the next operation of the sweep. Returns false if no operation is due.
    pub(super) fn sweep(&mut self, now: Tick) -> bool {
        let (false, true) = (self.closing || self.sweep.under_way, self.sweep.at <= now) else { return false };
        let store = self.hub.store.clone();
        let index = &self.ledger.index;
        self.sweep.over.retain(|(name, _)| !index.contains_key(name));
        self.sweep.names.retain(|name| !index.contains_key(name));
        if let Some((name, etag)) = self.sweep.over.pop() {
            let delete = async move { store.delete(&name, &etag).await };
            self.begin("delete", Lane::Others, now, delete, |result| Ended::Swept(Swept::Deleted(result)));
        } else if !self.sweep.names.is_empty() {
            let count = self.sweep.names.len().min(self.sweep.width);
            let names: Vec<_> = self.sweep.names.drain(..count).collect();
            let requested = names.clone();
            let load = async move { store.load_unwritten(&requested).await };
            self.begin("load", Lane::Others, now, load, |result| Ended::Swept(Swept::Loaded(names, result)));
        } else {
            let Some(time) = self.ledger.link.time(now) else { return false };
            let (before, after) = (time.saturating_sub(shortest(&self.hub)), self.sweep.after.clone());
            let list = async move { store.unwritten_since(before, &after).await };
            self.begin("list", Lane::Others, now, list, |result| Ended::Swept(Swept::Listed(result)));
        }
        self.sweep.under_way = true;
        true
    }

    /// Plans the next operation of the sweep after the end of an operation.
    pub(super) fn swept(&mut self, swept: Swept, now: Tick) {
        let (wait, error) = self.sweep.ended(&self.hub, swept);
        if let Some((operation, error)) = error {
            self.ledger.link.note(now, operation, &error);
        }
        self.sweep.at = now.saturating_add(wait.mul_f64(0.5 + self.ledger.dice.share()));
    }
}

/// Returns the names of the loaded records whose time to live is over, each with the version of its record.
fn over(hub: &Hub, names: Vec<String>, loaded: &Loaded) -> Vec<(String, Etag)> {
    let judge = |(name, entry): (String, &Option<Versioned>)| {
        let entry = entry.as_ref()?;
        // A record that cannot be read may belong to a later version or to another program, so it is kept.
        let record = CircuitRecord::decode(&name, &entry.bytes, loaded.now).ok()?;
        let is_over = record.is_writable() && record.is_over(kept_for(hub, &name), loaded.now);
        is_over.then(|| (name, entry.etag.clone()))
    };
    names.into_iter().zip(&loaded.entries).filter_map(judge).collect()
}

/// Returns the times for which the record of a circuit is kept after its last write.
fn kept_for(hub: &Hub, name: &str) -> Ttl {
    #[cfg(feature = "keyed")]
    if hub.prefixes.cover(name) {
        return hub.terms.ttl(name);
    }
    let _any = (hub, name);
    Ttl { open: UNKEYED, other: UNKEYED }
}

/// Returns the shortest time for which any record is kept.
fn shortest(hub: &Hub) -> Duration {
    #[cfg(feature = "keyed")]
    if !hub.prefixes.all().is_empty() {
        let ttls = hub.terms.ttl_of.entries().map(|(_, ttl)| ttl).chain([&hub.terms.ttl]);
        return ttls.map(|ttl| ttl.open.min(ttl.other)).min().unwrap_or(UNKEYED);
    }
    let _any = hub;
    UNKEYED
}

/// The time for which the record of a circuit without a key is kept. Such names come from the application and not from
/// requests, so that their number does not grow without end.
const UNKEYED: Duration = Duration::from_secs(30 * 24 * 3600);
/// The mean time between two sweeps. The actual time is 50 % to 150 % of this time.
const EVERY: Duration = Duration::from_secs(3600);
/// The mean wait after a list of names, so that the store has room for other work. Also the mean wait after the first
/// failure in a row.
const NEXT_STEP: Duration = Duration::from_secs(1);
/// The largest number of records in one load.
const STEP: usize = 64;
