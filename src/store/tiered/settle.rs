//! The synchronisation of the tiers, in which each tier gets the changes that only the other tier has.
//!
//! `join` merges the records of the two tiers, and keeps the changes of each record. Therefore it does not matter which
//! tier is newer, and a repetition after a failure is harmless.

use std::time::Duration;

use super::Tiers;
use super::notes::Version;
use crate::clock::{Clock, Tick};
use crate::keep::Ttl;
use crate::record::{CircuitRecord, Timestamp, join};
use crate::store::time_limit::limit;
use crate::store::{Etag, Hint, Store, StoreError, Versioned, Write, Written};

/// A decoded record from the fast tier, or from the durable tier if the record will be copied to the fast tier.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) name: String,
    pub(super) record: CircuitRecord,
    pub(super) kept: Versioned,
    /// The TTL of the record, for a tier that deletes expired records.
    pub(super) ttl: Option<Duration>,
    /// The hint of the write from which the copy comes. [`Hint::Any`] for a loaded copy, because the changes in the
    /// copy are unknown.
    pub(super) hint: Hint,
    /// The time at which the load or the write of the record began.
    pub(super) began: Tick,
}

impl Copy {
    /// Decodes a value. Returns `None` if the value is not a valid record.
    pub(super) fn read(name: &str, kept: &Versioned, now: Timestamp, began: Tick) -> Option<Self> {
        let record = CircuitRecord::decode(name, &kept.bytes, now).ok()?;
        let ttl = ttl(&record, now);
        Some(Self { name: name.to_owned(), record, kept: kept.clone(), ttl, hint: Hint::Any, began })
    }

    /// Returns the hint for a write of this copy to a tier that has the record `theirs`. The hint can be stronger than
    /// the hint of the last write, for example `Any` instead of `Transition`, because the tier may also lack the
    /// changes of earlier writes.
    fn hint_beside(&self, theirs: Option<&CircuitRecord>) -> Hint {
        let acts = |record: &CircuitRecord| record.operator.as_ref().map(|operated| operated.sequence);
        match theirs {
            Some(theirs) if acts(theirs) != acts(&self.record) => Hint::Any,
            Some(theirs) if theirs.generation != self.record.generation && self.hint == Hint::None => Hint::Transition,
            Some(_) => self.hint,
            None => Hint::Any,
        }
    }

