//! What is remembered of each name, so that the durable tier is asked only when there is a reason. Pure.

use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::clock::Tick;
use crate::record::CircuitRecord;
use crate::store::Etag;

/// The notes on all names, at most [`MOST`](Notes::MOST).
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<String, Note>);

/// The note on one name.
#[derive(Debug, Default)]
pub(super) struct Note {
    /// The version in the fast tier that was looked at last.
    pub(super) seen: Option<Etag>,
    /// What the durable tier has, as far as it is [settled](settled).
    settled: Option<u64>,
    /// When the durable tier answered last for it, and when it last had all that the fast one has.
    heard: Option<Tick>,
    level: Option<Tick>,
    /// When the tiers must be compared. `None`: there is no reason to.
    due: Option<Tick>,
}

impl Notes {
    /// The most names that are remembered. A name beyond has no note, and then its writer's settling is all there is.
    pub(super) const MOST: usize = 20_000;

    /// Returns the note on a name; makes room for it at the cost of those that nothing is owed to.
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
    /// The fast tier has this version, whoever wrote it.
    pub(super) fn saw(&mut self, etag: &Etag, record: &CircuitRecord, now: Tick) {
        self.seen = Some(etag.clone());
        // Evidence is brought by who wrote it. What is settled is, too; but who wrote it may have died in between.
        if let Some(found) = settled(record)
            && self.settled != Some(found)
        {
            self.owe(now.saturating_add(CHECK_AFTER));
        }
    }

    /// This version was written here. Returns whether the durable tier must have it now.
    pub(super) fn wrote(&mut self, etag: &Etag, record: &CircuitRecord, now: Tick) -> bool {
        self.seen = Some(etag.clone());
        let Some(found) = settled(record) else { return false };
        let fresh = self.level.filter(|_| self.settled == Some(found));
        self.owe(fresh.map_or(now, |level| level.saturating_add(EVIDENCE_EVERY)));
        self.is_due(now)
    }

    /// The fast tier has nothing of it. Returns whether the durable tier must be asked.
    pub(super) fn missed(&mut self, now: Tick) -> bool {
        // What was there and is gone was lost; what never was need not be asked for at every poll.
        let lost = self.seen.take().is_some();
        self.due = None;
        lost || self.is_unheard(now)
    }

    /// Whether the durable tier has not been asked lately.
    pub(super) fn is_unheard(&self, now: Tick) -> bool {
        self.heard.is_none_or(|heard| now >= heard.saturating_add(ASK_EVERY))
    }

    /// Whether the durable tier ever answered for it.
    pub(super) const fn was_heard(&self) -> bool {
        self.heard.is_some()
    }

    /// The durable tier has answered. What it has is asked for again as long as the fast one lacks it.
    pub(super) fn heard(&mut self, found: bool, now: Tick) {
        self.heard = Some(if found { Tick::ZERO } else { now });
    }

    /// The durable tier has all of that record.
    pub(super) fn is_level(&mut self, record: &CircuitRecord, now: Tick) {
        self.settled = settled(record);
        self.level = Some(now);
        self.heard = Some(Tick::ZERO);
        self.due = None;
    }

    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    fn owe(&mut self, due: Tick) {
        self.due = Some(self.due.map_or(due, |owed| owed.min(due)));
    }
}

/// Returns what of a record must outlive the fast tier, as a number that is another if it is: what was published, the last
/// act, and the state of each instance. `None`: nothing has happened to the circuit, so no copy of it is newer than another.
fn settled(record: &CircuitRecord) -> Option<u64> {
    let act = record.operator.as_ref().map(|operated| operated.sequence);
    if record.generation.get() == 0 && act.is_none() && record.instances.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    (record.generation, record.state, act).hash(&mut hasher);
    for (id, entry) in &record.instances {
        (id, entry.state, entry.mode, entry.attempt).hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// Evidence reaches the durable tier at most that often.
const EVIDENCE_EVERY: Duration = Duration::from_secs(60);
/// What another has settled is looked up so long after, should its writer have died between the tiers.
const CHECK_AFTER: Duration = Duration::from_secs(20);
/// A name that neither tier has is looked up in the durable one so often.
const ASK_EVERY: Duration = Duration::from_secs(60);
