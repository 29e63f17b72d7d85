//! The builder of a registry with a store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Sharing;
use super::hub::{Coordinator, Hub};
use super::instance::{host_name, program_name};
use super::membership::Quorum;
use super::terms::{Polls, Terms, Ttl};
use super::waiters::Waiters;
use crate::config::{ConfigError, LONGEST_NAME};
use crate::health::HealthLimit;
use crate::keep::{FLEETS, INSTANCES, MOST_VOTES, QUORUM_AT_LEAST, QUORUM_SHARE, STORE_TIMEOUT, is_fleet, is_instance};
use crate::pattern::{ALLOWED, ByName, misused};
use crate::registry::Registry;
use crate::roll_call::{Call, Kind, expect};
use crate::shown::{is_printable, quoted};
use crate::state::Exact;
use crate::store::{DynStore, Store};
use crate::sync::Mutex;
use crate::telemetry;

/// The settings of a registry. Each method states its range and its default.
///
/// ```
/// use std::time::Duration;
/// use tower_circuit_breaker::{Config, Registry, store::MemoryStore};
///
/// # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::builder().store(MemoryStore::new()).build()?;
/// let circuit = registry.circuit(Config::new("payments")?)?;
/// let report = registry.restore(Duration::from_secs(1)).await?;
/// println!("{report}");
/// # drop(circuit);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(main_())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "settings do nothing until `build` makes a registry of them"]
pub struct RegistryBuilder {
    limit: usize,
    store: Option<Arc<dyn DynStore>>,
    terms: Terms,
}

impl RegistryBuilder {
    pub(super) fn new() -> Self {
        Self {
            limit: 10_000,
            store: None,
            terms: Terms {
                sharing: Sharing::default(),
                quorum: Quorum { at_least: QUORUM_AT_LEAST, share: QUORUM_SHARE },
                instance: host_name(),
                fleet: program_name(),
                first_call_waits: Duration::ZERO,
                timeout: STORE_TIMEOUT,
                poll: Polls { tripped: Duration::from_secs(2), closed: Duration::from_secs(10) },
                ttl: Ttl::default(),
                ttl_of: ByName::default(),
                outbox: 1024,
                health_probes: 16,
                audit_kept: None,
                seed: None,
            },
        }
    }

    /// Sets the store that keeps the states of the circuits. Default: no store, so the states are lost at the end of
    /// the process.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets the largest number of circuits. Default: 10 000.
    ///
    /// A restore creates keyed circuits, but leaves an eighth of the limit free for the circuits that the program
    /// creates by name.
    pub const fn limit(mut self, circuits: usize) -> Self {
        self.limit = circuits;
        self
    }

    /// Sets the reaction of this instance when another instance opens a circuit. Default: [`Sharing::Advise`].
    pub const fn sharing(mut self, sharing: Sharing) -> Self {
        self.terms.sharing = sharing;
        self
    }

    /// Sets the id of this instance. The id must be the same after a restart, and differ from the ids of all other
    /// instances, because an instance restores only the counts of calls that are stored under its own id. Default: the
    /// name of the host, or `localhost` if that name is no valid id.
    ///
    /// Range: 1 to 100 bytes of printable text without spaces, `#` and `//`. If another running instance uses the id,
    /// this instance changes its id to `id#2` and logs a warning.
    pub fn instance(mut self, id: &str) -> Self {
        id.clone_into(&mut self.terms.instance);
        self
    }

    /// Sets the name of the fleet. A fleet is the group of instances that decide together with [`Sharing::Quorum`] or
    /// [`Sharing::Follow`]. All instances of one application need the same name. Another application on the same store
    /// needs another name, because the quorum depends on the number of members. The name has no effect with
    /// [`Sharing::Advise`].
    ///
    /// Range: 1 to 100 bytes of printable text without spaces and `//`. Default: the file name of the executable, or
    /// `service` if the file name is not known.
    pub fn fleet(mut self, name: &str) -> Self {
        name.clone_into(&mut self.terms.fleet);
        self
    }

    /// Sets the number of votes that open a circuit in the whole fleet with [`Sharing::Quorum`]. The number is this
    /// `share` of the live members, rounded up, but at least `at_least` and at most 10. An instance that has been the
    /// only member for 20 s needs only its own vote. While the number of members is not known, at least two votes are
    /// needed. The setting has no effect with [`Sharing::Follow`], where one vote is always enough.
    ///
    /// Range: 1 to 10 votes, and a share of 0 to 1. Default: 2 votes, and a share of 0.1. If one vote is enough, one
    /// instance with a bad network path opens the circuits of all instances that had no successful call recently.
    pub const fn quorum(mut self, at_least: u32, share: f64) -> Self {
        self.terms.quorum = Quorum { at_least, share };
        self
    }

