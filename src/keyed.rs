//! The selection of the circuit of a request, which is one circuit for all requests or one circuit for each key.
//!
//! [`OneCircuit`] is the default, and has one circuit for all requests through a layer. With the feature
//! `keyed`, `Keyed` has one circuit of a registry for each host, path, method or tenant. The number of keys
//! is bounded, and every key is checked before it becomes a name, because keys come from requests.

#[cfg(feature = "keyed")]
mod absent;
#[cfg(feature = "keyed")]
mod builder;
#[cfg(feature = "keyed")]
mod circuits;
#[cfg(feature = "keyed")]
mod former;
#[cfg(feature = "keyed")]
mod name;
#[cfg(feature = "keyed")]
mod recall;
#[cfg(all(feature = "keyed", feature = "store"))]
mod restore;
#[cfg(feature = "keyed")]
mod room;
#[cfg(feature = "keyed")]
mod slot;

#[cfg(feature = "keyed")]
use std::{borrow::Cow, fmt, sync::Arc};

use crate::circuit::Circuit;
#[cfg(feature = "keyed")]
pub use builder::KeyedBuilder;
#[cfg(feature = "keyed")]
use circuits::Circuits;
#[cfg(feature = "keyed")]
use {crate::config::ConfigBuilder, crate::registry::Registry};

/// Selects the circuit of a request. The type parameter `K` of a layer implements this trait.
pub trait Select<Req> {
    /// Returns the circuit if all requests share one circuit, so that `poll_ready` can use the circuit.
    /// Returns `None` if the circuit depends on the request.
    fn shared(&self) -> Option<&Circuit>;

    /// Calls `act` with the circuit of the request. With `None`, the request passes unguarded, which means without a
    /// circuit.
    ///
    /// `act` gets a reference, because cloning a handle would cost more than finding the circuit.
    fn with<T>(&self, request: &Req, act: impl FnOnce(Option<&Circuit>) -> T) -> T;

    /// Returns the circuit whose restore `poll_ready` awaits. If the circuits depend on the request and are restored
    /// together, one circuit stands for the restore of all. Default: `None`.
    fn gate(&self) -> Option<&Circuit> {
        None
    }
}

/// The one circuit that all requests of a layer share, which is the default of a layer.
#[derive(Debug, Clone)]
pub struct OneCircuit(pub(crate) Circuit);

impl<Req> Select<Req> for OneCircuit {
    #[inline]
    fn shared(&self) -> Option<&Circuit> {
        Some(&self.0)
    }

    #[inline]
    fn with<T>(&self, _: &Req, act: impl FnOnce(Option<&Circuit>) -> T) -> T {
        act(Some(&self.0))
    }
}

