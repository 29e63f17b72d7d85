//! A store of two tiers, which puts a fast store in front of a durable one, such as Redis in front of SQL.
//!
//! While the fast tier answers, the fast tier accepts or rejects each write. The durable tier gets transitions, acts of
//! operators and states of instances at once, and gets counts once a minute. The store reads the durable tier only for
//! records that the fast tier lacks, and to compare the tiers. Therefore the durable tier has little work. The store
//! has no task and no queue. For each circuit name, a note says which changes the durable tier may still lack. The
//! regular loads of a registry copy these changes.

mod members;
mod notes;
mod read;
mod settle;
mod tier;

use std::sync::Arc;
use std::time::Duration;

use super::time_limit::limit;
use super::watch::Part;
use super::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, Watch, Write, Written, check_length};
use crate::clock::{Clock, TokioClock};
use crate::pattern::is_reserved;
use crate::record::Timestamp;
use crate::sync::Mutex;
use notes::{Note, Notes};
use settle::{Copy, durable_limit, fast_limit};
use tier::{CACHED, DURABLE, FAST, Rank, Tier, is_cached, of_durable, of_fast, tag, tagged, untagged};

/// Keeps records in a fast store, and copies their changes to a durable store. Clones share both stores.
///
/// | when | then |
/// |---|---|
/// | both tiers answer | the fast tier decides; transitions, acts of operators and states of instances are in both tiers before a write is answered; counts reach the durable tier once a minute for each name |
/// | the fast tier fails or hangs | one warning a minute; the durable tier decides, after a fifth of the store timeout at most (400 ms); in the pause of 1 to 30 s that follows, the durable tier decides at once |
/// | the fast tier lost its data | the durable tier answers for the missing names, and the fast tier gets their records back |
/// | the durable tier fails | one error a minute; the fast tier decides; a later load copies the missing changes |
/// | the fast tier has no record at all and the durable tier fails | an error, until the durable tier has answered once, because the fast tier may have lost its records |
/// | both tiers fail | an error, and circuits go on in memory |
/// | a tier refuses a record | the other tier has it; the record is offered again at its next write, and every 20 s |
/// | a process dies between its writes to the two tiers | another process that loads the record compares the tiers 20 s later |
///
/// A comparison of the tiers merges their records, so that the changes of both tiers are kept. The tiers are also
/// compared at the first load of each name after a start of the process, because the fast tier may have returned with
/// old data. A name that neither tier has is looked up in the durable tier once a minute. While the fast tier answers,
/// other loads do not read the durable tier.
///
/// Two things are not promised. The counts of the last minute are lost if the fast tier loses its data while every
/// instance restarts. Instances that reach different tiers agree only after they reach the same tier again, or after a
/// watch reports the change.
///
/// The audit is in the durable tier only, and the members of fleets are in the fast tier only. The time in an answer is
/// from the clock of the tier that answered. `delete` needs both tiers, and `list` needs the durable tier.
///
/// # Cancel safety
///
/// If the future of a write is dropped after its change to the fast tier, a later load copies the change to the durable
/// tier. If the future of a `delete` is dropped between the deletions in the two tiers, only the durable record is
/// deleted. The fast tier still has the record, so repeat the `delete`.
///
/// # Examples
///
/// ```
/// use tower_circuit_breaker::Registry;
/// use tower_circuit_breaker::store::{MemoryStore, TieredStore};
///
/// // In production: `TieredStore::new(RedisStore::…, PostgresStore::…)`.
/// let store = TieredStore::new(MemoryStore::new(), MemoryStore::new());
/// let registry = Registry::builder().store(store).build()?;
/// # drop(registry);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TieredStore<Fast, Durable> {
    shared: Arc<Tiers<Fast, Durable>>,
}

#[derive(Debug)]
struct Tiers<Fast, Durable> {
    fast: Tier<Fast>,
    durable: Tier<Durable>,
    clock: TokioClock,
    notes: Mutex<Notes>,
}

impl<Fast: Store, Durable: Store> TieredStore<Fast, Durable> {
    /// Creates the store of these two tiers.
    #[must_use]
    pub fn new(fast: Fast, durable: Durable) -> Self {
        let clock = TokioClock::new();
        let (fast, durable) = (Tier::new(fast, Rank::Cache, clock), Tier::new(durable, Rank::Durable, clock));
        Self { shared: Arc::new(Tiers { fast, durable, clock, notes: Mutex::default() }) }
    }
}

