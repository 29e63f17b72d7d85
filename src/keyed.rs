//! The circuit of a request.
//!
//! [`OneCircuit`] is the default, with one circuit for all requests through a layer. With the feature `keyed`, `Keyed`
//! has one circuit of a registry for each host, path, method or tenant. Keys come with requests. Therefore their number
//! is bounded, and a key is never used as a name without a check.

#[cfg(feature = "keyed")]
mod builder;
#[cfg(feature = "keyed")]
mod circuits;
#[cfg(feature = "keyed")]
mod name;
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

/// Selects the circuit of a request. The parameter `K` of a layer.
pub trait Select<Req> {
    /// Returns the circuit of every request if there is only one, so that `poll_ready` can use it. `None` if it depends
    /// on the request.
    fn shared(&self) -> Option<&Circuit>;

    /// Calls `act` with the circuit of the request. `None` lets the request pass unguarded.
    ///
    /// `act` gets a reference, because a handle would cost a call more than the lookup.
    fn with<T>(&self, request: &Req, act: impl FnOnce(Option<&Circuit>) -> T) -> T;

    /// Returns the circuit whose restore `poll_ready` awaits if the circuit of the request is not known yet. Default:
    /// none.
    fn gate(&self) -> Option<&Circuit> {
        None
    }
}

/// One circuit for every request. The default.
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
/// The first request of a key creates its circuit from the template. The circuit belongs to the registry, so that
/// operators see it there and a store keeps it. Later lookups take no lock and allocate nothing.
///
/// # The name of a circuit
///
/// The name is the prefix and the key. A key that is not a valid name (empty, too long, with spaces or control
/// characters) becomes its first characters, `~` and 128 bits of its SHA-256 in hexadecimal. The result is the same on
/// every instance and after every restart. A key that already looks like such a result is hashed as well, so that a
/// caller cannot forge one. To find two keys with one name takes 2^64 tries, and to match the name of a given key
/// 2^128. Keys are not normalised: `A.example` and `a.example` are two keys unless the closure makes them one.
///
/// # Bounds
///
/// At most [`max_keys`](KeyedBuilder::max_keys) keys are known. When another key comes, an eighth of them is evicted at
/// once, least recently used first, with a resolution of 17 ms. A key that was not used for
/// [`idle`](KeyedBuilder::idle) is evicted as well. An evicted circuit leaves the registry. Its calls under way end as
/// usual, and its unsaved state is written to the store. When the key comes back, a circuit that was not closed is as
/// open as it was, because up to `max_keys` such states are kept in memory. Everything else is restored from the store,
/// and no call waits for that. When the last clone of a `Keyed` is dropped, all its circuits leave the registry.
///
/// A circuit that is open, half-open, or held by an operator is never evicted to make room. Such a circuit is evicted
/// if it was not used for [`idle`](KeyedBuilder::idle) and would now admit the next call as a probe. Otherwise hosts that are gone
/// for good would fill the place with open circuits.
///
/// If no circuit can be evicted, calls of new keys pass **unguarded** for the next second, because a healthy host must
/// not be rejected on account of other hosts. Calls also pass unguarded if the registry is full, or has a circuit of
/// the same name with other settings. Such calls are counted in `circuit_breaker_unguarded_calls_total{reason}`, with
/// the reason `full`, `registry_full` or `config`, and in [`status`](Self::status). A warning is logged at most once a
/// minute.
///
/// # Restarts
///
/// With a store, the circuits under the prefix that are not closed in the store come back by themselves: with the start
/// of the registry, or when the keys are built if the registry was started before. At most `max_keys` circuits come
/// back, first those that reject calls or that an operator holds, then those that this instance has written, then the
/// youngest. A circuit that would admit the next call and was not written for `idle` stays in the store. If
/// `first_call_waits` of the registry is set, the services of a layer wait in `poll_ready` until these circuits are
/// restored, at most for that duration. [`circuit`](Self::circuit) does not wait.
///
/// A store may have names that only begin like the names of keys. Therefore a circuit that came back makes way for a
/// circuit of the same name with other settings, and for keys that are called, until its own key is called. Of two
/// prefixes of which one begins with the other, the longer one has the name.
///
/// # Metrics
///
/// The first [`label_budget`](KeyedBuilder::label_budget) keys have their own names in the label `service`. All others
/// share the prefix followed by `other`. Under this shared label counters add up, `circuit_breaker_tripped` and
/// `circuit_breaker_state` are numbers of circuits, and `circuit_breaker_failures_1m` is absent. Recorders cannot
/// remove a name. Therefore an evicted key keeps its part of the budget, with gauges at zero, and uses its name again
/// when it comes back. Log lines always have the name of the circuit.
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
    /// Starts from the default settings, with a template for the circuits, which belong to `registry`.
    ///
    /// The template gets the name of the circuit, and can return different settings for different names. A name that
    /// the template sets is replaced by the given name. Therefore `move |_| settings.clone()` works with one existing
    /// configuration.
    pub fn builder<T>(registry: &Registry, template: T) -> KeyedBuilder
    where
        T: Fn(&str) -> ConfigBuilder + Send + Sync + 'static,
    {
        KeyedBuilder::new(registry, template)
    }
}

#[cfg(feature = "keyed")]
impl<F: Send + Sync + 'static> Keyed<F> {
    fn new(key: F, circuits: Circuits) -> Self {
        let parts = Arc::new(Parts { key, circuits });
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
    /// Returns the circuit of a key, and creates it if necessary. The key counts as used. `None` if calls of the key
    /// are unguarded now.
    ///
    /// For calls outside tower. A stored handle outlives an eviction, but then the key may get another circuit.
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
    /// The number of keys that are known now, at most [`max_keys`](KeyedBuilder::max_keys).
    pub keys: usize,
    /// The number of keys that were evicted since the start.
    pub evicted: u64,
    /// The number of calls since the start that had a key and passed unguarded.
    pub unguarded: u64,
}
