//! Bringing the tiers level: each gets what the other has.

use std::time::Duration;

use super::Tiers;
use crate::clock::Clock;
use crate::keep::{STORE_TIMEOUT, Ttl};
use crate::record::{CircuitRecord, Timestamp, join};
use crate::store::{Store, StoreError, Versioned, Write, Written};

/// What the fast tier has under a name.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) name: String,
    pub(super) record: CircuitRecord,
    pub(super) kept: Versioned,
    /// How long it is to be remembered.
    pub(super) ttl: Option<Duration>,
}

impl Copy {
    /// Reads it; `None` if it is no record.
    pub(super) fn read(name: &str, kept: &Versioned, now: Timestamp) -> Option<Self> {
        let record = CircuitRecord::decode(name, &kept.bytes, now).ok()?;
        let ttl = ttl(&record, now);
        Some(Self { name: name.to_owned(), record, kept: kept.clone(), ttl })
    }
}

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Brings both tiers level in these names, within that time. What fails is made up for at a later load.
    pub(super) async fn settle(&self, copies: &[Copy], within: Duration) {
        if copies.is_empty() || !self.durable.answers() {
            return;
        }
        // What went wrong was told by the tier, and is still due.
        drop(tokio::time::timeout(within, self.settle_all(copies)).await);
    }

    async fn settle_all(&self, copies: &[Copy]) -> Result<(), StoreError> {
        let names: Vec<_> = copies.iter().map(|copy| copy.name.clone()).collect();
        let loaded = self.durable.ask("load", DURABLE_LIMIT, self.durable.store.load_many(&names)).await?;
        for (copy, current) in copies.iter().zip(loaded.entries) {
            self.level(copy, current, loaded.now).await?;
        }
        Ok(())
    }

    async fn level(&self, copy: &Copy, mut current: Option<Versioned>, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let theirs = current.as_ref().and_then(|kept| CircuitRecord::decode(&copy.name, &kept.bytes, now).ok());
            let joined = theirs.as_ref().map_or_else(|| copy.record.clone(), |theirs| join(theirs, &copy.record));
            // One of a later version is copied as it is, but never changed.
            let strange = theirs.is_some() && !joined.is_writable();
            if strange || theirs.as_ref() == Some(&joined) {
                return self.is_level(copy, &joined, now).await;
            }
            let (bytes, ttl) = if joined == copy.record {
                (copy.kept.bytes.clone(), copy.ttl)
            } else {
                (encode(&joined)?, ttl(&joined, now))
            };
            let expected = current.map(|current| current.etag);
            let write = Write { name: copy.name.clone(), expected, bytes, ttl };
            let writing = self.durable.store.compare_and_set(&write);
            match self.durable.ask("compare_and_set", DURABLE_LIMIT, writing).await? {
                Written::Applied { .. } => return self.is_level(copy, &joined, now).await,
                Written::Conflict { current: other, .. } => current = other,
            }
        }
        Ok(())
    }

    /// The durable tier has it all; the fast one gets what it lacks.
    async fn is_level(&self, copy: &Copy, joined: &CircuitRecord, now: Timestamp) -> Result<(), StoreError> {
        self.note(&copy.name, |note| note.is_level(joined, self.clock.now()));
        if *joined == copy.record || !joined.is_writable() {
            return Ok(());
        }
        let expected = Some(copy.kept.etag.clone());
        let write = Write { name: copy.name.clone(), expected, bytes: encode(joined)?, ttl: ttl(joined, now) };
        // Should another have written meanwhile, its version is new, and will be looked at.
        self.fast.ask("compare_and_set", FAST_LIMIT, self.fast.store.compare_and_set(&write)).await.map(drop)
    }

    /// Gives the fast tier what only the durable one has. A failure of that is nobody's concern: it will be asked for again.
    pub(super) async fn put_back(&self, found: &[(String, Versioned)], now: Timestamp) {
        let each = async {
            for (name, kept) in found {
                let Some(copy) = Copy::read(name, kept, now) else { continue };
                let write = Write { name: name.clone(), expected: None, bytes: kept.bytes.clone(), ttl: copy.ttl };
                let writing = self.fast.store.compare_and_set(&write);
                let Ok(written) = self.fast.ask("compare_and_set", FAST_LIMIT, writing).await else { return };
                if let Written::Applied { etag, .. } = written {
                    let now = self.clock.now();
                    self.note(name, |note| {
                        note.seen = Some(etag);
                        note.is_level(&copy.record, now);
                    });
                }
            }
        };
        drop(tokio::time::timeout(PUT_BACK_LIMIT, each).await);
    }
}

fn encode(record: &CircuitRecord) -> Result<Vec<u8>, StoreError> {
    record.encode().map_err(|problem| StoreError::refused(problem.to_string()))
}

/// Returns how long a store that forgets must remember it, by the defaults of a registry.
fn ttl(record: &CircuitRecord, now: Timestamp) -> Option<Duration> {
    let Ttl { open, other } = Ttl::default();
    record.ttl(open, other, now)
}

/// How long the fast tier may take for an answer: one that hangs must leave the durable one its time.
pub(super) const FAST_LIMIT: Duration = Duration::from_millis(400);
/// How long the durable tier may take.
pub(super) const DURABLE_LIMIT: Duration = Duration::from_millis(1_200);
// Both tiers must answer within the time that a registry allows.
const _: () = assert!(FAST_LIMIT.saturating_add(DURABLE_LIMIT).as_millis() < STORE_TIMEOUT.as_millis());
const PUT_BACK_LIMIT: Duration = Duration::from_millis(250);
/// A name that others write all the time is left to them.
const TRIES: u32 = 4;
