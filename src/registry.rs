//! The named circuits of a process: one circuit a name, and a bound on their number.
//!
//! It is asked when services are built and when operators act, never on the path of a call, so it locks.

pub(crate) mod feed;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use self::feed::{Feed, Subscription};
use crate::circuit::{Circuit, Status};
use crate::config::Config;
use crate::sync::Mutex;

/// The circuits of a process, by name. Clones are handles to the same registry.
///
/// ```
/// use tower_circuit_breaker::{Config, Registry};
///
/// let registry = Registry::new();
/// let circuit = registry.circuit(Config::new("payments")?)?;
/// assert!(registry.get("payments").is_some());
/// for status in registry.status_all() {
///     println!("{}: {}", status.name, status.standing());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Named>,
}

/// What goes along with a registry: it is told of every new circuit, outside the lock.
pub(crate) trait Companion: Any + fmt::Debug + Send + Sync {
    fn introduced(&self, circuit: &Circuit);

    /// The circuit is no longer in the registry. Told after `introduced`, and before that of another of its name.
    #[cfg(feature = "keyed")]
    fn forgotten(&self, circuit: &Circuit);
}

#[derive(Debug)]
struct Named {
    limit: usize,
    companion: Option<Arc<dyn Companion>>,
    /// Every circuit tells it.
    feed: Arc<Feed>,
    // Sorted, so that lists for people are.
    circuits: Mutex<BTreeMap<String, Circuit>>,
}

impl Registry {
    /// Returns an empty registry for at most 10 000 circuits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(10_000)
    }

    /// Returns an empty registry for at most `limit` circuits.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self::made(limit, None)
    }

    #[cfg(feature = "store")]
    pub(crate) fn with_companion(limit: usize, companion: Arc<dyn Companion>) -> Self {
        Self::made(limit, Some(companion))
    }

    fn made(limit: usize, companion: Option<Arc<dyn Companion>>) -> Self {
        let feed = Arc::new(Feed::new(companion.is_none()));
        Self { shared: Arc::new(Named { limit, companion, feed, circuits: Mutex::new(BTreeMap::new()) }) }
    }

    /// Returns what goes along with the registry, if it is of that type.
    #[cfg(feature = "store")]
    pub(crate) fn companion<T: Companion>(&self) -> Option<&T> {
        let companion: &dyn Any = self.shared.companion.as_deref()?;
        companion.downcast_ref()
    }

    /// Returns the circuit of that name: the one there is, or a new one.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Different`] if there is one with other settings, [`RegistryError::Full`] if there is no room for another.
    pub fn circuit(&self, config: Config) -> Result<Circuit, RegistryError> {
        if let Some(present) = self.present(&self.shared.circuits.lock(), &config) {
            return present;
        }
        // Made outside the lock: it asks the clock and the observers, which are foreign and may ask the registry.
        let (circuit, is_new) = self.insert(self.untold(config))?;
        if is_new {
            self.introduce(&circuit);
        }
        Ok(circuit)
    }

    /// Takes the circuit in, unless there is one of that name: then that one is returned, and `false`. The observers of a new one
    /// are not told: [`introduce`](Circuit::introduce) must follow, outside every lock.
    pub(crate) fn insert(&self, circuit: Circuit) -> Result<(Circuit, bool), RegistryError> {
        let mut circuits = self.shared.circuits.lock();
        if let Some(present) = self.present(&circuits, circuit.config()) {
            drop(circuits);
            return present.map(|present| (present, false));
        }
        circuits.insert(circuit.name().to_owned(), circuit.clone());
        drop(circuits);
        if let Some(companion) = &self.shared.companion {
            companion.introduced(&circuit);
        }
        Ok((circuit, true))
    }

    /// Makes a circuit that subscribers hear of. It is nobody's yet.
    pub(crate) fn untold(&self, config: Config) -> Circuit {
        Circuit::unreported(config, Some(self.shared.feed.clone()))
    }

    /// Tells of a circuit that [`insert`](Self::insert) has taken in. Outside every lock: observers are foreign.
    pub(crate) fn introduce(&self, circuit: &Circuit) {
        circuit.introduce();
        self.shared.feed.introduced(circuit.name());
    }

    /// Lets go of that very circuit, not of another of its name. Whoever has a handle or a permit goes on with it.
    #[cfg(feature = "keyed")]
    pub(crate) fn remove(&self, circuit: &Circuit) {
        let mut circuits = self.shared.circuits.lock();
        if !circuits.get(circuit.name()).is_some_and(|present| present.is(circuit)) {
            return;
        }
        let removed = circuits.remove(circuit.name());
        drop(circuits);
        if let (Some(companion), Some(circuit)) = (&self.shared.companion, removed) {
            companion.forgotten(&circuit);
        }
    }

    /// Returns how many circuits there may be.
    #[cfg(feature = "keyed")]
    pub(crate) fn limit(&self) -> usize {
        self.shared.limit
    }

    /// Returns what there is instead of a new circuit, if there is something or no room.
    fn present(&self, circuits: &BTreeMap<String, Circuit>, config: &Config) -> Option<Result<Circuit, RegistryError>> {
        let name = || config.name().to_owned();
        if let Some(circuit) = circuits.get(config.name()) {
            let differences = circuit.config().differences(config);
            return Some(if differences.is_empty() {
                Ok(circuit.clone())
            } else {
                Err(RegistryError::Different { name: name(), differences })
            });
        }
        let limit = self.shared.limit;
        (circuits.len() >= limit).then(|| Err(RegistryError::Full { name: name(), limit }))
    }

    /// Returns the circuit of that name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Circuit> {
        self.shared.circuits.lock().get(name).cloned()
    }

    /// Returns all circuits, by name.
    #[must_use]
    pub fn circuits(&self) -> Vec<Circuit> {
        self.shared.circuits.lock().values().cloned().collect()
    }

    /// Returns the status of every circuit, by name.
    #[must_use]
    pub fn status_all(&self) -> Vec<Status> {
        self.circuits().iter().map(Circuit::status).collect()
    }

    /// Returns what happens to any circuit from now on, those included that are made later.
    ///
    /// It costs nothing where nobody subscribes, and a transition a short lock where somebody does.
    pub fn subscribe(&self) -> Subscription {
        self.shared.feed.subscribe()
    }

    /// Brings every gauge up to date, for a `/metrics` handler.
    pub fn refresh_metrics(&self) {
        self.circuits().iter().for_each(Circuit::refresh_metrics);
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

/// A registry did not give a circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is a circuit of that name with other settings.
    #[non_exhaustive]
    Different {
        /// The name.
        name: String,
        /// The settings that differ, each as `field: present != asked for`.
        differences: Vec<String>,
    },
    /// There is no room for another circuit.
    #[non_exhaustive]
    Full {
        /// The name asked for.
        name: String,
        /// How many circuits there may be.
        limit: usize,
    },
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Different { name, differences } => {
                write!(f, "circuit `{name}` exists with other settings: {}", differences.join(", "))
            }
            Self::Full { name, limit } => {
                write!(f, "no room for circuit `{name}`: the registry holds its limit of {limit}")
            }
        }
    }
}

impl std::error::Error for RegistryError {}
