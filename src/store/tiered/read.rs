//! The loads. A load takes the answer of the fast tier, and adds the changes that only the durable tier has.
//!
//! One read of the durable tier serves all missing names and all comparisons of a load. If this read fails, the load
//! fails only if the fast tier may have lost its records.

use super::Tiers;
use super::settle::{Copy, durable_limit};
use super::tier::{DURABLE, FAST, tag, tagged};
use crate::clock::{Clock, Tick};
use crate::record::{CircuitRecord, Timestamp, join};
use crate::store::time_limit::limit;
use crate::store::{Loaded, Store, StoreError, Versioned};

/// A name that a load must also look up in the durable tier.
#[derive(Debug)]
struct Wanted {
    /// The index of the name in the list of names to load.
    at: usize,
    /// The record in the fast tier. `None` if the fast tier has no record.
    copy: Option<Copy>,
}

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Completes the answer of the fast tier with the records and changes that only the durable tier has, and runs the
    /// comparisons that are due.
    pub(super) async fn complete(
        &self,
        names: &[String],
        mut loaded: Loaded,
        began: Tick,
    ) -> Result<Loaded, StoreError> {
        let wanted = self.check(names, &loaded, began);
        for entry in loaded.entries.iter_mut().flatten() {
            entry.etag = tag(FAST, &entry.etag);
        }
        if wanted.is_empty() {
            return Ok(loaded);
        }
        let answer = match self.load_durable(names, &wanted).await {
            Ok(answer) => answer,
            // If the fast tier has a record of at least one name, the tier was not flushed, so the missing names have
            // no record. If the fast tier has none of the records, the tier may have been flushed. In this case the
            // load succeeds only if the durable tier has answered at least once for each missing name.
            Err(error) if loaded.entries.iter().all(Option::is_none) => {
                let known = |wanted: &Wanted| self.note(&names[wanted.at], |note| note.was_queried()).unwrap_or(true);
                return if wanted.iter().all(known) { Ok(loaded) } else { Err(error) };
            }
            // The load succeeds with the answer of the fast tier alone. A later load tries the comparisons again.
            Err(_) => return Ok(loaded),
        };
        let now = loaded.now.max(answer.now);
        let (mut found, mut differ) = (Vec::new(), Vec::new());
        for (Wanted { at, copy }, durable) in wanted.into_iter().zip(answer.entries) {
            let here = self.clock.now();
            match (copy, &mut loaded.entries[at]) {
                (Some(copy), Some(fast)) => {
                    // `is_same` also adds the changes of the durable tier to the answer. The answer needs these
                    // changes, because a process restores its circuits from its first loads, and a fast tier that has
                    // recovered from a failure may have old records.
                    if is_same(&copy, fast, durable.as_ref(), now) {
                        self.note(&copy.name, |note| note.synced(copy.version(), &copy.record, here));
                    } else if self.note(&copy.name, |note| note.may_try(here)).unwrap_or(true) {
                        differ.push((copy, durable));
                    }
                }
                (_, entry) => {
                    let Some(durable) = durable else { continue };
                    *entry = Some(tagged(DURABLE, durable.clone()));
                    found.push((&names[at], durable));
                }
            }
        }
        self.put_back(found, loaded.now).await;
        // The load and its comparisons together must end within the time limit of the operation.
        let left = (limit() / 5 * 4).saturating_sub(self.clock.now().saturating_since(began));
        self.settle_all(differ, answer.now, left).await;
        Ok(loaded)
    }

    /// Checks the answer of the fast tier. Returns the names that the load must look up in the durable tier, because
    /// the fast tier lacks the record or because the tiers must be compared.
    fn check(&self, names: &[String], loaded: &Loaded, began: Tick) -> Vec<Wanted> {
        let now = self.clock.now();
        let mut wanted = Vec::new();
        let mut notes = self.notes.lock();
        for (at, (name, entry)) in names.iter().zip(&loaded.entries).enumerate() {
            let Some(note) = notes.on(name) else {
                wanted.extend(entry.is_none().then_some(Wanted { at, copy: None }));
                continue;
            };
            let Some(entry) = entry else {
                wanted.extend(note.missed(began, now).then_some(Wanted { at, copy: None }));
                continue;
            };
            if note.has(&entry.etag) && !note.is_due(now) && note.was_compared_before(began) {
                continue;
            }
            let Some(copy) = Copy::read(name, entry, loaded.now, began) else {
                // A value that does not decode counts as missing, so the durable tier is queried for the record.
                wanted.extend(note.may_query(now).then_some(Wanted { at, copy: None }));
                continue;
            };
            note.saw(copy.version(), &copy.record, now);
            if note.is_due(now) || note.is_uncompared(&copy.record, began) {
                wanted.push(Wanted { at, copy: Some(copy) });
            }
        }
        wanted
    }

    /// Loads the wanted names from the durable tier. Fails at once during the pause after a failure of that tier.
    async fn load_durable(&self, names: &[String], wanted: &[Wanted]) -> Result<Loaded, StoreError> {
        if !self.durable.answers() {
            return Err(StoreError::unavailable(format!("{} failed a moment ago", self.durable.kind())));
        }
        let names: Vec<_> = wanted.iter().map(|wanted| names[wanted.at].clone()).collect();
        let loaded = self.durable.run("load", durable_limit(), self.durable.store.load_many(&names)).await?;
        let now = self.clock.now();
        for (name, entry) in names.iter().zip(&loaded.entries) {
            self.note(name, |note| note.answered(entry.is_some(), now));
        }
        Ok(loaded)
    }

    /// Loads one name from the durable tier, even during the pause after a failure of that tier.
    pub(super) async fn load_one(&self, name: &str) -> Result<(Option<Versioned>, Timestamp), StoreError> {
        let names = [name.to_owned()];
        let loaded = self.durable.run("load", durable_limit(), self.durable.store.load_many(&names)).await?;
        Ok((loaded.entries.into_iter().next().flatten(), loaded.now))
    }
}

/// Merges the record of the durable tier into `fast`, the value of the fast tier. The value keeps its etag, because the
/// next write replaces the version in the fast tier. Returns true if the two tiers already have the same record.
fn is_same(copy: &Copy, fast: &mut Versioned, durable: Option<&Versioned>, now: Timestamp) -> bool {
    let durable = durable.and_then(|durable| CircuitRecord::decode(&copy.name, &durable.bytes, now).ok());
    let Some(durable) = durable else { return false };
    let joined = join(&copy.record, &durable);
    if joined != copy.record
        && let Ok(bytes) = joined.encode()
    {
        fast.bytes = bytes;
    }
    joined == copy.record && joined == durable
}
