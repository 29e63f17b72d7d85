//! The deletion of records that no instance has needed for long, in stores that do not expire records themselves.
//!
//! Keyed circuits come and go without end, and each key that has failed once leaves a record. About once an hour, the
//! task asks the store for names that were not written for long, decodes their records, and deletes those whose time is
//! over. A record that was written in the meantime stays, because a deletion names the version. The record of a circuit
//! that this instance has stays too. No circuit closes because of a deletion, because an absent record says nothing.

use std::sync::Arc;
use std::time::Duration;

use super::Task;
use super::jobs::{Ended, Lane};
use crate::clock::Tick;
use crate::coordinator::hub::Hub;
use crate::coordinator::terms::Ttl;
use crate::random::Dice;
use crate::record::{CircuitRecord, Timestamp};
use crate::store::StoreError;

/// The progress of the deletions.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The time of the next step.
    at: Tick,
    /// The last name that was judged. Empty at the begin of a sweep.
    after: String,
    under_way: bool,
}

impl Sweep {
    /// Returns the progress before the first sweep, which comes after about an hour.
    pub(super) fn new(now: Tick, dice: &mut Dice) -> Self {
        let at = now.saturating_add(EVERY.mul_f64(0.5 + dice.share()));
        Self { at, after: String::new(), under_way: false }
    }
}

impl Task {
    /// Begins the next step of the sweep. Returns false if no step is due.
    pub(super) fn sweep(&mut self, now: Tick) -> bool {
        let (false, true) = (self.closing || self.sweep.under_way, self.sweep.at <= now) else { return false };
        let Some(time) = self.ledger.link.time(now) else { return false };
        let (hub, after) = (Arc::clone(&self.hub), self.sweep.after.clone());
        let here = self.ledger.index.keys().cloned().collect();
        self.sweep.under_way = true;
        let step = async move { step(&hub, &here, time, after).await };
        self.begin("delete", Lane::Others, now, step, |result| Ended::Swept { result });
        true
    }

    /// Plans the next step after the end of a step.
    pub(super) fn swept(&mut self, result: Result<Option<String>, StoreError>, now: Tick) {
        self.sweep.under_way = false;
        let wait = match result {
            Ok(Some(last)) => {
                self.sweep.after = last;
                NEXT_STEP
            }
            Ok(None) => {
                self.sweep.after.clear();
                EVERY
            }
            Err(error) => {
                self.ledger.link.note(now, "delete", &error);
                EVERY
            }
        };
        self.sweep.at = now.saturating_add(wait.mul_f64(0.5 + self.ledger.dice.share()));
    }
}

/// Judges some names after `after`, and deletes the records whose time is over. Returns the last name, or `None` if
/// there are no more names.
///
/// # Cancel safety
///
/// If the future is dropped, some records are deleted. The next sweep judges the others again.
async fn step(
    hub: &Hub,
    here: &std::collections::HashSet<String>,
    now: Timestamp,
    after: String,
) -> Result<Option<String>, StoreError> {
    let mut names = hub.store.unwritten_since(now.saturating_sub(shortest(hub)), &after).await?;
    names.truncate(STEP);
    let Some(last) = names.last().cloned() else { return Ok(None) };
    names.retain(|name| !here.contains(name));
    let loaded = hub.store.load_many(&names).await?;
    for (name, entry) in names.iter().zip(&loaded.entries) {
        let Some(entry) = entry else { continue };
        // A record that cannot be read may belong to a later version or to another program.
        let Ok(record) = CircuitRecord::decode(name, &entry.bytes, loaded.now) else { continue };
        if record.is_writable() && record.is_over(kept_for(hub, name), loaded.now) {
            hub.store.delete(name, &entry.etag).await?;
        }
    }
    Ok(Some(last))
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
        return hub.terms.ttl.open.min(hub.terms.ttl.other);
    }
    let _any = hub;
    UNKEYED
}

/// The time for which the record of a circuit without a key is kept, because its name does not come from a stranger.
const UNKEYED: Duration = Duration::from_secs(30 * 24 * 3600);
/// The mean time between two sweeps. The actual time is 50 % to 150 % of this time.
const EVERY: Duration = Duration::from_secs(3600);
/// The mean time between two steps of a sweep.
const NEXT_STEP: Duration = Duration::from_secs(1);
/// The names in one step, so that the store has room for other work and each step ends in time.
const STEP: usize = 64;
