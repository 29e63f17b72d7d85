//! A fast store in front of a durable one: Redis in front of SQL.
//!
//! The fast tier is the authority while it answers, and then the durable one costs nothing: it is written when something is
//! settled, and read for what the fast one lacks. There is no task and no queue behind it. What the durable tier still lacks
//! is noted by name, and made up for inside the loads that a registry makes anyway.

mod notes;
mod read;
mod settle;
mod tier;

use std::sync::Arc;
use std::time::Duration;

use super::watch::Part;
use super::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, Watch, Write, Written, check_length};
use crate::clock::{Clock, TokioClock};
use crate::record::Timestamp;
use crate::sync::Mutex;
use notes::{Note, Notes};
use settle::{Copy, DURABLE_LIMIT, FAST_LIMIT};
use tier::{DURABLE, FAST, Rank, Tier, of_durable, of_fast, tag, tagged, untagged};

/// Keeps records in a fast store, and what is settled in a durable one too. Clones are the same one.
///
/// | when | then |
/// |---|---|
/// | both answer | the fast tier decides; transitions, acts of operators and states of instances are in both before a write is answered; counts reach the durable tier once a minute for each name |
/// | the fast tier fails or hangs | one warning a minute; the durable tier decides, at most 400 ms later, and at once for the next 1 to 30 s |
/// | the fast tier lost its data | the durable tier answers for what is missing, and the fast one gets it back |
/// | the durable tier fails | one error a minute; the fast tier decides; what the durable one lacks is made up for at a later load |
/// | the fast tier has nothing at all and the durable one fails | an error, until the durable tier was heard once: nothing at all is no information |
/// | both fail | an error: circuits go on in memory |
/// | a process dies between the tiers | whoever else sees what it wrote compares the tiers 20 s later |
///
/// The tiers are compared by [`join`](crate::record::join), so it does not matter which has what. They are compared for a name
/// once after a start too, 20 s after its first load: a fast tier that came back with old data gets what is newer.
/// A name that neither tier has is looked for in the durable one once a minute. Otherwise the durable tier is not read.
///
/// What is not promised: counts of the last minute, if the fast tier loses its data while every instance restarts; and that
/// instances of which some reach only one tier agree before they reach the same one, or hear of it by a watch.
///
/// The audit is in the durable tier only. A time is that of the tier that answered. `delete` needs both tiers, `list` the
/// durable one.
///
/// # Cancel safety
///
/// A write that is dropped between the tiers is in the fast one; the durable one gets it as if it had failed. A `delete` that
/// is dropped between the tiers has deleted from the durable one only, and then has deleted nothing: delete again.
///
/// # Examples
///
/// ```
/// use tower_circuit_breaker::Registry;
/// use tower_circuit_breaker::store::{MemoryStore, TieredStore};
///
/// // In earnest: `TieredStore::new(RedisStore::…, PostgresStore::…)`.
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
    /// Returns the store of these two.
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
    fn note<T>(&self, name: &str, note: impl FnOnce(&mut Note) -> T) -> Option<T> {
        self.notes.lock().on(name).map(note)
    }

    /// The fast tier has made that write: what is settled by it goes to the durable one too.
    async fn applied(&self, write: &Write, etag: &Etag, now: Timestamp) {
        let kept = Versioned { bytes: write.bytes.clone(), etag: etag.clone() };
        let Some(mut copy) = Copy::read(&write.name, &kept, now) else { return };
        copy.ttl = write.ttl;
        let here = self.clock.now();
        if self.note(&write.name, |note| note.wrote(etag, &copy.record, here)).unwrap_or(true) {
            self.settle(&[copy], DURABLE_LIMIT).await;
        }
    }

    async fn write_durable(&self, write: &Write) -> Result<Written, StoreError> {
        let expected = match write.expected.as_ref().map(untagged) {
            Some((FAST, _)) => {
                // The writer has not seen what is here.
                let (current, now) = self.load_one(&write.name).await?;
                return Ok(Written::Conflict { current: current.map(|current| tagged(DURABLE, current)), now });
            }
            Some((_, etag)) => Some(etag),
            None => None,
        };
        let write = Write { expected, ..write.clone() };
        let writing = self.durable.store.compare_and_set(&write);
        Ok(match self.durable.ask("compare_and_set", DURABLE_LIMIT, writing).await? {
            Written::Applied { etag, now } => {
                // When the fast tier answers again, it is compared with this.
                self.note(&write.name, |note| note.seen = None);
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

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let shared = &*self.shared;
        let began = shared.clock.now();
        let asked = shared.fast.answers();
        if asked && let Ok(loaded) = shared.fast.ask("load", FAST_LIMIT, shared.fast.store.load_many(names)).await {
            return shared.complete(names, loaded, began).await;
        }
        match shared.durable.ask("load", DURABLE_LIMIT, shared.durable.store.load_many(names)).await {
            Ok(mut loaded) => {
                loaded.entries = loaded.entries.into_iter().map(|entry| Some(tagged(DURABLE, entry?))).collect();
                Ok(loaded)
            }
            Err(error) if asked => Err(error),
            // It was left alone because the other one would answer.
            Err(error) => {
                let answer = shared.fast.ask("load", FAST_LIMIT, shared.fast.store.load_many(names)).await;
                let loaded = answer.map_err(|_| error)?;
                shared.complete(names, loaded, began).await
            }
        }
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        check_length(write)?;
        let shared = &*self.shared;
        if !shared.fast.answers() {
            return shared.write_durable(write).await;
        }
        // Who has an etag of the durable tier found nothing in the fast one, or has not seen it.
        let expected = write.expected.as_ref().map(untagged);
        let expected = expected.filter(|(tier, _)| *tier == FAST).map(|(_, etag)| etag);
        let inner = Write { expected, ..write.clone() };
        match shared.fast.ask("compare_and_set", FAST_LIMIT, shared.fast.store.compare_and_set(&inner)).await {
            Ok(Written::Applied { etag, now }) => {
                shared.applied(write, &etag, now).await;
                Ok(Written::Applied { etag: tag(FAST, &etag), now })
            }
            Ok(Written::Conflict { current: Some(current), now }) => {
                Ok(Written::Conflict { current: Some(tagged(FAST, current)), now })
            }
            Ok(Written::Conflict { current: None, now }) => {
                // It was lost there; the durable tier knows what it was.
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
        let loaded = fast.ask("load", FAST_LIMIT, fast.store.load_many(&names)).await?;
        let fast_has = loaded.entries.into_iter().next().flatten();
        let (durable_has, _) = self.shared.load_one(name).await?;
        let same = match untagged(etag) {
            (FAST, etag) => fast_has.as_ref().is_some_and(|kept| kept.etag == etag),
            // It may have been put back into the fast tier since.
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
        // The fast tier last: as long as it has it, nothing is deleted.
        if let Some(kept) = durable_has {
            deleted = durable.ask("delete", DURABLE_LIMIT, durable.store.delete(name, &kept.etag)).await?;
        }
        if let Some(kept) = fast_has.filter(|_| deleted) {
            deleted = fast.ask("delete", FAST_LIMIT, fast.store.delete(name, &kept.etag)).await?;
        }
        // Should it be there still, it is compared again.
        notes.lock().forget(name);
        Ok(deleted)
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let Tiers { fast, durable, .. } = &*self.shared;
        let fast = async {
            if fast.answers() {
                fast.ask("list", FAST_LIMIT, fast.store.list()).await.unwrap_or_default()
            } else {
                Vec::new()
            }
        };
        let (some, all) = tokio::join!(fast, durable.ask("list", LIST_LIMIT, durable.store.list()));
        let mut names = all?;
        names.extend(some);
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        let Tiers { fast, durable, .. } = &*self.shared;
        let (fast, durable) = tokio::join!(
            fast.ask("watch", FAST_LIMIT, fast.store.watch()),
            durable.ask("watch", DURABLE_LIMIT, durable.store.watch())
        );
        // One that could watch but not now is tried again later: the watch ends for that.
        let ends = (fast.is_err() || durable.is_err()).then_some(WATCH_AGAIN);
        let (fast, durable) = match (fast, durable) {
            (Err(_), Err(error)) | (Err(error), Ok(None)) | (Ok(None), Err(error)) => return Err(error),
            (fast, durable) => (fast.ok().flatten(), durable.ok().flatten()),
        };
        let fast = fast.map(|watch| Part { watch, of: of_fast });
        let durable = durable.map(|watch| Part { watch, of: of_durable });
        let parts: Vec<_> = fast.into_iter().chain(durable).collect();
        Ok((!parts.is_empty()).then(|| Watch::merged(parts, ends)))
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let durable = &self.shared.durable;
        durable.ask("append_audit", LIST_LIMIT, durable.store.append_audit(rows)).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        let durable = &self.shared.durable;
        durable.ask("trim_audit", LIST_LIMIT, durable.store.trim_audit(before)).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let durable = &self.shared.durable;
        durable.ask("audit", LIST_LIMIT, durable.store.audit(filter)).await
    }
}

/// What a person, or a batch of the audit, waits for.
const LIST_LIMIT: Duration = Duration::from_secs(5);
/// How long one tier is watched alone while the other could be watched, but not now.
const WATCH_AGAIN: Duration = Duration::from_secs(30);