/// One circuit for each key, such as a host or a tenant. Clones are handles to the same circuits.
///
/// The first request of a key creates its circuit from the template. The circuit belongs to the registry, so
/// that operators see the circuit in the registry and a store keeps its state. Later lookups take no lock and
/// allocate nothing.
///
/// # The name of a circuit
///
/// The name is the prefix and the key. A key that is not a valid name (empty, too long, with spaces or
/// control characters) becomes its first characters, `~` and 128 bits of its SHA-256 in hexadecimal. The name
/// of a key is the same on every instance and after every restart. A key that already looks like a hashed
/// name is hashed too, so that a caller cannot forge the name of another key. Finding two keys with the same
/// name takes 2^64 tries. Finding another key for a given name takes 2^128 tries. Keys are not normalised.
/// For example, `A.example` and `a.example` are two keys unless the closure returns the same key for both.
///
/// All names that begin with the [prefix](KeyedBuilder::prefix) belong to the layer. No circuit of the application and
/// no other layer of the registry has such a name, so that a caller who chooses keys can harm only the circuits of this
/// layer.
///
/// # Bounds
///
/// At most [`max_keys`](KeyedBuilder::max_keys) keys are known. When a further key arrives, or when the registry has no
/// room for a new key, an eighth of the known keys is evicted. The order is as follows.
///
/// 1. Circuits that came back from the store and have had no call.
/// 2. Circuits that know nothing, least recently used first. Such a circuit is closed, without failures or slow calls
///    in its evidence, without a call under way, and without recent openings that lengthen the next open duration. The
///    time of use has a resolution of 17 ms.
/// 3. All other circuits, the circuits of the keys with the fewest calls first. Rejected and cancelled calls are not
///    included in the number of calls.
///
/// A key that was not used for [`idle`](KeyedBuilder::idle) is evicted too, unless its circuit would reject the next
/// call, or has calls under way, or the application has a handle to it. A circuit that an operator holds is never
/// evicted.
///
/// An evicted circuit leaves the registry. Its calls under way end as usual, and its unsaved state is written to the
/// store. A circuit that knew something stays in memory, and the next circuit of its key inherits its state and its
/// evidence, without a wait and without a store. Once `idle` has passed since the eviction, the next circuit inherits
/// only from a circuit that would reject the next call. At most `max_keys` evicted circuits stay in memory. If there
/// are more, circuits whose keys were not used for `idle` are forgotten first, and then the circuits of the keys with
/// the fewest calls. The layer remembers how many calls the forgotten keys had, so that a host in use stays longer the
/// next time. With a `max_keys` of up to 4 096, this memory has at least the last 85 × `max_keys` forgotten keys. With
/// a larger `max_keys`, the memory has at least the last 349 000. Therefore a flood of keys hardly delays the opening
/// of another key's circuit, see [keys of strangers](crate::guide::stacks#keys-of-strangers). With a store, the circuit
/// of a forgotten key is restored when the key is used again, but its first call does not wait for that restore. When
/// the last clone of a `Keyed` is dropped, all its circuits leave the registry.
///
/// If operators hold nearly all circuits of the layer, calls of new keys pass **unguarded** for the next second. A
/// healthy host must not be rejected because of other hosts. Calls also pass unguarded if the circuits of the
/// application and of other layers fill the registry, or if the template refuses the settings of a key. Unguarded calls
/// are counted in `circuit_breaker_unguarded_calls_total{reason}`, with the reason `full`, `registry_full` or `config`,
/// and in [`status`](Self::status). A warning is logged at most once a minute.
///
/// # Restarts
///
/// With a store, the circuits under the prefix that are not closed in the store are restored before a call uses their
/// keys. They are restored when the registry starts, or when the `Keyed` is built if the registry has already started.
/// At most `max_keys` circuits are restored in this way. Circuits that reject calls or that an operator holds come
/// first, then circuits that this instance has written, then the circuits that were written last. A circuit that would
/// admit the next call and was not written for `idle` is not restored. If `first_call_waits` of the registry is set,
/// the services of a layer wait in `poll_ready` until these circuits are restored, at most for that duration.
/// [`circuit`](Self::circuit) does not wait.
///
/// Another program may share the store and have circuits whose names begin with the prefix. The layer cannot
/// distinguish these circuits from the circuits of its keys, so give other circuits other names, or give each program a
/// store of its own.
///
/// # Metrics
///
/// At first, all keys share one label `service`, which is the prefix followed by `other`. A key gets its own name as
/// the label when the key was used often enough, as long as the [`label_budget`](KeyedBuilder::label_budget) lasts.
/// Calls within 17 ms count as one use. Each label of the first half of the budget costs 8 uses, of the next quarter
/// 32, of the next eighth 128, and so on. A caller can therefore not take all labels with a few calls for each key.
/// Once a key has its own label, the calls of its circuit are counted under this label, and the next event or refresh
/// moves the gauges to this label.
///
/// Under the shared label, counters are sums over its circuits. The gauges `circuit_breaker_tripped` and
/// `circuit_breaker_state` count circuits, and `circuit_breaker_failures_1m` is absent. Recorders of metrics cannot
/// remove a label. Therefore an evicted key keeps its label, with gauges at zero, and uses the label again when the key
/// is used again. A layer has at most `label_budget` labels and the shared label for as long as the layer lives. Log
/// lines always have the name of the circuit.
///
/// # Examples
///
/// ```
/// use std::{borrow::Cow, time::Duration};
/// use tower_circuit_breaker::{CircuitBreakerLayer, Config, Registry, keyed::Keyed};
///
/// let registry = Registry::new();
/// let per_host = Keyed::builder(&registry, |name| Config::builder(name).consecutive_failures(3))
///     .prefix("host:")
///     .max_keys(2_000)
///     .idle(Duration::from_secs(600))
///     .by(|request: &http::Request<String>| request.uri().host().map(Cow::Borrowed))?;
/// let layer = CircuitBreakerLayer::keyed(per_host);
/// # let _ = layer;
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
#[cfg(feature = "keyed")]
pub struct Keyed<F> {
    parts: Arc<Parts<F>>,
}