impl<Fast, Durable> Clone for TieredStore<Fast, Durable> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Applies a function to the note on a name, and returns the result. The note has the known content of the two
    /// tiers. Returns `None` if the name has no note and there is no room for another note.
    fn note<T>(&self, name: &str, note: impl FnOnce(&mut Note) -> T) -> Option<T> {
        self.notes.lock().on(name).map(note)
    }

    /// Copies a write from the fast tier to the durable tier, unless the change can wait. Returns false only if this
    /// copy has failed.
    async fn applied(&self, write: &Write, etag: &Etag, now: Timestamp) -> bool {
        let value = Versioned { bytes: write.bytes.clone(), etag: etag.clone() };
        let here = self.clock.now();
        let Some(mut copy) = Copy::read(&write.name, &value, now, here) else { return true };
        (copy.ttl, copy.hint) = (write.ttl, write.hint);
        let must_settle = self.note(&write.name, |note| note.wrote(etag, &copy.record, here)).unwrap_or(true);
        !must_settle || self.settle(&copy, durable_limit()).await
    }

    /// Writes to the durable tier in place of the fast tier, which does not answer.
    async fn write_durable(&self, write: &Write) -> Result<Written, StoreError> {
        let expected = match write.expected.as_ref().map(untagged) {
            Some((FAST, _)) => {
                // The etag belongs to the fast tier, so the writer has not seen the record in the durable tier.
                // Therefore the result is a conflict with the durable record.
                let (current, now) = self.load_one(&write.name).await?;
                return Ok(Written::Conflict { current: current.map(|current| tagged(DURABLE, current)), now });
            }
            Some((_, etag)) => Some(etag),
            None => None,
        };
        let write = Write { expected, ..write.clone() };
        let writing = self.durable.store.compare_and_set(&write);
        Ok(match self.durable.run("compare_and_set", durable_limit(), writing).await? {
            Written::Applied { etag, now } => {
                let here = self.clock.now();
                self.note(&write.name, |note| note.wrote_durable(here));
                Written::Applied { etag: tag(DURABLE, &etag), now }
            }
            Written::Conflict { current, now } => {
                Written::Conflict { current: current.map(|current| tagged(DURABLE, current)), now }
            }
        })
    }
}

