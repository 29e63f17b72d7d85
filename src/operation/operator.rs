//! Orders to a store alone: for a command line, which has no circuits in its process.

mod attempt;

use std::sync::Arc;
use std::time::Duration;

use self::attempt::Attempt;
use super::watch::Changes;
use super::{Done, Kept, Order, Refused};
use crate::config::{Config, RESET_COOLDOWN};
use crate::coordinator::host_name;
use crate::keep::STORE_TIMEOUT;
use crate::nearest::nearest;
use crate::random;
use crate::record::{CircuitRecord, CorruptRecord, Timestamp};
use crate::state::{Act, By, Generation};
use crate::store::{AnyStore, AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, answer_within};

/// Operates circuits through their store: instances take its acts over as they do each other's, within a poll at the latest.
///
/// Clones are handles to the same one.
///
/// ```
/// use tower_circuit_breaker::operation::{Operator, Order, Refused};
/// use tower_circuit_breaker::store::{AnyStore, MemoryStore};
/// use tower_circuit_breaker::By;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let operator = Operator::new(AnyStore::new(MemoryStore::new()));
/// let by = By::new("alice", "the provider announced a maintenance")?;
/// let order = Order::trip(&by);
/// assert!(matches!(operator.operate("payments", &order).await, Err(Refused::NoRecord { .. })));
/// operator.operate("payments", &order.create()).await?;
/// println!("{:?}", operator.show("payments").await?.record);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "an operator does nothing until it is given an order"]
pub struct Operator {
    store: AnyStore,
    instance: Arc<str>,
    incarnation: Arc<str>,
    timeout: Duration,
    cooldown: Duration,
}

/// What a store holds of one circuit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shown {
    /// The name.
    pub name: String,
    /// What is there, or why that is no record.
    pub record: Result<CircuitRecord, CorruptRecord>,
    /// The time of the store.
    pub now: Timestamp,
    /// Names the version of what is there.
    pub etag: Etag,
}

impl Operator {
    /// Returns an operator of the circuits in that store.
    pub fn new(store: AnyStore) -> Self {
        Self {
            store,
            instance: format!("operator@{}", host_name()).into(),
            incarnation: random::id().into(),
            timeout: STORE_TIMEOUT,
            cooldown: RESET_COOLDOWN,
        }
    }

    /// Sets where acts are said to have been done, in record and audit. Default: `operator@` and the host's name.
    pub fn instance(mut self, name: &str) -> Self {
        self.instance = name.into();
        self
    }

    /// Sets how long each operation of the store may take. Default: 2 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets for how long after the published state left closed, or a trip by hand, a reset is refused. Default: 60 s.
    ///
    /// The store does not know what the circuits are configured to.
    pub const fn reset_cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Returns what the store holds, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has happened.
    pub async fn list(&self) -> Result<Vec<Shown>, StoreError> {
        let names = self.ask(self.store.list()).await?;
        let mut shown = Vec::with_capacity(names.len());
        for names in names.chunks(BATCH) {
            let Loaded { entries, now } = self.ask(self.store.load_many(names)).await?;
            for (name, entry) in names.iter().zip(entries) {
                // What has gone meanwhile is not there.
                shown.extend(entry.map(|entry| Shown::of(name, &entry, now)));
            }
        }
        Ok(shown)
    }

    /// Returns what the store holds of one circuit.
    ///
    /// # Errors
    ///
    /// [`Refused::NoRecord`], with the name that was perhaps meant, or [`Refused::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has happened.
    pub async fn show(&self, name: &str) -> Result<Shown, Refused> {
        match self.load(name).await.map_err(|error| store(&error, false))? {
            (Some(entry), now) => Ok(Shown::of(name, &entry, now)),
            (None, _) => Err(self.no_record(name).await),
        }
    }

    /// Returns what changes in the store from now on, after all that is there.
    pub fn watch(&self) -> Changes {
        Changes::new(self.clone())
    }

    /// Returns the rows of the audit that pass, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has happened.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let mut rows = self.ask(self.store.audit(filter)).await?;
        rows.reverse();
        Ok(rows)
    }

    /// Carries out an order in the store.
    ///
    /// Whoever writes meanwhile is first: the order is then judged again on what is there. An act on a circuit that the store does
    /// not know is refused, as the name is more likely mistyped than new; [`Order::create`] makes the record.
    ///
    /// # Errors
    ///
    /// [`Refused`], with one sentence for the operator.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the act was done or not, and perhaps not audited. Given again, the same order is carried out once, and audited.
    pub async fn operate(&self, name: &str, order: &Order) -> Result<Done, Refused> {
        order.check()?;
        if order.create {
            Config::new(name).map_err(|error| Refused::Invalid { problem: error.to_string() })?;
        }
        let mut attempt = Attempt { name, order, proposed: 0, lost: None };
        for _ in 0..ATTEMPTS {
            let (entry, now) = self.load(name).await.map_err(|error| attempt.failed(&error))?;
            let done = if order.act == Act::Forget {
                self.try_forget(&mut attempt, entry, now).await?
            } else {
                self.try_act(&mut attempt, entry, now).await?
            };
            if let Some((generation, now)) = done {
                return Ok(self.audited(name, order, generation, now).await);
            }
        }
        Err(match attempt.lost {
            Some(error) => store(&error, true),
            None => Refused::Store { problem: "others write faster than this can".to_owned(), maybe_done: false },
        })
    }

    /// Deletes what the store holds of a circuit: [`Order::forget`].
    ///
    /// # Errors
    ///
    /// [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// As of [`operate`](Self::operate).
    pub async fn forget(&self, name: &str, by: &By) -> Result<Done, Refused> {
        self.operate(name, &Order::forget(by)).await
    }

    /// Writes the row of what was done. Its id is the order's, so that it is there once however often it is written.
    async fn audited(&self, name: &str, order: &Order, generation: u64, now: Timestamp) -> Done {
        let generation = Generation::new(generation);
        let row = AuditRow::of_order(name, order, now, generation, &self.instance);
        row.log();
        let kept = match self.ask(self.store.append_audit(&[row])).await {
            Ok(()) => Kept::Stored { generation },
            Err(error) => Kept::Unaudited { generation, why: error.chain() },
        };
        Done { transition: None, kept }
    }

    async fn load(&self, name: &str) -> Result<(Option<Versioned>, Timestamp), StoreError> {
        let names = [name.to_owned()];
        let Loaded { entries, now } = self.ask(self.store.load_many(&names)).await?;
        Ok((entries.into_iter().next().flatten(), now))
    }

    async fn no_record(&self, name: &str) -> Refused {
        // Without the names there is only nothing to suggest.
        let names = self.ask(self.store.list()).await.unwrap_or_default();
        Refused::NoRecord { name: name.to_owned(), nearest: nearest(name, names.iter().map(String::as_str)) }
    }

    pub(super) async fn store_watch(&self) -> Result<Option<crate::store::Watch>, StoreError> {
        self.ask(self.store.watch()).await
    }

    async fn ask<T>(&self, operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        answer_within(self.timeout, operation).await
    }
}

impl Shown {
    fn of(name: &str, entry: &Versioned, now: Timestamp) -> Self {
        let record = CircuitRecord::decode(name, &entry.bytes, now);
        Self { name: name.to_owned(), record, now, etag: entry.etag.clone() }
    }
}

fn store(error: &StoreError, maybe_done: bool) -> Refused {
    Refused::Store { problem: error.chain(), maybe_done }
}

/// How often an order is judged on what others have written meanwhile.
const ATTEMPTS: usize = 16;
/// How many names are asked for at once.
const BATCH: usize = 256;
