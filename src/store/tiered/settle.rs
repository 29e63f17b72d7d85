//! The synchronisation of the tiers, in which each tier gets the changes that only the other tier has.
//!
//! Both copies are merged by `join`. Therefore it does not matter which tier is newer, and a repetition after a failure
//! is harmless.

use std::time::Duration;

use super::Tiers;
use crate::clock::Clock;
use crate::keep::Ttl;
use crate::record::{CircuitRecord, Timestamp, join};
use crate::store::limit::limit;
use crate::store::{Store, StoreError, Versioned, Write, Written};

/// The record of a name in the fast tier.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) name: String,
    pub(super) record: CircuitRecord,
    pub(super) kept: Versioned,
    /// The time for which a store with expiry must keep the record.
    pub(super) ttl: Option<Duration>,
}

impl Copy {
    /// Decodes a value. Returns `None` if the value is no record.
    pub(super) fn read(name: &str, kept: &Versioned, now: Timestamp) -> Option<Self> {
        let record = CircuitRecord::decode(name, &kept.bytes, now).ok()?;
        let ttl = ttl(&record, now);
        Some(Self { name: name.to_owned(), record, kept: kept.clone(), ttl })
    }
}

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Synchronises these names in both tiers, within a time limit. A later load repeats a synchronisation that failed.
    pub(super) async fn settle(&self, copies: &[Copy], within: Duration) {
        if copies.is_empty() || !self.durable.answers() {
            return;
        }
        // The result is not needed, because the tier has logged a failure and the note keeps the synchronisation due.
        drop(tokio::time::timeout(within, self.settle_all(copies)).await);
    }

    async fn settle_all(&self, copies: &[Copy]) -> Result<(), StoreError> {
        let names: Vec<_> = copies.iter().map(|copy| copy.name.clone()).collect();
        let loaded = self.durable.run("load", durable_limit(), self.durable.store.load_many(&names)).await?;
        for (copy, current) in copies.iter().zip(loaded.entries) {
            match self.sync(copy, current, loaded.now).await {
                // A record that the tier refuses does not hold up the other records.
                Err(error) if error.kind().is_lasting() => {}
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Synchronises one name. `current` is the value of the durable tier.
    async fn sync(&self, copy: &Copy, mut current: Option<Versioned>, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let theirs = current.as_ref().and_then(|kept| CircuitRecord::decode(&copy.name, &kept.bytes, now).ok());
            let joined = theirs.as_ref().map_or_else(|| copy.record.clone(), |theirs| join(theirs, &copy.record));
            // A record of a later version of this crate is never merged, because this release does not know all of its
            // content. Such a record is only copied to a tier that has no record.
            let strange = theirs.is_some() && !joined.is_writable();
            if strange || theirs.as_ref() == Some(&joined) {
                return self.finish_sync(copy, &joined, now).await;
            }
            let (bytes, ttl) = if joined == copy.record {
                (copy.kept.bytes.clone(), copy.ttl)
            } else {
                (encode(&joined)?, ttl(&joined, now))
            };
            let expected = current.map(|current| current.etag);
            let write = Write { name: copy.name.clone(), expected, bytes, ttl };
            let writing = self.durable.store.compare_and_set(&write);
            match self.durable.run("compare_and_set", durable_limit(), writing).await? {
                Written::Applied { .. } => return self.finish_sync(copy, &joined, now).await,
                Written::Conflict { current: other, .. } => current = other,
            }
        }
        Ok(())
    }

    /// Ends the synchronisation of a name whose joined record is in the durable tier. Writes the joined record to the
    /// fast tier if the fast tier lacks some of its changes.
    async fn finish_sync(&self, copy: &Copy, joined: &CircuitRecord, now: Timestamp) -> Result<(), StoreError> {
        self.note(&copy.name, |note| note.synced(joined, self.clock.now()));
        if *joined == copy.record || !joined.is_writable() {
            return Ok(());
        }
        let expected = Some(copy.kept.etag.clone());
        let write = Write { name: copy.name.clone(), expected, bytes: encode(joined)?, ttl: ttl(joined, now) };
        // If another writer was faster, this write conflicts. The next load finds the new version and checks it.
        self.fast.run("compare_and_set", fast_limit(), self.fast.store.compare_and_set(&write)).await.map(drop)
    }

    /// Copies records to the fast tier that only the durable tier has. A failure is ignored, because the next load
    /// repeats the copy.
    pub(super) async fn put_back(&self, found: &[(String, Versioned)], now: Timestamp) {
        let each = async {
            for (name, kept) in found {
                let Some(copy) = Copy::read(name, kept, now) else { continue };
                let write = Write { name: name.clone(), expected: None, bytes: kept.bytes.clone(), ttl: copy.ttl };
                let writing = self.fast.store.compare_and_set(&write);
                let Ok(written) = self.fast.run("compare_and_set", fast_limit(), writing).await else { return };
                if let Written::Applied { etag, .. } = written {
                    let now = self.clock.now();
                    self.note(name, |note| {
                        note.seen = Some(etag);
                        note.synced(&copy.record, now);
                    });
                }
            }
        };
        drop(tokio::time::timeout(limit() / 8, each).await);
    }
}

fn encode(record: &CircuitRecord) -> Result<Vec<u8>, StoreError> {
    record.encode().map_err(|problem| StoreError::refused(problem.to_string()))
}

/// Returns the TTL of a record, by the default TTLs of a registry.
fn ttl(record: &CircuitRecord, now: Timestamp) -> Option<Duration> {
    let Ttl { open, other } = Ttl::default();
    record.ttl(open, other, now)
}

/// Returns the limit of an answer of the fast tier. The limit is short, so that a fast tier that hangs leaves enough time
/// for the durable tier.
pub(super) fn fast_limit() -> Duration {
    limit() / 5
}

/// Returns the limit of an answer of the durable tier. Both tiers must answer within the limit of the operation.
pub(super) fn durable_limit() -> Duration {
    limit() / 5 * 3
}

/// The number of attempts to write a name. If all of them conflict, a later load repeats the synchronisation.
const TRIES: u32 = 4;