impl<Fast: Store, Durable: Store> Store for TieredStore<Fast, Durable> {
    fn kind(&self) -> &'static str {
        "tiered"
    }

    fn origin(&self, etag: &Etag) -> &'static str {
        let Tiers { fast, durable, .. } = &*self.shared;
        match untagged(etag) {
            (DURABLE, etag) => durable.store.origin(&etag),
            (_, etag) => fast.store.origin(&etag),
        }
    }

    fn tiers(&self) -> Option<[&'static str; 2]> {
        Some([self.shared.fast.kind(), self.shared.durable.kind()])
    }

    fn lacking(&self, etag: &Etag) -> Option<&'static str> {
        is_cached(etag).then(|| self.shared.durable.kind())
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let shared = &*self.shared;
        if !names.is_empty() && names.iter().all(|name| is_reserved(name)) {
            return shared.load_members(names).await;
        }
        let began = shared.clock.now();
        let tried = shared.fast.answers();
        if tried && let Ok(loaded) = shared.fast.run("load", fast_limit(), shared.fast.store.load_many(names)).await {
            return shared.complete(names, loaded, began).await;
        }
        match shared.durable.run("load", durable_limit(), shared.durable.store.load_many(names)).await {
            Ok(loaded) => Ok(all_tagged(loaded)),
            Err(error) if tried => Err(error),
            // The fast tier was not tried, because it was in its pause after a failure. The durable tier has failed
            // too, so the fast tier is tried now.
            Err(error) => {
                let answer = shared.fast.run("load", fast_limit(), shared.fast.store.load_many(names)).await;
                let loaded = answer.map_err(|_| error)?;
                shared.complete(names, loaded, began).await
            }
        }
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        check_length(write)?;
        let shared = &*self.shared;
        if is_reserved(&write.name) {
            return shared.write_members(write).await;
        }
        if !shared.fast.answers() {
            return shared.write_durable(write).await;
        }
        // If the etag belongs to the durable tier, the writer's load found no value in the fast tier, or did not reach
        // the fast tier. The writer then knows no version of the fast tier, so this write expects no value in the fast
        // tier, and conflicts with any value.
        let expected = write.expected.as_ref().map(untagged);
        let expected = expected.filter(|(tier, _)| *tier == FAST).map(|(_, etag)| etag);
        let inner = Write { expected, ..write.clone() };
        match shared.fast.run("compare_and_set", fast_limit(), shared.fast.store.compare_and_set(&inner)).await {
            Ok(Written::Applied { etag, now }) => {
                let tier = if shared.applied(write, &etag, now).await { FAST } else { CACHED };
                Ok(Written::Applied { etag: tag(tier, &etag), now })
            }
            Ok(Written::Conflict { current: Some(current), now }) => {
                Ok(Written::Conflict { current: Some(tagged(FAST, current)), now })
            }
            Ok(Written::Conflict { current: None, now }) => {
                // The fast tier has lost the record, and the durable tier may still have it.
                let found = if shared.durable.answers() { shared.load_one(&write.name).await.ok() } else { None };
                let current = found.and_then(|(current, _)| current).map(|current| tagged(DURABLE, current));
                Ok(Written::Conflict { current, now })
            }
            Err(_) => shared.write_durable(write).await,
        }
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let Tiers { fast, durable, notes, .. } = &*self.shared;
        let names = [name.to_owned()];
        let loaded = fast.run("load", fast_limit(), fast.store.load_many(&names)).await?;
        let fast_has = loaded.entries.into_iter().next().flatten();
        let (durable_has, _) = self.shared.load_one(name).await?;
        let same = match untagged(etag) {
            (FAST, etag) => fast_has.as_ref().is_some_and(|kept| kept.etag == etag),
            // The etag belongs to the durable tier. Since the caller's load, the durable record may have been copied to
            // the fast tier. If the fast tier has a record, the records are deleted only if this record has the same
            // bytes as the durable record.
            (_, etag) => {
                durable_has.as_ref().is_some_and(|kept| kept.etag == etag)
                    && fast_has
                        .as_ref()
                        .is_none_or(|fast| durable_has.as_ref().is_some_and(|kept| kept.bytes == fast.bytes))
            }
        };
        if !same {
            return Ok(false);
        }
        let mut deleted = true;
        // The record in the fast tier is deleted last. If this deletion fails, loads still find the record, and the
        // caller can repeat the `delete`.
        if let Some(kept) = durable_has {
            deleted = durable.run("delete", durable_limit(), durable.store.delete(name, &kept.etag)).await?;
        }
        if let Some(kept) = fast_has.filter(|_| deleted) {
            deleted = fast.run("delete", fast_limit(), fast.store.delete(name, &kept.etag)).await?;
        }
        // The fast tier can still have a record, because another process may have changed the record before the
        // deletion. Therefore the note is removed. The next load then finds no note of an earlier comparison, and
        // compares the tiers.
        notes.lock().forget(name);
        Ok(deleted)
    }

    async fn unwritten_since(&self, before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        let Tiers { durable, .. } = &*self.shared;
        durable.run("list", limit(), durable.store.unwritten_since(before, after)).await
    }

    async fn load_unwritten(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let Tiers { durable, .. } = &*self.shared;
        durable.run("load", limit(), durable.store.load_many(names)).await.map(all_tagged)
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let Tiers { fast, durable, .. } = &*self.shared;
        let fast = async {
            if fast.answers() {
                fast.run("list", fast_limit(), fast.store.list()).await.unwrap_or_default()
            } else {
                Vec::new()
            }
        };
        let (some, all) = tokio::join!(fast, durable.run("list", limit(), durable.store.list()));
        let mut names = all?;
        names.extend(some);
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        let Tiers { fast, durable, .. } = &*self.shared;
        let (fast, durable) = tokio::join!(
            fast.run("watch", fast_limit(), fast.store.watch()),
            durable.run("watch", durable_limit(), durable.store.watch())
        );
        // If the watch of one tier could not begin, the merged watch ends after a while. The coordinator then begins to
        // watch the two tiers again.
        let ends = (fast.is_err() || durable.is_err()).then_some(WATCH_AGAIN);
        let (fast, durable) = match (fast, durable) {
            (Err(_), Err(error)) | (Err(error), Ok(None)) | (Ok(None), Err(error)) => return Err(error),
            (fast, durable) => (fast.ok().flatten(), durable.ok().flatten()),
        };
        let fast = fast.map(|watch| Part { watch, translate: of_fast });
        let durable = durable.map(|watch| Part { watch, translate: of_durable });
        let parts: Vec<_> = fast.into_iter().chain(durable).collect();
        Ok((!parts.is_empty()).then(|| Watch::merged(parts, ends)))
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let durable = &self.shared.durable;
        durable.run("append_audit", limit(), durable.store.append_audit(rows)).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        let durable = &self.shared.durable;
        durable.run("trim_audit", limit(), durable.store.trim_audit(before)).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let durable = &self.shared.durable;
        durable.run("audit", limit(), durable.store.audit(filter)).await
    }
}

/// Marks each etag in an answer of the durable tier as an etag of this tier.
fn all_tagged(mut loaded: Loaded) -> Loaded {
    loaded.entries = loaded.entries.into_iter().map(|entry| Some(tagged(DURABLE, entry?))).collect();
    loaded
}

/// The time after which a watch of only one tier ends, so that the coordinator tries again to watch the two tiers.
const WATCH_AGAIN: Duration = Duration::from_secs(30);
