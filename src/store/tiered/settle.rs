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
use crate::store::{Hint, Store, StoreError, Versioned, Write, Written};

/// The record of a name in the fast tier.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) name: String,
    pub(super) record: CircuitRecord,
    pub(super) kept: Versioned,
    /// The time for which a store with expiry must keep the record.
    pub(super) ttl: Option<Duration>,
    /// The hint of the write that made the copy. A copy that was loaded has an unknown content.
    pub(super) hint: Hint,
}

impl Copy {
    /// Decodes a value. Returns `None` if the value is no record.
    pub(super) fn read(name: &str, kept: &Versioned, now: Timestamp) -> Option<Self> {
        let record = CircuitRecord::decode(name, &kept.bytes, now).ok()?;
        let ttl = ttl(&record, now);
        Some(Self { name: name.to_owned(), record, kept: kept.clone(), ttl, hint: Hint::Any })
    }
}

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Synchronises these names in both tiers, within a time limit. Returns true if the durable tier has all changes. A
    /// later load repeats a synchronisation that failed, because the note keeps the synchronisation due.
    pub(super) async fn settle(&self, copies: &[Copy], within: Duration) -> bool {
        if copies.is_empty() {
            return true;
        }
        self.durable.answers() && matches!(tokio::time::timeout(within, self.settle_all(copies)).await, Ok(Ok(true)))
    }

    async fn settle_all(&self, copies: &[Copy]) -> Result<bool, StoreError> {
        let names: Vec<_> = copies.iter().map(|copy| copy.name.clone()).collect();
        let loaded = self.durable.run("load", durable_limit(), self.durable.store.load_many(&names)).await?;
        let mut is_durable = true;
        for (copy, current) in copies.iter().zip(loaded.entries) {
            is_durable &= match self.sync(copy, current, loaded.now).await {
                // A record that the tier refuses does not hold up the other records.
                Err(error) if error.kind().is_lasting() => false,
                synced => synced?,
            };
        }
        Ok(is_durable)
    }

    /// Synchronises one name. `current` is the value of the durable tier. Returns true if the durable tier has the changes
    /// of the fast tier.
    async fn sync(&self, copy: &Copy, mut current: Option<Versioned>, now: Timestamp) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let theirs = current.as_ref().and_then(|kept| CircuitRecord::decode(&copy.name, &kept.bytes, now).ok());
            let joined = theirs.as_ref().map_or_else(|| copy.record.clone(), |theirs| join(theirs, &copy.record));
            // A record of a later version of this crate is never merged, because this release does not know all of its
            // content. Such a record is only copied to a tier that has no record.
            let strange = theirs.is_some() && !joined.is_writable();
            if strange || theirs.as_ref() == Some(&joined) {
                self.finish_sync(copy, &joined, now).await;
                return Ok(!strange);
            }
            let (bytes, ttl, hint) = if joined == copy.record {
                (copy.kept.bytes.clone(), copy.ttl, copy.hint)
            } else {
                (encode(&joined)?, ttl(&joined, now), Hint::Any)
            };
            let expected = current.map(|current| current.etag);
            let write = Write { name: copy.name.clone(), expected, bytes, ttl, hint };
            let writing = self.durable.store.compare_and_set(&write);
            match self.durable.run("compare_and_set", durable_limit(), writing).await? {
                Written::Applied { .. } => {
                    self.finish_sync(copy, &joined, now).await;
                    return Ok(true);
                }
                Written::Conflict { current: other, .. } => current = other,
            }
        }
        Ok(false)
    }

    /// Ends the synchronisation of a name whose joined record is in the durable tier. Writes the joined record to the
    /// fast tier if the fast tier lacks some of its changes.
    ///
    /// The tiers count as compared only after that write, because a load at the same time may read the old content of the
    /// fast tier.
    async fn finish_sync(&self, copy: &Copy, joined: &CircuitRecord, now: Timestamp) {
        if *joined != copy.record
            && joined.is_writable()
            && let Ok(bytes) = encode(joined)
        {
            let expected = Some(copy.kept.etag.clone());
            let (name, ttl) = (copy.name.clone(), ttl(joined, now));
            let write = Write { name, expected, bytes, ttl, hint: Hint::Any };
            let writing = self.fast.store.compare_and_set(&write);
            // If another writer was faster, or if the fast tier fails, the comparison stays due, and the next load repeats
            // it. The tier logs its failure.
            let Ok(Written::Applied { etag, .. }) = self.fast.run("compare_and_set", fast_limit(), writing).await
            else {
                return;
            };
            self.note(&copy.name, |note| note.seen = Some(etag));
        }
        self.note(&copy.name, |note| note.synced(joined, self.clock.now()));
    }

    /// Copies records to the fast tier that only the durable tier has. A failure is ignored, because the next load
    /// repeats the copy.
    pub(super) async fn put_back(&self, found: &[(String, Versioned)], now: Timestamp) {
        let each = async {
            for (name, kept) in found {
                let Some(copy) = Copy::read(name, kept, now) else { continue };
                let Copy { ttl, hint, .. } = copy;
                let write = Write { name: name.clone(), expected: None, bytes: kept.bytes.clone(), ttl, hint };
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
