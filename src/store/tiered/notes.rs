//! For each circuit name, notes on the content of both tiers. The notes decide when the durable tier must be read or
//! written.
//!
//! Without notes every load would need both tiers. The module reads no clock and calls no store.

use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::clock::Tick;
use crate::pattern::is_reserved;
use crate::record::CircuitRecord;
use crate::store::Etag;

/// The notes on all circuit names, at most [`MOST`](Notes::MOST).
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<String, Note>);

/// The note on one name, with the known content of both tiers and the time of the next comparison.
///
/// Several operations on one name can run at the same time, so an answer can be older than the note. An old answer does
/// not change the note. Otherwise the old answer could cancel a comparison of the tiers, and a newer version would not
/// be copied.
#[derive(Debug, Default)]
pub(super) struct Note {
    /// The etag of the newest known version in the fast tier. `None` if no version is known.
    seen: Option<Etag>,
    /// The time of the last change of `seen`. An operation that began before this time may have an older version.
    noted: Option<Tick>,
    /// A hash of the part of the durable record that must survive a loss of the fast tier ([`settled`]).
    settled: Option<u64>,
    /// The time of the last answer of the durable tier for this name.
    queried: Option<Tick>,
    /// True if the last answer of the durable tier had a record. Each load that finds no record in the fast tier then
    /// queries the durable tier.
    is_durable: bool,
    /// The last time at which the fast tier was known to have all changes of the durable tier.
    compared: Option<Tick>,
    /// The last time at which the two tiers were known to have the same record.
    synced: Option<Tick>,
    /// The time at which the tiers must be compared. `None` if there is no reason to compare them.
    due: Option<Tick>,
    /// The time of the last refusal of the record by a tier. For the time [`CHECK_AFTER`], only a new write offers the
    /// record to the tiers again.
    refused: Option<Tick>,
}

/// A version of a record in the fast tier. The fields show if this version is newer than the version in the note.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version<'a> {
    pub(super) etag: &'a Etag,
    /// The etag of the version that this version has replaced, if the writer knows that etag.
    pub(super) replaced: Option<&'a Etag>,
    /// The time at which the operation that loaded or wrote the version began.
    pub(super) began: Tick,
}

impl Notes {
    /// The largest number of notes. If there is no room for a note on a name, the tiers are never compared for this
    /// name. Then only the writer of a change copies the change to the durable tier.
    pub(super) const MOST: usize = 20_000;

