//! The members of a fleet, which are the instances in the record `@fleet:NAME`, and the heartbeats that show which
//! members are live.
//!
//! The record `@fleet:orders` lists the instances of the fleet `orders`. This record has the form of the record of a
//! circuit, with the state closed and an entry for each instance. An instance writes its entry again every ten seconds,
//! so that the age of the entry shows if the instance lives. The entries in the record of a circuit have no heartbeat,
//! so other rules decide there which instances are present (`presence.rs`).
//!
//! All times come from the clock of the store. If this clock is set back, the entries that were written earlier are
//! dated in the future. An instance that writes the record (the writer) removes each entry dated more than 30 s in the
//! future. The writer keeps such an entry if the writer has found a new heartbeat in the entry less than 30 s ago by
//! the writer's own clock.

use std::time::Duration;

use super::{CircuitRecord, InstanceEntry, Timestamp};
use crate::pattern::RESERVED;

/// One instance of a fleet, as the record of the fleet's members shows it. All times come from the clock of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The id of the instance.
    pub id: String,
    /// The time when the instance started. `None` if the entry of the instance does not contain the time.
    pub since: Option<Timestamp>,
    /// The time of the last heartbeat of the instance.
    pub last_seen: Timestamp,
    /// The version of this crate that the instance uses. `None` if the entry of the instance does not contain the
    /// version.
    pub version: Option<String>,
    /// True if the instance is live. A live instance has not stopped, and its last heartbeat is less than 30 s old.
    pub live: bool,
    /// True if the instance was shut down.
    pub stopped: bool,
}

impl InstanceEntry {
    /// Returns the time for which a member stays live without a further heartbeat. Zero if the member has stopped or is
    /// no longer live.
    pub(crate) fn lives_for(&self, now: Timestamp) -> Duration {
        if self.is_stopped() { Duration::ZERO } else { LIVE_FOR.saturating_sub(now.since(self.updated_at)) }
    }

    /// Returns true if the entry of a member shows that its instance is live at the time `now`.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        !self.lives_for(now).is_zero() && !self.is_ahead(now)
    }

    /// Returns true if the entry of a member is dated more than 30 s in the future. Such a date means that the clock of
    /// the store was set back after the heartbeat.
    fn is_ahead(&self, now: Timestamp) -> bool {
        self.updated_at > now.saturating_add(LIVE_FOR)
    }
}

impl CircuitRecord {
    /// Returns the members in the record of a fleet, sorted by id. `is_live` decides which members are live.
    pub(crate) fn members(&self, is_live: impl Fn(&str, &InstanceEntry) -> bool) -> Vec<Member> {
        let member = |(id, entry): (&String, &InstanceEntry)| Member {
            id: id.clone(),
            since: entry.since,
            last_seen: entry.updated_at,
            version: entry.version.clone(),
            live: is_live(id, entry),
            stopped: entry.is_stopped(),
        };
        self.instances.iter().map(member).collect()
    }

    /// Removes the entries that are at least an hour old or dated more than 30 s in the future. Members for which
    /// `is_live` returns true are kept. Then removes the oldest entries, until the record has room for the entry of
    /// `id`. Call this method on every copy of the record before a write. Otherwise a copy could bring back a removed
    /// entry.
    pub(crate) fn keep_members(&mut self, id: &str, now: Timestamp, is_live: impl Fn(&str) -> bool) {
        self.instances.retain(|other, entry| {
            is_live(other) || now.since(entry.updated_at) < MEMBERS_KEPT && !entry.is_ahead(now)
        });
        // The entry with the earliest write time counts as the oldest. The sequences cannot decide, because a new
        // sequence depends on the clock. After the clock was set back, the entry of a dead instance may have the
        // highest sequence.
        while self.instances.keys().filter(|other| *other != id).count() >= Self::MAX_INSTANCES {
            let others = self.instances.iter().filter(|(other, _)| *other != id);
            let oldest = others.min_by_key(|(_, entry)| entry.updated_at).map(|(other, _)| other.clone());
            oldest.and_then(|other| self.instances.remove(&other));
        }
    }
}

/// Returns the name of the record of a fleet.
pub(crate) fn record_of(fleet: &str) -> String {
    format!("{RESERVED}{fleet}")
}

/// The time for which a member is live after a heartbeat.
pub(crate) const LIVE_FOR: Duration = Duration::from_secs(30);
/// The time for which an entry stays in the record of a fleet after its last heartbeat. Operators can see gone
/// instances for this time. This is also the time to live of the record.
pub(crate) const MEMBERS_KEPT: Duration = Duration::from_secs(3600);