#[cfg(feature = "keyed")]
struct Parts<F> {
    key: F,
    circuits: Circuits,
}

#[cfg(feature = "keyed")]
impl Keyed<()> {
    /// Starts a builder with the default settings and a template for the circuits. The circuits belong to
    /// `registry`.
    ///
    /// The template gets the name of the circuit, and can return different settings for different names. If the
    /// template sets another name, that name has no effect. Therefore `move |_| settings.clone()` works with one
    /// existing configuration.
    pub fn builder<T>(registry: &Registry, template: T) -> KeyedBuilder
    where
        T: Fn(&str) -> ConfigBuilder + Send + Sync + 'static,
    {
        KeyedBuilder::new(registry, template)
    }
}

#[cfg(feature = "keyed")]
impl<F: Send + Sync> crate::group::Layer for Parts<F> {
    fn absent(&self, group: &crate::group::Group) -> crate::group::Absent {
        self.circuits.absent(group)
    }
}

#[cfg(feature = "keyed")]
impl<F: Send + Sync + 'static> Keyed<F> {
    /// Creates the layer. `circuits` creates the map of circuits. Its argument is a reference to the new layer, which
    /// the groups of the circuits use to find circuits whose keys are not in use.
    fn new(key: F, circuits: impl FnOnce(std::sync::Weak<dyn crate::group::Layer>) -> Circuits) -> Self {
        let parts =
            Arc::new_cyclic(|parts: &std::sync::Weak<Parts<F>>| Parts { key, circuits: circuits(parts.clone()) });
        #[cfg(feature = "store")]
        {
            let keyed: std::sync::Weak<Parts<F>> = Arc::downgrade(&parts);
            parts.circuits.registry.add_keyed(keyed);
        }
        Self { parts }
    }
}

#[cfg(feature = "keyed")]
impl<F> Keyed<F> {
    /// Returns the circuit of a key, and creates the circuit if necessary. The key counts as used. Returns
    /// `None` if calls of the key currently pass unguarded.
    ///
    /// Use this method for calls outside tower. A stored handle stays valid after an eviction, but the key
    /// may then get another circuit.
    #[must_use]
    pub fn circuit(&self, key: &str) -> Option<Circuit> {
        self.parts.circuits.with(key, |circuit| Some(circuit?.clone()))
    }

    /// Returns the number of keys, and the numbers of evictions and of unguarded calls.
    #[must_use]
    pub fn status(&self) -> KeyedStatus {
        self.parts.circuits.status()
    }
}

#[cfg(feature = "keyed")]
impl<Req, F> Select<Req> for Keyed<F>
where
    F: for<'a> Fn(&'a Req) -> Option<Cow<'a, str>>,
{
    fn shared(&self) -> Option<&Circuit> {
        None
    }

    #[inline]
    fn with<T>(&self, request: &Req, act: impl FnOnce(Option<&Circuit>) -> T) -> T {
        match (self.parts.key)(request) {
            Some(key) => self.parts.circuits.with(&key, act),
            None => act(None),
        }
    }

    fn gate(&self) -> Option<&Circuit> {
        self.parts.circuits.gate.as_ref()
    }
}

#[cfg(feature = "keyed")]
impl<F> Clone for Keyed<F> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

#[cfg(feature = "keyed")]
impl<F> fmt::Debug for Keyed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// The number of keys of a [`Keyed`], and the numbers of evictions and of unguarded calls.
#[cfg(feature = "keyed")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyedStatus {
    /// The number of keys that are currently known, which is at most [`max_keys`](KeyedBuilder::max_keys).
    pub keys: usize,
    /// The number of keys that were evicted since the start.
    pub evicted: u64,
    /// The number of calls since the start that had a key and passed unguarded.
    pub unguarded: u64,
}
