//! The builder of a registry with a store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Sharing;
use super::hub::{Coordinator, Hub};
use super::instance::host_name;
use super::terms::{Polls, Terms, Ttl};
use super::waiters::Waiters;
use crate::config::ConfigError;
use crate::keep::{INSTANCES, STORE_TIMEOUT, is_instance};
use crate::registry::Registry;
use crate::store::{DynStore, Store};
use crate::sync::Mutex;

/// Settings of a registry. Each method says its range and default.
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
                instance: host_name(),
                first_call_waits: Duration::ZERO,
                timeout: STORE_TIMEOUT,
                poll: Polls { tripped: Duration::from_secs(2), closed: Duration::from_secs(10) },
                ttl: Ttl::default(),
                ttl_of: HashMap::new(),
                outbox: 1024,
                audit_kept: None,
                seed: None,
            },
        }
    }

    /// Keeps the circuits in that store. Default: none, and then nothing outlives the process.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets how many circuits there may be. Default: 10 000.
    pub const fn limit(mut self, circuits: usize) -> Self {
        self.limit = circuits;
        self
    }

    /// Sets what another instance's opening means here. Default: [`Sharing::Advise`].
    pub const fn sharing(mut self, sharing: Sharing) -> Self {
        self.terms.sharing = sharing;
        self
    }

    /// Names this instance: the same after a restart, and no other's. Default: the host's name.
    ///
    /// 1 to 100 bytes of printable text without spaces and `#`. Only the same id restores its evidence. An id that another
    /// living instance uses becomes `id#2`, with a warning.
    pub fn instance(mut self, id: &str) -> Self {
        id.clone_into(&mut self.terms.instance);
        self
    }

    /// Lets the first `poll_ready` of a service whose circuit is not restored yet wait for it, at most so long.
    ///
    /// Range: up to 60 s. Default: zero, no call waits. It counts from when the circuit was made, and only circuits that are
    /// made after [`start`](Registry::start) wait.
    pub const fn first_call_waits(mut self, at_most: Duration) -> Self {
        self.terms.first_call_waits = at_most;
        self
    }

    /// Sets how long an operation of the store may take. Range: 10 ms to 60 s; default 2 s.
    pub const fn store_timeout(mut self, timeout: Duration) -> Self {
        self.terms.timeout = timeout;
        self
    }

    /// Sets how often the store is polled while any circuit is not closed, and otherwise; each is spread by 20 %.
    ///
    /// Range: 10 ms to 1 h. Default: 2 s and 10 s. Changes that the store tells of by itself do not wait for a poll.
    pub const fn poll_every(mut self, tripped: Duration, closed: Duration) -> Self {
        self.terms.poll = Polls { tripped, closed };
        self
    }

    /// Sets how long a store that forgets remembers an open circuit, and any other. At least 1 s; default 24 h and 1 h.
    ///
    /// Never shorter than the circuit's deadlines need; what only an operator ends is never forgotten.
    pub const fn ttl(mut self, open: Duration, other: Duration) -> Self {
        self.terms.ttl = Ttl { open, other };
        self
    }

    /// Sets the same for one circuit.
    pub fn ttl_of(mut self, circuit: &str, open: Duration, other: Duration) -> Self {
        self.terms.ttl_of.insert(circuit.to_owned(), Ttl { open, other });
        self
    }

    /// Sets how many rows of the audit may wait for the store; the oldest are lost beyond it, and one row says how many.
    ///
    /// Range: 16 to 1 000 000. Default: 1024.
    pub const fn audit_waiting(mut self, rows: usize) -> Self {
        self.terms.outbox = rows;
        self
    }

    /// Sets how long rows of the audit are kept: older ones are deleted, about once an hour and by whoever comes to it.
    ///
    /// Range: 1 h to 366 days times 100. Default: for ever, as far as the store does; Redis keeps the newest 10 000, and a folder
    /// its last two files.
    pub const fn audit_kept(mut self, rows_for: Duration) -> Self {
        self.terms.audit_kept = Some(rows_for);
        self
    }

    /// Seeds jitter and identity, for tests that must repeat. Two registries on one store must not have the same seed.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.terms.seed = Some(seed);
        self
    }

    /// Checks the settings, and returns the registry. Nothing runs yet: [`Registry::start`] or [`Registry::restore`] begins.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field, the value and what is allowed.
    pub fn build(self) -> Result<Registry, ConfigError> {
        let Self { limit, store, terms } = self;
        let range = |field: &'static str, value: Duration, least: Duration, most: Duration| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::new(field, format_args!("{value:?}"), format!("{least:?} to {most:?}")))
        };
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        range("first_call_waits", terms.first_call_waits, Duration::ZERO, minute)?;
        range("store_timeout", terms.timeout, Duration::from_millis(10), minute)?;
        for poll in [terms.poll.tripped, terms.poll.closed] {
            range("poll_every", poll, Duration::from_millis(10), hour)?;
        }
        for ttl in terms.ttl_of.values().chain([&terms.ttl]) {
            for wish in [ttl.open, ttl.other] {
                range("ttl", wish, Duration::from_secs(1), hour * 24 * 366)?;
            }
        }
        if let Some(kept) = terms.audit_kept {
            range("audit_kept", kept, hour, hour * 24 * 366 * 100)?;
        }
        if !(16..=1_000_000).contains(&terms.outbox) {
            return Err(ConfigError::new("audit_waiting", terms.outbox, "16 to 1000000"));
        }
        if !is_instance(&terms.instance) {
            return Err(ConfigError::new("instance", format_args!("`{}`", terms.instance.escape_debug()), INSTANCES));
        }
        let Some(store) = store else { return Ok(Registry::with_limit(limit)) };
        let hub = Hub {
            terms,
            store,
            inbox: Mutex::default(),
            called: Notify::new(),
            progress: watch::Sender::new(0),
            findings: Mutex::default(),
            waiters: Waiters::default(),
            ledger: Mutex::default(),
        };
        Ok(Registry::with_companion(limit, Arc::new(Coordinator(Arc::new(hub)))))
    }
}
