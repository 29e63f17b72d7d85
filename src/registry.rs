//! The named circuits of a process, with one circuit for each name and a bound on their number.
//!
//! A lock protects the registry. A call takes this lock only if it is the first call of a new key in a keyed layer.

mod error;
pub(crate) mod feed;
mod names;
#[cfg(all(feature = "keyed", feature = "store"))]
mod prefixed;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
#[cfg(all(feature = "keyed", feature = "store"))]
use std::sync::Weak;

pub use self::error::RegistryError;
use self::feed::{Feed, Subscription};
use self::names::Names;
#[cfg(all(feature = "keyed", feature = "store"))]
pub(crate) use self::prefixed::{BroughtBack, Prefixed};
use crate::circuit::{Circuit, Status};
use crate::config::Config;
#[cfg(feature = "keyed")]
use crate::group::Group;
use crate::sync::Mutex;
use crate::telemetry;

/// The circuits of a process, by name. Clones are handles to the same registry.
///
/// ```
/// use tower_circuit_breaker::{Config, Registry};
///
/// let registry = Registry::new();
/// let circuit = registry.circuit(Config::new("payments")?)?;
/// assert!(registry.get("payments").is_some());
/// for status in registry.status_all() {
///     println!("{status}"); // circuit `payments` is closed; calls: 0 succeeded, 0 failed, 0 rejected
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Named>,
}

/// Receives a notification when a circuit is added to a registry, makes a transition, or is removed. A registry with a
/// store has the coordinator as its companion. A registry without a store has no companion. The registry holds no lock
/// of its own during a notification.
pub(crate) trait Companion: Any + fmt::Debug + Send + Sync {
    /// Notifies that the circuit was added to the registry. The caller may hold the lock of a keyed layer. Therefore
    /// the method must run no foreign code, such as an observer or a waker of the application. Foreign code could wait
    /// for the same lock.
    fn introduced(&self, circuit: &Circuit);

    /// Notifies that a circuit has made a transition.
    fn changed(&self);

    /// Notifies that the circuit was removed from the registry. The registry calls this method after `introduced` of
    /// this circuit, and before `introduced` of the next circuit with the same name. Like `introduced`, the method must
    /// run no foreign code.
    #[cfg(feature = "keyed")]
    fn forgotten(&self, circuit: &Circuit);

    /// Notifies that a layer with keyed circuits was added to the registry.
    #[cfg(all(feature = "keyed", feature = "store"))]
    fn keyed(&self, circuits: Weak<dyn Prefixed>);

    /// Returns true if the first call of a circuit waits until the circuit is restored from the store.
    #[cfg(all(feature = "keyed", feature = "store"))]
    fn first_calls_wait(&self) -> bool;
}

