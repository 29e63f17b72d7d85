//! Loads: the fast tier's answer, with what only the durable one has.

use std::time::Duration;

use super::Tiers;
use super::settle::{Copy, DURABLE_LIMIT};
use super::tier::{DURABLE, FAST, tag, tagged};
use crate::clock::{Clock, Tick};
use crate::record::Timestamp;
use crate::store::{Loaded, Store, StoreError, Versioned};

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Completes what the fast tier has with what only the durable one has, and brings level what is due.
    pub(super) async fn complete(
        &self,
        names: &[String],
        mut loaded: Loaded,
        began: Tick,
    ) -> Result<Loaded, StoreError> {
        let (missing, due) = self.look(names, &loaded);
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
                // A fast tier that has some of the names was not flushed: what it lacks has not happened, or long ago.
                Err(error) if loaded.entries.iter().all(Option::is_none) => {
                    let heard = |at: &usize| self.note(&names[*at], |note| note.was_heard()).unwrap_or(true);
                    if !missing.iter().all(heard) {
                        return Err(error);
                    }
                }
                Err(_) => {}
            }
        }
        if !found.is_empty() {
            self.put_back(&found, loaded.now).await;
        }
        let left = TOGETHER.saturating_sub(self.clock.now().saturating_since(began));
        self.settle(&due, left).await;
        Ok(loaded)
    }

    /// Looks at what the fast tier has: which names must be asked for in the durable one, and which must be brought level.
    fn look(&self, names: &[String], loaded: &Loaded) -> (Vec<usize>, Vec<Copy>) {
        let now = self.clock.now();
        let (mut missing, mut due) = (Vec::new(), Vec::new());
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
            if note.seen.as_ref() == Some(&entry.etag) && !note.is_due(now) {
                continue;
            }
            match Copy::read(name, entry, loaded.now) {
                Some(copy) => {
                    if note.seen.as_ref() != Some(&entry.etag) {
                        note.saw(&entry.etag, &copy.record, now);
                    }
                    due.extend(note.is_due(now).then_some(copy));
                }
                // What is no record is as good as nothing, if the durable tier has one.
                None => missing.extend(note.is_unheard(now).then_some(at)),
            }
        }
        (missing, due)
    }

    async fn load_durable(&self, names: &[String], which: &[usize]) -> Result<Loaded, StoreError> {
        if !self.durable.answers() {
            return Err(StoreError::unavailable(format!("{} failed a moment ago", self.durable.kind())));
        }
        let names: Vec<_> = which.iter().map(|at| names[*at].clone()).collect();
        let loaded = self.durable.ask("load", DURABLE_LIMIT, self.durable.store.load_many(&names)).await?;
        let now = self.clock.now();
        for (name, entry) in names.iter().zip(&loaded.entries) {
            self.note(name, |note| note.heard(entry.is_some(), now));
        }
        Ok(loaded)
    }

    /// Returns what the durable tier has under one name.
    pub(super) async fn load_one(&self, name: &str) -> Result<(Option<Versioned>, Timestamp), StoreError> {
        let names = [name.to_owned()];
        let loaded = self.durable.ask("load", DURABLE_LIMIT, self.durable.store.load_many(&names)).await?;
        Ok((loaded.entries.into_iter().next().flatten(), loaded.now))
    }
}

/// What a load may take with all that is done beside.
const TOGETHER: Duration = Duration::from_millis(1_600);