    /// Lets the first call of a circuit wait until the circuit is restored, at most for this duration. A service waits
    /// in `poll_ready`. Without tower, [`call`](crate::Circuit::call) and its variants,
    /// [`acquire`](crate::Circuit::acquire) and [`acquire_blocking`](crate::Circuit::acquire_blocking) wait.
    /// [`try_acquire`](crate::Circuit::try_acquire) and [`call_blocking`](crate::Circuit::call_blocking) do not wait,
    /// because a wait could block the thread that runs the restore.
    ///
    /// Range: up to 60 s. Default: zero, so that no call waits. The duration begins with the creation of the circuit,
    /// but not before [`start`](Registry::start) or [`restore`](Registry::restore) is called.
    ///
    /// A service of keyed circuits waits for the restore of all circuits that have the same prefix and are not closed
    /// in the store. The wait begins when the keyed circuits are built, but not before the start of the registry. Calls
    /// without tower do not wait for these circuits.
    ///
    /// After the restore, the first call of a new key does not wait for the record of the key, because that record is
    /// usually closed. The restore has already created the circuits of all records that were not closed, if there was
    /// room. If another instance has opened the circuit of the key after the restore, the first call does not wait
    /// either, and can reach the service.
    pub const fn first_call_waits(mut self, at_most: Duration) -> Self {
        self.terms.first_call_waits = at_most;
        self
    }

    /// Sets the longest duration of an operation of the store. Range: 10 ms to 60 s. Default: 2 s.
    ///
    /// A store derives its own limits for connections, answers and statements from this duration. A new connection to
    /// PostgreSQL with TLS needs about ten round trips, so set 5 s for a database with a round-trip time of 250 ms.
    pub const fn store_timeout(mut self, timeout: Duration) -> Self {
        self.terms.timeout = timeout;
        self
    }

    /// Sets the intervals in which the record of a circuit is polled if the store cannot report changes. `tripped` is
    /// for a circuit that is not closed in this process, or not closed in the record, or that an operator holds.
    /// `closed` is for every other circuit. Each interval varies by up to 20 %, and the polls of many circuits are
    /// spread over the interval.
    ///
    /// While the store reports changes, a poll only finds changes whose report was lost. The interval `closed` is then
    /// at least 60 s. The interval `tripped` is then at least 5 s, unless a fleet votes or probes.
    ///
    /// Range: 10 ms to 1 h. Default: 2 s and 10 s.
    pub const fn poll_every(mut self, tripped: Duration, closed: Duration) -> Self {
        self.terms.poll = Polls { tripped, closed };
        self
    }

    /// Sets the time to live of records in a store that expires records. In every other store, the instances delete the
    /// records of keyed circuits after this time. `open` is for circuits that are open or held by an operator, and
    /// `other` is for all others. Range: 1 s to 365 days. Default: 24 h and 1 h.
    ///
    /// A record lives longer if the open duration or the hold of its circuit ends later. A record does not expire if
    /// only an operator can end the state of the circuit.
    pub const fn ttl(mut self, open: Duration, other: Duration) -> Self {
        self.terms.ttl = Ttl { open, other };
        self
    }

    /// Sets the times to live of the record of one circuit, as [`ttl`](Self::ttl) does for all circuits.
    ///
    /// `circuit` is a name or a pattern. A pattern is the beginning of names and a `*`, such as `host:*` for the keyed
    /// circuits with the prefix `host`. A full name has priority over a pattern, and a longer pattern has priority over
    /// a shorter pattern.
    ///
    /// Range of the name: 1 to 200 bytes of printable text without spaces, with a `*` only at the end, but not `*`
    /// alone.
    pub fn ttl_of(mut self, circuit: &str, open: Duration, other: Duration) -> Self {
        self.terms.ttl_of.insert(circuit, Ttl { open, other });
        self
    }

    /// Replaces the times to live of single circuits and patterns, which [`ttl_of`](Self::ttl_of) sets one by one.
    #[cfg(feature = "settings")]
    pub(crate) fn ttls(mut self, ttls: ByName<Ttl>) -> Self {
        self.terms.ttl_of = ttls;
        self
    }

    /// Sets the largest number of audit rows that wait for the store. The rows of operators' acts and all other rows
    /// are counted separately, each against this limit. An order through the registry is refused if there is no room
    /// for its row. Every other row is added, and beyond the limit the oldest row of the same kind is lost. A log line,
    /// [`StoreStatus::audit_lost`](crate::coordinator::StoreStatus::audit_lost) and a row with the action `missing`
    /// report the number of lost rows.
    ///
    /// Range: 16 to 1 000 000. Default: 1024.
    pub const fn audit_waiting(mut self, rows: usize) -> Self {
        self.terms.outbox = rows;
        self
    }