#[derive(Debug)]
struct Named {
    limit: usize,
    companion: Option<Arc<dyn Companion>>,
    /// The observer of every circuit, which passes events to the subscribers.
    feed: Arc<Feed>,
    names: Mutex<Names>,
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
        Self::create(limit, None)
    }

    #[cfg(feature = "store")]
    pub(crate) fn with_companion(limit: usize, companion: Arc<dyn Companion>) -> Self {
        Self::create(limit, Some(companion))
    }

    fn create(limit: usize, companion: Option<Arc<dyn Companion>>) -> Self {
        let feed = Arc::new(Feed::new(companion.as_ref().map(Arc::downgrade)));
        Self { shared: Arc::new(Named { limit, companion, feed, names: Mutex::default() }) }
    }

    /// Returns the companion of the registry, if its type is `T`.
    #[cfg(feature = "store")]
    pub(crate) fn companion<T: Companion>(&self) -> Option<&T> {
        let companion: &dyn Any = self.shared.companion.as_deref()?;
        companion.downcast_ref()
    }

    /// Returns the circuit with the name in `config`. Creates the circuit if the registry has no circuit with this
    /// name.
    ///
    /// # Errors
    ///
    /// * [`RegistryError::Different`] if a circuit with the name has different settings.
    /// * [`RegistryError::Keyed`] if the name begins with the prefix of a layer of keyed circuits.
    /// * [`RegistryError::Full`] if the registry has no room for a new circuit.
    pub fn circuit(&self, config: Config) -> Result<Circuit, RegistryError> {
        if let Some(answer) = self.shared.names.lock().taken(&config, self.shared.limit) {
            return answer;
        }
        // The circuit is created outside the lock. Its clock and its observers are foreign code that may use the
        // registry, and would then wait for the lock forever.
        let circuit = self.create_unreported(config);
        let mut names = self.shared.names.lock();
        if let Some(answer) = names.taken(circuit.config(), self.shared.limit) {
            drop(names);
            return answer;
        }
        names.circuits.insert(circuit.name().to_owned(), circuit.clone());
        drop(names);
        self.joined(&circuit);
        self.introduce(&circuit);
        Ok(circuit)
    }

    /// Adds the circuit of a key. Returns false if the registry is full. No other circuit has the name, because
    /// [`reserve`](Self::reserve) has reserved the prefix of the name for the layer of the key.
    ///
    /// This method does not notify the observers of the circuit. The caller must release its locks, and then call
    /// [`introduce`](Self::introduce).
    #[cfg(feature = "keyed")]
    pub(crate) fn insert(&self, circuit: &Circuit) -> bool {
        let mut names = self.shared.names.lock();
        let has_room = names.circuits.len() < self.shared.limit;
        if has_room {
            names.circuits.insert(circuit.name().to_owned(), circuit.clone());
        }
        drop(names);
        if has_room {
            self.joined(circuit);
        }
        has_room
    }

    /// Notifies the companion (with a store, the coordinator) that the circuit was added. The caller must hold no lock
    /// of the registry.
    fn joined(&self, circuit: &Circuit) {
        if let Some(companion) = &self.shared.companion {
            companion.introduced(circuit);
        }
    }

    /// Reserves all names that begin with `prefix` for one layer of keyed circuits. Returns an error with the reason if
    /// a circuit has such a name. Also returns an error if a key of another layer can have such a name.
    #[cfg(feature = "keyed")]
    pub(crate) fn reserve(&self, prefix: &str) -> Result<(), String> {
        self.shared.names.lock().reserve(prefix)
    }

    /// Ends the reservation of a prefix. The caller must first remove the circuits whose names begin with the prefix.
    #[cfg(feature = "keyed")]
    pub(crate) fn release(&self, prefix: &str) {
        self.shared.names.lock().prefixes.retain(|reserved| **reserved != *prefix);
    }

    /// Creates a circuit that reports its events to the subscribers of the registry. The circuit is not added to the
    /// registry, and no observer is notified of the creation.
    pub(crate) fn create_unreported(&self, config: Config) -> Circuit {
        Circuit::unreported(config, Some(self.shared.feed.clone()))
    }

    /// Reports to observers and subscribers that a circuit was added to the registry. The caller must hold no lock,
    /// because observers are foreign code that may wait for the lock.
    pub(crate) fn introduce(&self, circuit: &Circuit) {
        circuit.introduce();
        self.shared.feed.introduced(circuit.name());
    }

    /// Notifies the companion (the coordinator) of a new layer with keyed circuits. The companion can then restore
    /// stored circuits before this process uses their keys.
    #[cfg(all(feature = "keyed", feature = "store"))]
    pub(crate) fn add_keyed(&self, circuits: Weak<dyn Prefixed>) {
        if let Some(companion) = &self.shared.companion {
            companion.keyed(circuits);
        }
    }

    /// Returns true if the first call of a circuit waits until the circuit is restored from the store.
    #[cfg(all(feature = "keyed", feature = "store"))]
    pub(crate) fn first_calls_wait(&self) -> bool {
        self.shared.companion.as_ref().is_some_and(|companion| companion.first_calls_wait())
    }

    /// Removes the circuit, unless a different circuit has its name by now. Handles and permits of the circuit stay
    /// usable.
    #[cfg(feature = "keyed")]
    pub(crate) fn remove(&self, circuit: &Circuit) {
        let mut names = self.shared.names.lock();
        if !names.circuits.get(circuit.name()).is_some_and(|present| present.is(circuit)) {
            return;
        }
        let removed = names.circuits.remove(circuit.name());
        drop(names);
        if let (Some(companion), Some(circuit)) = (&self.shared.companion, removed) {
            companion.forgotten(&circuit);
        }
    }

    /// Returns true if more than an eighth of the limit is free. The restore of keyed circuits leaves this room for the
    /// circuits that the program creates by name. Otherwise, after an outage with many open keyed circuits, their
    /// restore could fill the registry. The program could then not create its own circuits at the start.
    #[cfg(all(feature = "keyed", feature = "store"))]
    pub(crate) fn has_room_for_restore(&self) -> bool {
        let limit = self.shared.limit;
        self.shared.names.lock().circuits.len() < limit - limit.div_ceil(8)
    }

    /// Returns the number of handles to an unused keyed circuit. The layer and the registry have one handle each, and
    /// with a store, the coordinator has one too. A circuit with more handles is in use.
    #[cfg(feature = "keyed")]
    pub(crate) fn handles_of_a_circuit(&self) -> usize {
        2 + usize::from(self.shared.companion.is_some())
    }

    /// Returns the largest number of circuits that the registry can hold.
    #[cfg(feature = "keyed")]
    pub(crate) fn limit(&self) -> usize {
        self.shared.limit
    }

    /// Returns the circuit with the name, or `None` if the registry has no such circuit.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Circuit> {
        self.shared.names.lock().circuits.get(name).cloned()
    }

    /// Returns all circuits, sorted by name.
    #[must_use]
    pub fn circuits(&self) -> Vec<Circuit> {
        self.shared.names.lock().circuits.values().cloned().collect()
    }

    /// Returns the groups to which circuits of the registry belong.
    #[cfg(feature = "keyed")]
    fn groups(&self) -> Vec<Group> {
        let names = self.shared.names.lock();
        let mut groups: Vec<Group> = Vec::new();
        for group in names.circuits.values().filter_map(|circuit| circuit.config().group()) {
            if !groups.iter().any(|known| known.is(group)) {
                groups.push(group.clone());
            }
        }
        groups
    }

    /// Returns the status of every circuit, sorted by name.
    #[must_use]
    pub fn status_all(&self) -> Vec<Status> {
        self.circuits().iter().map(Circuit::status).collect()
    }

    /// Subscribes to the events of all circuits from now on, including circuits that are created later.
    ///
    /// Each transition and each summary of rejections locks the feed of events for a short time. Without a subscriber,
    /// no event is copied or stored. With the feature `store`, the events end when the shutdown of the registry begins.
    /// A task that waits for events can then end, and does not keep the process alive.
    ///
    /// With `futures_util`, a subscription becomes a `Stream`:
    ///
    /// ```
    /// use futures_util::{StreamExt, stream};
    /// use tower_circuit_breaker::{Config, Registry};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = Registry::new();
    /// let news = stream::unfold(registry.subscribe(), async |mut news| Some((news.next().await?, news)));
    /// registry.circuit(Config::new("payments")?)?;
    /// assert_eq!(std::pin::pin!(news).next().await.ok_or("it goes on")?.circuit, "payments");
    /// # Ok(()) }
    /// ```
    pub fn subscribe(&self) -> Subscription {
        self.shared.feed.subscribe()
    }

    /// Ends all subscriptions, because the process is about to end.
    /// [`resume_subscriptions`](Self::resume_subscriptions) permits new subscriptions.
    #[cfg(feature = "store")]
    pub(crate) fn end_subscriptions(&self) {
        self.shared.feed.end();
    }

    #[cfg(feature = "store")]
    pub(crate) fn resume_subscriptions(&self) {
        self.shared.feed.resume();
    }

    /// Returns true from the shutdown of the registry until its next start. In this time, a new subscription ends
    /// immediately.
    #[cfg(feature = "admin")]
    pub(crate) fn has_ended_subscriptions(&self) -> bool {
        self.shared.feed.has_ended()
    }

    /// Updates the gauges of all circuits. Call this function in a `/metrics` handler. Series that the exporter has
    /// dropped as idle are registered again, including the series of stores and of keyed circuits.
    pub fn refresh_metrics(&self) {
        telemetry::refresh();
        // Absent circuits, whose keys no call has used for a minute, are counted before `circuits()` creates a further
        // handle to each circuit. A circuit with a further handle does not count as absent.
        #[cfg(feature = "keyed")]
        self.groups().iter().for_each(Group::count_absent);
        self.circuits().iter().for_each(Circuit::refresh_metrics);
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}