    /// Returns the note on a name, and creates the note if necessary. If there is no room, first drops all notes
    /// without a planned comparison. Returns `None` if there is still no room.
    pub(super) fn on(&mut self, name: &str) -> Option<&mut Note> {
        if !self.0.contains_key(name) {
            if self.0.len() >= Self::MOST {
                self.0.retain(|_, note| note.due.is_some());
            }
            if self.0.len() >= Self::MOST {
                return None;
            }
            self.0.insert(name.to_owned(), Note::default());
        }
        self.0.get_mut(name)
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl Note {
    /// Remembers a version that a load found in the fast tier.
    pub(super) fn saw(&mut self, version: Version<'_>, record: &CircuitRecord, now: Tick) {
        // A known version changes nothing. A version that may be old is ignored, because the next load finds the newest
        // version.
        if self.has(version.etag) || !self.take(version, now) {
            return;
        }
        // The writer of a change also writes to the durable tier, but may have died before that write. Therefore a
        // change that must survive a loss of the fast tier causes a comparison later. A change of counts alone causes
        // no comparison.
        if let Some(found) = settled(record)
            && self.settled != Some(found)
        {
            self.compare_by(now.saturating_add(CHECK_AFTER));
        }
    }

    /// Returns true if `etag` is the newest known version in the fast tier.
    pub(super) fn has(&self, etag: &Etag) -> bool {
        self.seen.as_ref() == Some(etag)
    }

    /// Stores a version as the newest known version. If the version in the note may be newer, changes nothing and
    /// returns false.
    fn take(&mut self, version: Version<'_>, now: Tick) -> bool {
        if self.has(version.etag) {
            return true;
        }
        let replaces = version.replaced.is_some_and(|replaced| self.has(replaced));
        if !replaces && self.noted.is_some_and(|noted| version.began <= noted) {
            return false;
        }
        (self.seen, self.noted) = (Some(version.etag.clone()), Some(now));
        true
    }

    /// Returns true if the tiers were compared before the load that began at `began`. A load that began before the
    /// comparison may lack the changes of the durable tier.
    pub(super) fn was_compared_before(&self, began: Tick) -> bool {
        self.compared.is_some_and(|compared| compared <= began)
    }

    /// Returns true if the load that began at `began` must also read the durable tier. The first loads of a process
    /// read both tiers, because the process restores its circuits from these loads, and either tier can have the newest
    /// change.
    pub(super) fn is_uncompared(&self, record: &CircuitRecord, began: Tick) -> bool {
        !self.was_compared_before(began) && settled(record).is_some()
    }

    /// Remembers a version that this process wrote to the fast tier. Returns true if the record must be copied to the
    /// durable tier now.
    pub(super) fn wrote(&mut self, etag: &Etag, record: &CircuitRecord, now: Tick) -> bool {
        (self.seen, self.noted, self.refused) = (Some(etag.clone()), Some(now), None);
        let Some(found) = settled(record) else { return false };
        // If only counts have changed, the durable tier gets the record at most once a minute.
        let fresh = self.synced.filter(|_| self.settled == Some(found));
        self.compare_by(fresh.map_or(now, |synced| synced.saturating_add(EVIDENCE_EVERY)));
        self.is_due(now)
    }

    /// Remembers that this process wrote only to the durable tier. Until the fast tier has the change too, each load
    /// merges the records of both tiers.
    pub(super) fn wrote_durable(&mut self, now: Tick) {
        *self = Self { noted: Some(now), due: Some(now), ..Self::default() };
        self.answered(true, now);
    }

    /// Remembers that a load has found no record in the fast tier. Returns true if the durable tier must be queried.
    pub(super) fn missed(&mut self, began: Tick, now: Tick) -> bool {
        let is_old = self.noted.is_some_and(|noted| began <= noted);
        // If this record was seen in the fast tier earlier, the fast tier has lost the record, and the durable tier is
        // queried at once. For other names, the durable tier is queried only from time to time.
        let lost = !is_old && self.seen.take().is_some();
        if lost {
            self.due = None;
        }
        lost || self.may_query(now)
    }

    /// Returns true if the durable tier may be queried for this name now. If the durable tier had no record at the last
    /// query, the next query is a minute later.
    pub(super) fn may_query(&self, now: Tick) -> bool {
        self.is_durable || self.queried.is_none_or(|queried| now >= queried.saturating_add(QUERY_EVERY))
    }

    /// Returns true if the durable tier has ever answered for this name.
    pub(super) const fn was_queried(&self) -> bool {
        self.queried.is_some()
    }

    /// Remembers an answer of the durable tier. `found` is true if the tier has a record.
    pub(super) fn answered(&mut self, found: bool, now: Tick) {
        (self.queried, self.is_durable) = (Some(now), found);
    }

    /// Remembers that both tiers have `record`, and that `version` is the version of the record in the fast tier. If
    /// the fast tier may have a newer version, the comparison stays due.
    pub(super) fn synced(&mut self, version: Version<'_>, record: &CircuitRecord, now: Tick) {
        self.answered(true, now);
        if self.take(version, now) {
            (self.settled, self.synced, self.compared) = (settled(record), Some(now), Some(now));
            (self.due, self.refused) = (None, None);
        }
    }

    /// Remembers that the durable tier has refused the changes of `version`. The tiers count as compared, because the
    /// caller has already copied all changes of the durable tier to the fast tier.
    pub(super) fn refused_by_durable(&mut self, version: Version<'_>, now: Tick) {
        if self.take(version, now) {
            self.compared = Some(now);
        }
        self.refused(now);
    }

    /// Remembers that a tier has refused the record, so that the next comparison waits for the time [`CHECK_AFTER`].
    pub(super) fn refused(&mut self, now: Tick) {
        self.refused = Some(now);
        self.compare_by(now);
    }

    /// Returns true if the record may be offered to the tiers. Returns false for the time [`CHECK_AFTER`] after a
    /// refusal.
    pub(super) fn may_try(&self, now: Tick) -> bool {
        self.refused.is_none_or(|refused| now >= refused.saturating_add(CHECK_AFTER))
    }

    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.due.is_some_and(|due| due <= now) && self.may_try(now)
    }

    /// Makes a comparison due at the time `due`, unless an earlier time is already set.
    fn compare_by(&mut self, due: Tick) {
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }
}

/// Returns a hash of the content that must survive a loss of the fast tier. This content is the published state, the
/// last act, and the state of each instance. Returns `None` for a record that has no transition, no act and no
/// instance. Such a record has no content that must survive, so none of its copies is newer than another, and no
/// comparison is needed. Also returns `None` for the members of a fleet, whose record is only in the fast tier.
fn settled(record: &CircuitRecord) -> Option<u64> {
    if is_reserved(&record.service) {
        return None;
    }
    let act = record.operator.as_ref().map(|operated| operated.sequence);
    if record.generation.get() == 0 && act.is_none() && record.instances.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    (record.generation, record.state, act).hash(&mut hasher);
    for (id, entry) in &record.instances {
        // The full duration of the open state is hashed too, because a failure of an earlier call can lengthen the
        // duration while the state stays the same.
        (id, entry.state, entry.mode, entry.attempt, entry.open_ms).hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// The interval at which changes of counts alone are copied to the durable tier.
const EVIDENCE_EVERY: Duration = Duration::from_secs(60);
/// The delay between a change of another writer and a comparison of the tiers. The comparison is needed because the
/// writer may have died before the write to the durable tier. A record that a tier has refused is offered to this tier
/// again after the same time.
const CHECK_AFTER: Duration = Duration::from_secs(20);
/// The interval at which the durable tier is queried for a name of which neither tier has a record.
const QUERY_EVERY: Duration = Duration::from_secs(60);