    /// Sets the retention of audit rows. Every instance deletes older rows, about once an hour.
    ///
    /// Range: 1 h to 36 500 days. Default: this crate deletes no rows, and the store decides the retention. Redis keeps
    /// the newest 10 000 rows, and a store in a folder (`FileStore`) keeps the last two files of rows.
    pub const fn audit_kept(mut self, rows_for: Duration) -> Self {
        self.terms.audit_kept = Some(rows_for);
        self
    }

    /// Sets the largest number of health checks that the background task makes at the same time, over all circuits.
    /// Further checks wait. Range: 1 to 1000. Default: 16.
    pub const fn health_probes_at_once(mut self, probes: u16) -> Self {
        self.terms.health_probes = probes;
        self
    }

    /// Sets the seed of jitter and ids, for tests that must give the same result in each run. Two registries on one
    /// store must not have the same seed, because the two registries would create equal ids.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.terms.seed = Some(seed);
        self
    }

    /// Checks the settings and creates the registry. [`Registry::start`] or [`Registry::restore`] then starts the
    /// background task.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the invalid field, its value and the allowed range.
    pub fn build(self) -> Result<Registry, ConfigError> {
        let Self { limit, store, terms } = self;
        let range = |field: &'static str, value: Duration, least: Duration, most: Duration| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::new(field, Exact(value), format!("{} to {}", Exact(least), Exact(most))))
        };
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        range("first_call_waits", terms.first_call_waits, Duration::ZERO, minute)?;
        range("store_timeout", terms.timeout, Duration::from_millis(10), minute)?;
        for poll in [terms.poll.tripped, terms.poll.closed] {
            range("poll_every", poll, Duration::from_millis(10), hour)?;
        }
        let is_wrong = |name: &str| {
            let is_named = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_printable);
            !is_named || name == "*" || misused(name).is_some()
        };
        if let Some((wrong, _)) = terms.ttl_of.entries().find(|(name, _)| is_wrong(name)) {
            return Err(ConfigError::new("ttl_of", format_args!("`{}`", quoted(&wrong)), ALLOWED));
        }
        for ttl in terms.ttl_of.entries().map(|(_, ttl)| ttl).chain([&terms.ttl]) {
            for wish in [ttl.open, ttl.other] {
                range("ttl", wish, Duration::from_secs(1), hour * 24 * 365)?;
            }
        }
        if let Some(kept) = terms.audit_kept {
            range("audit_kept", kept, hour, hour * 24 * 36_500)?;
        }
        if !(16..=1_000_000).contains(&terms.outbox) {
            return Err(ConfigError::new("audit_waiting", terms.outbox, "16 to 1000000"));
        }
        if !(1..=1_000).contains(&terms.health_probes) {
            return Err(ConfigError::new("health_probes_at_once", terms.health_probes, "1 to 1000"));
        }
        if !is_instance(&terms.instance) {
            return Err(ConfigError::new("instance", format_args!("`{}`", quoted(&terms.instance)), INSTANCES));
        }
        if !is_fleet(&terms.fleet) {
            return Err(ConfigError::new("fleet", format_args!("`{}`", quoted(&terms.fleet)), FLEETS));
        }
        if !(1..=MOST_VOTES).contains(&terms.quorum.at_least) {
            return Err(ConfigError::new("quorum.at_least", terms.quorum.at_least, format!("1 to {MOST_VOTES}")));
        }
        if !(0.0..=1.0).contains(&terms.quorum.share) {
            return Err(ConfigError::new("quorum.share", terms.quorum.share, "0 to 1"));
        }
        let Some(store) = store else { return Ok(Registry::with_limit(limit)) };
        let ttls = terms.ttl_of.entries();
        expect(ttls.map(|(name, _)| Call::Set { kind: Kind::Ttl, setting: format!("`ttl_of` of \"{name}\""), name }));
        telemetry::store::begin(store.kind());
        let hub = Hub {
            health_limit: HealthLimit::new(terms.health_probes),
            terms,
            store,
            inbox: Mutex::default(),
            called: Notify::new(),
            progress: watch::Sender::new(0),
            findings: Mutex::default(),
            waiters: Waiters::default(),
            #[cfg(feature = "keyed")]
            prefixes: Default::default(),
            ledger: Mutex::default(),
        };
        Ok(Registry::with_companion(limit, Arc::new(Coordinator(Arc::new(hub)))))
    }
}
