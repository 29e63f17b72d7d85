//! The other instances of a fleet, as the answers of the store have shown them.
//!
//! A member is live for 30 s after its last entry, by the clock of the store. If that clock is set back, an old entry
//! looks new again. Therefore a second limit holds. By the clock of this process, one entry makes its member live for
//! at most 30 s. A member that is missing in an answer stays live until its 30 s are over, because the store may have
//! lost its data.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Members;
use crate::clock::Tick;
use crate::coordinator::desk::Now;
use crate::record::{CircuitRecord, LIVE_FOR, Member};

/// The other instances of the fleet, as the answers of the store have shown them.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// The newest known entry of each other member in the record. A member that is no longer in the record stays here
    /// for [`REMEMBERED_FOR`] after the member has ceased to be live.
    seen: BTreeMap<String, Seen>,
    /// The time of the last answer. `None` if no answer has come yet, or if the last answer is too old.
    answered: Option<Tick>,
    /// The last time at which another member was live, or at which the members were unknown. This instance cannot have
    /// been alone before this time.
    accompanied: Tick,
}

/// The newest known entry of another member.
#[derive(Debug)]
struct Seen {
    sequence: u64,
    /// The time until which the entry makes its member live. Zero if the entry was too old when it was first seen.
    ends: Tick,
}

impl Others {
    /// Notes the entries of the other members in an answer of the store. `id` is the id of this instance.
    pub(super) fn observe(&mut self, record: &CircuitRecord, id: &str, now: Now) {
        self.expire(now.here);
        if self.answered.is_none() {
            self.accompanied = now.here;
        }
        self.answered = Some(now.here);
        for (other, entry) in &record.instances {
            let (sequence, left) = (entry.sequence, entry.lives_for(now.store));
            let latest = now.here.saturating_add(left);
            let ends = match self.seen.get(other) {
                // An entry that is seen again does not keep its member live for longer, even if the entry is dated in
                // the future.
                Some(seen) if seen.sequence == sequence || left.is_zero() => seen.ends.min(latest),
                None if left.is_zero() => Tick::ZERO,
                _ => latest,
            };
            self.seen.insert(other.clone(), Seen { sequence, ends });
        }
        self.expire(now.here);
        // Another member may write back an old entry that is dated in the future. The old entry must not make its
        // member live again. Therefore this instance remembers the old entry for [`REMEMBERED_FOR`] after the member
        // has ceased to be live.
        let is_recent = |seen: &Seen| now.here.saturating_since(seen.ends) < REMEMBERED_FOR;
        self.seen.retain(|other, seen| is_recent(seen) || record.instances.contains_key(other));
        self.seen.remove(id);
    }

    /// Returns true if the other member with this id counts as live.
    pub(super) fn has(&self, id: &str, now: Tick) -> bool {
        self.seen.get(id).is_some_and(|seen| seen.ends > now)
    }

    /// Forgets the last answer if it is too old, and notes the last time at which another member ceased to be live.
    fn expire(&mut self, now: Tick) {
        if self.answered.is_some_and(|last| now.saturating_since(last) >= LIVE_FOR) {
            self.forget(now);
        }
        let ended = self.seen.values().map(|seen| seen.ends).filter(|ends| *ends <= now).max();
        self.accompanied = self.accompanied.max(ended.unwrap_or_default());
    }

    /// Notes that the members are not known from now on.
    pub(super) fn forget(&mut self, now: Tick) {
        (self.answered, self.accompanied) = (None, now);
    }

    pub(super) fn count(&mut self, now: Tick) -> Members {
        self.expire(now);
        let Some(last) = self.answered else { return Members::default() };
        let others = self.seen.values().filter(|seen| seen.ends > now).count();
        // An answer in the second half of `ALONE_AFTER` must confirm that no other member has come. Earlier answers are
        // not enough, because other members may have written their first heartbeats since.
        let is_confirmed = last.saturating_since(self.accompanied) >= ALONE_AFTER / 2;
        let is_over = now.saturating_since(self.accompanied) >= ALONE_AFTER;
        let live = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1);
        Members { live: Some(live), is_alone: others == 0 && is_over && is_confirmed }
    }

    /// Returns all members in the record, each with a flag that shows if the member is live. If the last answer is too
    /// old, no member counts as live.
    pub(super) fn members(&self, record: &CircuitRecord, id: &str, now: Tick) -> Vec<Member> {
        let is_known = self.answered.is_some_and(|last| now.saturating_since(last) < LIVE_FOR);
        record.members(|other, _| is_known && (other == id || self.has(other, now)))
    }
}

