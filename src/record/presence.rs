//! The presence of an instance, which is present, silent or gone. The age, the state and the mark of the instance's
//! entry in the record of a circuit decide.
//!
//! An instance with a closed circuit and no failures writes nothing. Therefore an old entry alone does not show that
//! the instance is gone. While the circuit is open or half-open, the instance writes its entry again every
//! [`RENEWED_AFTER`], even without calls. These are at most five writes an hour. An instance that shuts down marks its
//! entry as stopped.
//!
//! All times come from the clock of the store, so that differences between the clocks of instances have no effect. The
//! age of an entry is the time since its last write. If the open duration in the entry ended later, the age counts from
//! that end. An instance is present unless a row of this table describes its entry:
//!
//! | entry | presence |
//! |---|---|
//! | marked by an instance that stopped | gone |
//! | not closed, and no write for [`SEEN_FOR`] | gone |
//! | closed, and no write for [`SEEN_FOR`] | silent, because the instance may have had no failure |
//! | closed, and no write for [`SILENT_FOR`] | gone, although the instance may have had no failure |
//! | no write for [`KEPT_FOR`] | dropped from the record, unless only a reset ends its opening |
//!
//! The entry of a gone instance stays in the record until it is dropped (last row of the table). After a restart, the
//! instance restores its circuit from the entry. The instance is present again after its next write.

use std::time::Duration;

use super::{CircuitRecord, InstanceEntry, Timestamp};
use crate::keep::Ttl;
use crate::state::{Act, State};

impl InstanceEntry {
    /// Returns true if the instance no longer counts as present, because it has stopped or has not written the entry
    /// for too long. The limit is 15 minutes if the circuit of the instance is not closed. The limit is 24 hours if the
    /// circuit is closed, because such an instance writes only after failures.
    #[must_use]
    pub fn is_gone(&self, now: Timestamp) -> bool {
        self.is_stopped() || self.is_unseen(now)
    }

    /// Returns true if the last write of the entry is so old that the instance no longer counts as present.
    pub(super) fn is_unseen(&self, now: Timestamp) -> bool {
        let limit = if self.state == State::Closed { SILENT_FOR } else { SEEN_FOR };
        self.unseen_for(now) >= limit
    }

    /// Returns true if the circuit of the instance is closed, and the entry is 15 minutes to 24 hours old. A silent
    /// instance either has had no failure since its last write, or has ended without a shutdown. An entry marked as
    /// stopped is not silent.
    #[must_use]
    pub fn is_silent(&self, now: Timestamp) -> bool {
        self.state == State::Closed && self.unseen_for(now) >= SEEN_FOR && !self.is_gone(now)
    }

    /// Returns true if the circuit of the instance is not closed, and the instance is not [gone](Self::is_gone).
    #[must_use]
    pub fn is_tripped(&self, now: Timestamp) -> bool {
        self.state != State::Closed && !self.is_gone(now)
    }

    /// Returns true if the instance has marked this entry as stopped at its shutdown. The mark is the sequence of the
    /// entry. A mark with a different sequence is ignored, because an older version of this crate copies an old mark
    /// into a new entry.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some_and(|sequence| sequence == self.sequence)
    }

    /// Returns true if an instance with an open or half-open circuit must write the entry again, because the entry is
    /// marked as stopped or is at least 12 minutes old. The write shows other instances that the instance is present.
    pub(crate) fn must_be_renewed(&self, now: Timestamp) -> bool {
        self.is_stopped() || self.unseen_for(now) >= RENEWED_AFTER
    }

    /// Returns true if the entry is too old to be kept in the record. An entry of unknown age is kept. An entry whose
    /// circuit stays open until a reset is also kept.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        let is_endless = self.state == State::Open && self.until.is_none();
        !is_endless && self.updated_at != Timestamp::default() && self.unseen_for(now) >= KEPT_FOR
    }

    /// Returns the time since the last write of the entry. If the open duration in the entry ended later, returns the
    /// time since that end.
    fn unseen_for(&self, now: Timestamp) -> Duration {
        let opening = self.until.filter(|_| self.state == State::Open).unwrap_or_default();
        now.since(self.updated_at.max(opening))
    }
}

impl CircuitRecord {
    /// Returns true if an operator has reset the circuit, and the instance had not applied the reset when it wrote the
    /// entry. The opening in such an entry is over, because a reset ends the openings of all instances.
    pub(crate) fn is_reset_after(&self, entry: &InstanceEntry) -> bool {
        let reset = self.operator.as_ref().filter(|operated| operated.act == Act::Reset);
        reset.is_some_and(|operated| entry.acts < operated.sequence)
    }

    /// Returns true if the time to live of the record has passed since its last write. A store that expires records
    /// would have dropped such a record.
    pub(crate) fn is_over(&self, ttl: Ttl, now: Timestamp) -> bool {
        let written = self.updated_at;
        self.ttl(ttl.open, ttl.other, written).is_some_and(|ttl| written.saturating_add(ttl) <= now)
    }

    /// Drops the entries that are too old to be kept. Call this method on each copy of the record before the copy is
    /// compared or written. Otherwise a copy could bring back a dropped entry.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let before = self.instances.len();
        self.instances.retain(|_, entry| !entry.is_expired(now));
        if self.instances.len() != before {
            self.sum();
        }
    }
}

/// The time for which an instance counts as present after its last write of an entry, if the state in the entry is not
/// closed.
const SEEN_FOR: Duration = Duration::from_secs(15 * 60);
/// The time after which an instance writes its entry again while the state in the entry is not closed. This time is
/// shorter than [`SEEN_FOR`], so that a slow store has three minutes for the write.
const RENEWED_AFTER: Duration = Duration::from_secs(12 * 60);
/// The time for which an instance counts as present after its last write of an entry, if the state in the entry is
/// closed.
const SILENT_FOR: Duration = Duration::from_secs(24 * 3600);
/// The time for which an entry is kept, so that an instance that was away over a weekend continues its totals.
const KEPT_FOR: Duration = Duration::from_secs(72 * 3600);

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;
    use crate::record::{Command, apply};

    #[test]
    fn a_record_is_over_after_its_time_to_live_since_the_last_write() {
        let start = Timestamp::from_millis(1_790_000_000_000);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let ttl = Ttl { open: hours(24), other: hours(1) };
        let mut record = CircuitRecord::unknown("host:a");
        let entry = Command::Evidence("orders-1".to_owned(), InstanceEntry::closed("start-1"));
        let _effect = apply(&mut record, &entry, start);
        let over_after =
            |record: &CircuitRecord| (0..200).find(|n| record.is_over(ttl, start.saturating_add(hours(*n))));
        assert_eq!(over_after(&record), Some(1), "closed");
        (record.state, record.until) = (State::Open, Some(start));
        assert_eq!(over_after(&record), Some(24), "open");
        record.until = Some(start.saturating_add(hours(100)));
        assert_eq!(over_after(&record), Some(101), "open for long, and the difference of clocks");
        record.until = None;
        assert_eq!(over_after(&record), None, "only a reset ends the opening");
    }
}