    /// Returns the version of the record in the fast tier.
    pub(super) const fn version(&self) -> Version<'_> {
        Version { etag: &self.kept.etag, replaced: None, began: self.began }
    }
}

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Copies a record to the durable tier, within a time limit. Returns true if the durable tier has all changes. A
    /// later load repeats a copy that failed.
    pub(super) async fn settle(&self, copy: &Copy, within: Duration) -> bool {
        let settling = async {
            let names = [copy.name.clone()];
            let loaded = self.durable.run("load", durable_limit(), self.durable.store.load_many(&names)).await?;
            self.sync(copy, loaded.entries.into_iter().next().flatten(), loaded.now).await
        };
        self.durable.answers() && matches!(tokio::time::timeout(within, settling).await, Ok(Ok(true)))
    }

    /// Synchronises each record in `copies` with its value in the durable tier. Stops at the time limit `within`.
    pub(super) async fn settle_all(&self, copies: Vec<(Copy, Option<Versioned>)>, now: Timestamp, within: Duration) {
        if within.is_zero() {
            return;
        }
        let began = self.clock.now();
        let each = async {
            for (copy, current) in copies {
                // An operation that is cut off by the time limit counts as a failure of the tier. Therefore no
                // operation begins after half of the time. The next load continues with the other records.
                let is_late = self.clock.now().saturating_since(began) > within / 2;
                if is_late || self.sync(&copy, current, now).await.is_err() {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(within, each).await);
    }

    /// Copies the missing changes of one name between the tiers. `current` is the value of the durable tier. Returns
    /// true if the durable tier has the changes of the fast tier. If the durable tier refuses the record, returns false
    /// and no error, so that the caller continues with other records.
    async fn sync(&self, copy: &Copy, mut current: Option<Versioned>, now: Timestamp) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let theirs = current.as_ref().and_then(|kept| CircuitRecord::decode(&copy.name, &kept.bytes, now).ok());
            let joined = theirs.as_ref().map_or_else(|| copy.record.clone(), |theirs| join(theirs, &copy.record));
            // A record of a later version of the format is never merged, because this crate does not know all of its
            // content. Such a record is only copied to a tier that has no record.
            let strange = theirs.is_some() && !joined.is_writable();
            if strange || theirs.as_ref() == Some(&joined) {
                self.finish_sync(copy, &joined, now, true).await;
                return Ok(!strange);
            }
            let write = if joined == copy.record {
                Ok((copy.kept.bytes.clone(), copy.ttl, copy.hint_beside(theirs.as_ref())))
            } else {
                encode(&joined).map(|bytes| (bytes, ttl(&joined, now), Hint::Any))
            };
            let expected = current.map(|current| current.etag);
            let written = match write {
                Ok((bytes, ttl, hint)) => {
                    let write = Write { name: copy.name.clone(), expected, bytes, ttl, hint };
                    let writing = self.durable.store.compare_and_set(&write);
                    self.durable.run("compare_and_set", durable_limit(), writing).await
                }
                Err(error) => Err(error),
            };
            match written {
                Ok(Written::Applied { .. }) => {
                    self.finish_sync(copy, &joined, now, true).await;
                    return Ok(true);
                }
                Ok(Written::Conflict { current: other, .. }) => current = other,
                Err(error) if error.kind().is_lasting() => {
                    self.finish_sync(copy, &joined, now, false).await;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Completes the synchronisation of a name, and remembers the result. If the fast tier lacks changes of the joined
    /// record, first writes the joined record to the fast tier. `is_durable` is false if the durable tier has refused
    /// the joined record.
    ///
    /// The note is changed only after that write, because a load during the write may read the old record of the fast
    /// tier. If the note already said that the tiers were compared, this load would return the old record without the
    /// changes of the durable tier.
    async fn finish_sync(&self, copy: &Copy, joined: &CircuitRecord, now: Timestamp, is_durable: bool) {
        let Some(etag) = self.complete_fast(copy, joined, now).await else { return };
        let version = Version { etag: &etag, replaced: Some(&copy.kept.etag), began: copy.began };
        let here = self.clock.now();
        self.note(&copy.name, |note| {
            if is_durable {
                note.synced(version, joined, here);
            } else {
                note.refused_by_durable(version, here);
            }
        });
    }

    /// Writes the joined record to the fast tier if the fast tier lacks changes of this record. Returns the etag of the
    /// version that the fast tier then has. Returns `None` if the write has failed, was refused, or was in conflict
    /// with another write. A later load then compares the tiers again. The tier logs a failure of the write.
    async fn complete_fast(&self, copy: &Copy, joined: &CircuitRecord, now: Timestamp) -> Option<Etag> {
        if *joined == copy.record || !joined.is_writable() {
            return Some(copy.kept.etag.clone());
        }
        let written = match encode(joined) {
            Ok(bytes) => {
                let expected = Some(copy.kept.etag.clone());
                let (name, ttl) = (copy.name.clone(), ttl(joined, now));
                let write = Write { name, expected, bytes, ttl, hint: Hint::Any };
                let writing = self.fast.store.compare_and_set(&write);
                self.fast.run("compare_and_set", fast_limit(), writing).await
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(Written::Applied { etag, .. }) => Some(etag),
            Ok(Written::Conflict { .. }) => None,
            Err(error) => {
                self.note_refusal(&copy.name, &error);
                None
            }
        }
    }

    /// Checks if the error is the refusal of one record by the fast tier. If so, remembers the refusal and returns
    /// true, because other records can still be written. Otherwise returns false.
    fn note_refusal(&self, name: &str, error: &StoreError) -> bool {
        let is_refused = error.kind().is_lasting();
        if is_refused {
            self.note(name, |note| note.refused(self.clock.now()));
        }
        is_refused
    }

    /// Copies to the fast tier the records that are only in the durable tier. Ignores failures, because a later load
    /// repeats the copy.
    pub(super) async fn put_back(&self, found: Vec<(&String, Versioned)>, now: Timestamp) {
        let within = limit() / 8;
        let began = self.clock.now();
        let each = async {
            for (name, kept) in found {
                let here = self.clock.now();
                if here.saturating_since(began) > within / 2 {
                    return;
                }
                let Some(copy) = Copy::read(name, &kept, now, here) else { continue };
                if !self.note(name, |note| note.may_try(here)).unwrap_or(true) {
                    continue;
                }
                let Copy { ttl, hint, .. } = copy;
                let write = Write { name: name.clone(), expected: None, bytes: kept.bytes, ttl, hint };
                let writing = self.fast.store.compare_and_set(&write);
                match self.fast.run("compare_and_set", fast_limit(), writing).await {
                    Ok(Written::Applied { etag, .. }) => {
                        let version = Version { etag: &etag, ..copy.version() };
                        self.note(name, |note| note.synced(version, &copy.record, self.clock.now()));
                    }
                    Ok(Written::Conflict { .. }) => {}
                    Err(error) if self.note_refusal(name, &error) => {}
                    Err(_) => return,
                }
            }
        };
        drop(tokio::time::timeout(within, each).await);
    }
}

fn encode(record: &CircuitRecord) -> Result<Vec<u8>, StoreError> {
    record.encode().map_err(|problem| StoreError::refused(problem.to_string()))
}

/// Returns the TTL that a registry with default settings gives to the record.
fn ttl(record: &CircuitRecord, now: Timestamp) -> Option<Duration> {
    let Ttl { open, other } = Ttl::default();
    record.ttl(open, other, now)
}

/// Returns the time limit for an answer of the fast tier. The limit is short, so that a fast tier that hangs leaves
/// enough time for the durable tier.
pub(super) fn fast_limit() -> Duration {
    limit() / 5
}

/// Returns the time limit for an answer of the durable tier. The sum of this limit and the limit of the fast tier is
/// below the limit of the operation.
pub(super) fn durable_limit() -> Duration {
    limit() / 5 * 3
}

/// The number of attempts to write one record. If each attempt ends in a conflict, a later load repeats the
/// synchronisation.
const TRIES: u32 = 4;
