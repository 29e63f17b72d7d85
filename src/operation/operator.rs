//! Orders that are written only to a store, for a command-line tool whose process has no circuits.

mod attempt;
mod members;
mod reach;

use std::sync::Arc;
use std::time::Duration;

use self::attempt::{Attempt, Stored};
pub use self::members::Membership;
pub use self::reach::Reach;
use super::watch::Changes;
use super::{Done, FleetStatus, Kept, Order, Refused};
use crate::config::{Config, RESET_COOLDOWN};
use crate::coordinator::host_name;
use crate::keep::STORE_TIMEOUT;
use crate::nearest::nearest;
use crate::pattern::{UNRESERVED, beginning, is_reserved};
use crate::random;
use crate::record::{CircuitRecord, CorruptRecord, Timestamp};
use crate::shown::{cut, one_line, quoted};
use crate::state::refused::bounded;
use crate::state::{Act, By, Generation};
use crate::store::{AnyStore, AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, answer_within};

/// Writes orders for circuits to a store, without access to the processes that have the circuits. Each instance that
/// uses the store applies the order, at the latest when the instance next polls the store.
///
/// Clones are handles to the same operator.
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
    /// If true, orders are sent even if the instances use a cache that the store of this operator does not have.
    ignores_tiers: bool,
}

/// The content of a store for one circuit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shown {
    /// The name of the circuit.
    pub name: String,
    /// The record of the circuit, or an error if the stored value cannot be used as a record.
    pub record: Result<CircuitRecord, CorruptRecord>,
    /// The time at which the record was loaded, by the clock of the store.
    pub now: Timestamp,
    /// The version of the stored value.
    pub etag: Etag,
}

impl Operator {
    /// Creates an operator that writes its orders to `store`.
    pub fn new(store: AnyStore) -> Self {
        Self {
            store,
            instance: format!("operator@{}", host_name()).into(),
            incarnation: random::id().into(),
            timeout: STORE_TIMEOUT,
            cooldown: RESET_COOLDOWN,
            ignores_tiers: false,
        }
    }

    /// Sets the name that the record and the audit show as the instance for orders of this operator. The first 100
    /// characters of the name are kept. Default: `operator@` followed by the host name.
    pub fn instance(mut self, name: &str) -> Self {
        self.instance = one_line(name, 100).into();
        self
    }

    /// Appends a login name to the name of the instance, for example `operator@vm login ana`. A person can name any
    /// user in an order. Therefore a tool should call this method if the user of the order is not the login name of the
    /// person. The first 32 characters of the login name are kept. The login name is not verified.
    pub fn login(self, name: &str) -> Self {
        let instance = format!("{} login {}", cut(&self.instance, 61), one_line(name.trim(), 32));
        self.instance(&instance)
    }

    /// Sets the time limit of each operation of the store. Default: 2 s. A store derives its own limits from this
    /// limit, for example the limit for opening a connection.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the cooldown, during which resets are refused. The cooldown begins when the state in the record changes
    /// from closed to another state, or when an operator trips the circuit. Default: 60 s.
    ///
    /// The cooldown in the configuration of the circuits has no effect here, because the store does not contain the
    /// configuration.
    pub const fn reset_cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Sends orders even if the instances seem to use a cache in front of this store. By default these orders are
    /// refused ([`Refused::OneTier`]), because the instances would read the cache, and would not see an order that is
    /// only in this store. Use this setting if the cache was removed and old entries in the record still name the
    /// cache.
    pub const fn ignore_tiers(mut self) -> Self {
        self.ignores_tiers = true;
        self
    }

