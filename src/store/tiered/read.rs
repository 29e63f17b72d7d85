//! The loads, which complete the answer of the fast tier with the records that only the durable tier has.
//!
//! The durable tier is read only for missing names and due comparisons. If the durable tier fails, the load fails only
//! if the fast tier may have been flushed.

use super::Tiers;
use super::settle::{Copy, durable_limit};
use super::tier::{DURABLE, FAST, tag, tagged};
use crate::clock::{Clock, Tick};
use crate::record::{CircuitRecord, Timestamp, join};
use crate::store::limit::limit;
use crate::store::{Loaded, Store, StoreError, Versioned};

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Completes the answer of the fast tier with the records that only the durable tier has, and runs the comparisons
    /// that are due.
    pub(super) async fn complete(
        &self,
        names: &[String],
        mut loaded: Loaded,
        began: Tick,
    ) -> Result<Loaded, StoreError> {
        let (missing, mut due, first) = self.check(names, &loaded, began);
        for entry in loaded.entries.iter_mut().flatten() {
            entry.etag = tag(FAST, &entry.etag);
        }
        let mut found = Vec::new();
        if !missing.is_empty() {
            match self.load_durable(names, &missing).await {
                Ok(answer) => {
                    for (at, entry) in missing.iter().zip(answer.entries) {
                        let Some(entry) = entry else { continue };
                        loaded.entries[*at] = Some(tagged(DURABLE, entry.clone()));
                        found.push((names[*at].clone(), entry));
                    }
                }
                // A fast tier that has some of the names was not flushed, so the missing names have no record. A fast
                // tier that has none of the names may have been flushed. In this case the load succeeds only if the
                // durable tier has answered at least once for each missing name.
                Err(error) if loaded.entries.iter().all(Option::is_none) => {
                    let known = |at: &usize| self.note(&names[*at], |note| note.was_queried()).unwrap_or(true);
                    if !missing.iter().all(known) {
                        return Err(error);
                    }
                }
                Err(_) => {}
            }
        }
        if !found.is_empty() {
            self.put_back(&found, loaded.now).await;
        }
        // A process restores its circuits from its first loads. The fast tier may have returned with old data while no
        // process compared the tiers, so the answer has the changes of both tiers. If the durable tier fails, the answer
        // has the changes of the fast tier, and the comparison stays due.
        let places: Vec<_> = first.iter().map(|(at, _)| *at).collect();
        if !first.is_empty()
            && let Ok(answer) = self.load_durable(names, &places).await
        {
            for ((at, copy), durable) in first.into_iter().zip(answer.entries) {
                let Some(fast) = &mut loaded.entries[at] else { continue };
                if is_same(&copy, fast, durable.as_ref(), loaded.now.max(answer.now)) {
                    let now = self.clock.now();
                    self.note(&copy.name, |note| note.synced(&copy.record, now));
                } else if due.iter().all(|other| other.name != copy.name) {
                    due.push(copy);
                }
            }
        }
        // The load and its comparisons together must end within the limit of the operation.
        let left = (limit() / 5 * 4).saturating_sub(self.clock.now().saturating_since(began));
        self.settle(&due, left).await;
        Ok(loaded)
    }

    /// Checks the answer of the fast tier. Returns the places of the names that must be loaded from the durable tier, the
    /// records that must be compared with the durable tier, and the records that were never compared, with
    /// their places.
    fn check(&self, names: &[String], loaded: &Loaded, began: Tick) -> (Vec<usize>, Vec<Copy>, Vec<(usize, Copy)>) {
        let now = self.clock.now();
        let (mut missing, mut due, mut first) = (Vec::new(), Vec::new(), Vec::new());
        let mut notes = self.notes.lock();
        for (at, (name, entry)) in names.iter().zip(&loaded.entries).enumerate() {
            let Some(note) = notes.on(name) else {
                missing.extend(entry.is_none().then_some(at));
                continue;
            };
            let Some(entry) = entry else {
                missing.extend(note.missed(now).then_some(at));
                continue;
            };
            if note.seen.as_ref() == Some(&entry.etag) && !note.is_due(now) && note.was_compared_before(began) {
                continue;
            }
            match Copy::read(name, entry, loaded.now) {
                Some(copy) => {
                    first.extend(note.is_uncompared(&copy.record, began).then(|| (at, copy.clone())));
                    if note.seen.as_ref() != Some(&entry.etag) {
                        note.saw(&entry.etag, &copy.record, now);
                    }
                    due.extend(note.is_due(now).then_some(copy));
                }
                // A value that does not decode counts as missing, so the durable tier is queried for the record.
                None => missing.extend(note.may_query(now).then_some(at)),
            }
        }
        (missing, due, first)
    }

    /// Loads the names at these places from the durable tier.
    async fn load_durable(&self, names: &[String], missing: &[usize]) -> Result<Loaded, StoreError> {
        if !self.durable.answers() {
            return Err(StoreError::unavailable(format!("{} failed a moment ago", self.durable.kind())));
        }
        let names: Vec<_> = missing.iter().map(|at| names[*at].clone()).collect();
        let loaded = self.durable.run("load", durable_limit(), self.durable.store.load_many(&names)).await?;
        let now = self.clock.now();
        for (name, entry) in names.iter().zip(&loaded.entries) {
            self.note(name, |note| note.answered(entry.is_some(), now));
        }
        Ok(loaded)
    }

    /// Loads one name from the durable tier, even during the pause of that tier.
    pub(super) async fn load_one(&self, name: &str) -> Result<(Option<Versioned>, Timestamp), StoreError> {
        let names = [name.to_owned()];
        let loaded = self.durable.run("load", durable_limit(), self.durable.store.load_many(&names)).await?;
        Ok((loaded.entries.into_iter().next().flatten(), loaded.now))
    }
}

/// Adds the changes of the durable tier to a value of the fast tier. The value keeps its etag, so that the next write
/// replaces the version in the fast tier. Returns true if both tiers have the same record.
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