/// The time for which this instance remembers a member that is no longer live.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// The time without another live member after which this instance counts as alone.
const ALONE_AFTER: Duration = Duration::from_secs(20);

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;
    use crate::record::{InstanceEntry, Timestamp};

    /// Returns the time `millis` milliseconds after the start of the test, by the clocks of this process and of the
    /// store.
    fn at(millis: u64) -> Now {
        let here = Tick::ZERO.saturating_add(Duration::from_millis(1_000_000 + millis));
        Now { here, store: Timestamp::from_millis(1_790_000_000_000 + millis) }
    }

    /// Returns a record with the last heartbeat of each member. Each pair is the id of a member and the time of its
    /// heartbeat in milliseconds.
    fn record(members: &[(&str, u64)]) -> CircuitRecord {
        let mut record = CircuitRecord::unknown("@fleet:orders");
        for (id, millis) in members {
            let mut entry = InstanceEntry::closed(id);
            (entry.updated_at, entry.sequence) = (at(*millis).store, at(*millis).store.as_millis());
            record.instances.insert((*id).to_owned(), entry);
        }
        record
    }

    /// Returns the number of live members, or 0 if the number is unknown, and whether this instance is alone.
    fn count(others: &mut Others, millis: u64) -> (u32, bool) {
        let Members { live, is_alone } = others.count(at(millis).here);
        (live.unwrap_or(0), is_alone)
    }

    /// Lets instance `a` read the record of these members every ten seconds.
    fn observe_until(others: &mut Others, members: &[(&str, u64)], from: u64, until: u64) {
        for millis in (from..=until).step_by(10_000) {
            others.observe(&record(members), "a", at(millis));
        }
    }

    #[test]
    fn an_entry_from_before_a_step_of_the_clock_does_not_come_back_to_life() {
        let mut others = Others::default();
        // After this heartbeat, the clock of the store is set back by an hour.
        let hour = 3_600_000;
        others.observe(&record(&[("a", 0), ("b", hour)]), "a", at(hour));
        let after = |millis: u64| Now { here: at(hour + millis).here, store: at(millis).store };
        others.observe(&record(&[("a", 40_000)]), "a", after(40_000));
        others.observe(&record(&[("a", 50_000), ("b", hour)]), "a", after(50_000));
        assert_eq!(others.count(after(50_000).here).live, Some(1));
    }

    #[test]
    fn an_instance_without_an_answer_since_its_start_is_not_alone() {
        let mut others = Others::default();
        for millis in [0, 12, 9_999] {
            others.observe(&record(&[("a", 0)]), "a", at(millis));
        }
        assert_eq!(count(&mut others, 21_000), (1, false));
        others.observe(&record(&[("a", 0)]), "a", at(21_000));
        assert_eq!(count(&mut others, 21_000), (1, true));
    }

    #[test]
    fn an_instance_is_alone_after_twenty_seconds_without_others() {
        let mut others = Others::default();
        assert_eq!(count(&mut others, 0), (0, false), "unknown is not alone");
        observe_until(&mut others, &[("a", 0)], 0, 20_000);
        assert_eq!(count(&mut others, 19_999), (1, false));
        assert_eq!(count(&mut others, 20_000), (1, true));
    }

    #[test]
    fn an_instance_is_alone_fifty_seconds_after_the_last_heartbeat_of_another() {
        let mut others = Others::default();
        for (millis, expected) in
            [(32_999, (2, false)), (33_000, (1, false)), (52_999, (1, false)), (53_000, (1, true))]
        {
            let from = millis / 10_000 * 10_000;
            observe_until(&mut others, &[("b", 3_000)], from.max(5_000), millis);
            assert_eq!(count(&mut others, millis), expected, "at {millis}");
        }
    }

    #[test]
    fn one_answer_alone_never_shows_that_an_instance_is_alone() {
        let mut others = Others::default();
        others.observe(&record(&[]), "a", at(0));
        assert_eq!(count(&mut others, 29_999), (1, false), "no later answer confirms the first one");
        assert_eq!(count(&mut others, 30_000), (0, false), "the answer is too old");
        observe_until(&mut others, &[], 40_000, 50_000);
        assert_eq!((count(&mut others, 59_999), count(&mut others, 60_000)), ((1, false), (1, true)), "since the gap");
    }

    #[test]
    fn a_stopped_member_counts_no_longer_at_once() {
        let mut others = Others::default();
        others.observe(&record(&[("b", 0)]), "a", at(1_000));
        assert_eq!(count(&mut others, 1_000), (2, false));
        let mut stopped = record(&[("b", 8_000)]);
        let entry = stopped.instances.get_mut("b").unwrap();
        entry.stopped = Some(entry.sequence);
        for millis in [10_000, 20_000, 29_999] {
            others.observe(&stopped, "a", at(millis));
            assert_eq!(count(&mut others, millis), (1, false));
        }
        assert_eq!(count(&mut others, 30_000), (1, true), "twenty seconds after the answer with the mark");
    }

    #[test]
    fn a_heartbeat_dated_in_the_future_counts_for_thirty_seconds_once() {
        let mut others = Others::default();
        observe_until(&mut others, &[("b", 3_600_000)], 0, 20_000);
        assert_eq!(count(&mut others, 29_999), (2, false));
        observe_until(&mut others, &[("b", 3_600_000)], 30_000, 40_000);
        assert_eq!((count(&mut others, 49_999), count(&mut others, 50_000)), ((1, false), (1, true)));
    }

    #[test]
    fn a_clock_set_ahead_makes_no_instance_alone_within_two_heartbeats() {
        let mut others = Others::default();
        others.observe(&record(&[("b", 0)]), "a", at(0));
        let ahead = |millis| Now { here: at(millis).here, store: at(3_600_000 + millis).store };
        others.observe(&record(&[("b", 0)]), "a", ahead(10_000));
        assert_eq!(count(&mut others, 10_000), (1, false), "the entry of the other is an hour old");
        others.observe(&record(&[("b", 3_612_000)]), "a", ahead(22_000));
        assert_eq!(count(&mut others, 30_000), (2, false));
    }
}