    /// Returns the present time of the store's clock. A result also shows that the store is reachable.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        // The query loads a record that need not exist. With an empty list of names, some stores would answer
        // themselves, without a query to their server.
        Ok(self.load("circuitctl").await?.1)
    }

    /// Returns the records of all circuits in the store, sorted by circuit name. The members of fleets are not
    /// included, see [`members`](Self::members).
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn list(&self) -> Result<Vec<Shown>, StoreError> {
        let names = self.names().await?;
        self.load_all(names.iter().filter(|name| !is_reserved(name)).cloned().collect()).await
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        self.within_timeout(self.store.list()).await
    }

    /// Loads the records with these names. Records that no longer exist are left out.
    async fn load_all(&self, names: Vec<String>) -> Result<Vec<Shown>, StoreError> {
        let mut shown = Vec::with_capacity(names.len());
        for names in names.chunks(BATCH) {
            let Loaded { entries, now } = self.within_timeout(self.store.load_many(names)).await?;
            for (name, entry) in names.iter().zip(entries) {
                shown.extend(entry.map(|entry| Shown::of(name, &entry, now)));
            }
        }
        Ok(shown)
    }

    /// Returns the record of one circuit.
    ///
    /// # Errors
    ///
    /// [`Refused::NoRecord`] with the most similar name if there is no record, [`Refused::Store`] if the store failed,
    /// or [`Refused::Invalid`] if the name is reserved for the members of a fleet.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn show(&self, name: &str) -> Result<Shown, Refused> {
        check_unreserved(name)?;
        match self.load(name).await.map_err(|error| store(&error, false))? {
            (Some(entry), now) => Ok(Shown::of(name, &entry, now)),
            (None, _) => Err(self.no_record(name).await),
        }
    }

    /// Watches the store for changes of records. The first changes report each record that is already in the store.
    pub fn watch(&self) -> Changes {
        Changes::new(self.clone())
    }

    /// Returns the rows of the audit that match the filter, newest first. A row that another program has written may
    /// contain longer texts than this crate writes. Such texts are cut.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let mut rows = self.within_timeout(self.store.audit(filter)).await?;
        rows.reverse();
        rows.iter_mut().for_each(AuditRow::bound);
        Ok(rows)
    }

    /// Carries out an order on the record of a circuit in the store.
    ///
    /// If another writer changes the record at the same time, the order is tried again on the changed record. There are
    /// at most 16 attempts in all. An order for a circuit without a record is refused, because the name is probably
    /// mistyped. [`Order::create`] creates the record instead. A record cannot be created for a pattern such as
    /// `host:*`, so an order for a pattern without a record is refused with [`Refused::Invalid`].
    ///
    /// # Errors
    ///
    /// [`Refused`], with one sentence for the operator.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the order may or may not have been carried out, and may be missing in the audit. The
    /// same order can be given again, and takes effect only once in the store and in the audit.
    pub async fn operate(&self, name: &str, order: &Order) -> Result<Done, Refused> {
        order.check()?;
        check_unreserved(name)?;
        if order.create {
            Config::new(name).map_err(|error| Refused::Invalid { problem: error.to_string() })?;
            if beginning(name).is_some() {
                return Err(pattern(name));
            }
        }
        let mut attempt = Attempt { name, order, proposed: 0, lost: None, repeated: false };
        for _ in 0..ATTEMPTS {
            let (entry, now) = self.load(name).await.map_err(|error| attempt.failed(&error))?;
            let done = if order.act == Act::Forget {
                self.try_forget(&mut attempt, entry, now).await?
            } else {
                self.try_act(&mut attempt, entry, now).await?
            };
            if let Some(stored) = done {
                let kept = self.audited(name, order, stored).await;
                return Ok(Done { transition: None, kept, repeated: attempt.repeated });
            }
        }
        Err(match attempt.lost {
            Some(error) => store(&error, true),
            None => Refused::Store {
                problem: format!("other writers changed the record in each of {ATTEMPTS} attempts"),
                maybe_done: false,
            },
        })
    }

    /// Deletes the stored record of a circuit ([`Order::forget`]).
    ///
    /// # Errors
    ///
    /// [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// As for [`operate`](Self::operate).
    pub async fn forget(&self, name: &str, by: &By) -> Result<Done, Refused> {
        self.operate(name, &Order::forget(by)).await
    }

    /// Writes the audit row of an order that was carried out, and returns the place where the order is stored. The id
    /// of the row is derived from the order, so that repeated writes result in one row.
    async fn audited(&self, name: &str, order: &Order, stored: Stored) -> Kept {
        let Stored { generation, now, lacking } = stored;
        let generation = Generation::new(generation);
        let row = AuditRow::of_order(name, order, now, generation, &self.instance);
        row.log();
        let row = self.within_timeout(self.store.append_audit(&[row])).await.map_err(|error| error.chain());
        Kept::of(generation, lacking, row)
    }

    async fn load(&self, name: &str) -> Result<(Option<Versioned>, Timestamp), StoreError> {
        let names = [name.to_owned()];
        let Loaded { entries, now } = self.within_timeout(self.store.load_many(&names)).await?;
        Ok((entries.into_iter().next().flatten(), now))
    }

    async fn no_record_for_order(&self, name: &str) -> Refused {
        if beginning(name).is_some() { pattern(name) } else { self.no_record(name).await }
    }

    async fn no_record(&self, name: &str) -> Refused {
        // If the names cannot be listed, the refusal contains no suggestion.
        let names = self.names().await.unwrap_or_default();
        let circuits = names.iter().map(String::as_str).filter(|name| !is_reserved(name));
        Refused::NoRecord { name: bounded(name), nearest: nearest(name, circuits) }
    }

    pub(super) async fn store_watch(&self) -> Result<Option<crate::store::Watch>, StoreError> {
        self.within_timeout(self.store.watch()).await
    }

    async fn within_timeout<T>(&self, operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        answer_within(self.timeout, operation).await
    }
}

impl Shown {
    /// Returns the status of the fleet that the record contains, or `None` if the stored value is not a record.
    #[must_use]
    pub fn fleet(&self) -> Option<FleetStatus> {
        self.record.as_ref().ok().map(|record| FleetStatus::of(record, self.now))
    }

    fn of(name: &str, entry: &Versioned, now: Timestamp) -> Self {
        let record = CircuitRecord::decode(name, &entry.bytes, now);
        Self { name: name.to_owned(), record, now, etag: entry.etag.clone() }
    }
}

/// Returns an error if the name is reserved, because no circuit can have a reserved name.
fn check_unreserved(name: &str) -> Result<(), Refused> {
    if is_reserved(name) {
        return Err(Refused::Invalid { problem: format!("`{}` is no circuit, allowed is {UNRESERVED}", quoted(name)) });
    }
    Ok(())
}

fn pattern(name: &str) -> Refused {
    Refused::Invalid { problem: format!("`{}` is a pattern, and an order is for one circuit", quoted(name)) }
}

fn store(error: &StoreError, maybe_done: bool) -> Refused {
    Refused::Store { problem: error.chain(), maybe_done }
}

/// The largest number of attempts to write one order. An attempt fails if another writer changes the record at the same
/// time.
const ATTEMPTS: usize = 16;
/// The largest number of records that are loaded with one query.
pub(super) const BATCH: usize = 256;
