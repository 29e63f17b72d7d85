//! The selection of the circuit for a request. Either all requests share one circuit, or each key has a circuit.
//!
//! [`OneCircuit`] is the default, and has one circuit for all requests through a layer. With the feature `keyed`,
//! `Keyed` has one circuit of a registry for each host, path, method or tenant. Keys come from requests. Therefore the
//! number of keys is limited, and every key is checked before it becomes the name of a circuit.

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
    /// Returns the circuit that all requests share, so that `poll_ready` can use the circuit before a request is known.
    /// Returns `None` if the circuit depends on the request.
    fn shared(&self) -> Option<&Circuit>;

    /// Calls `act` with the circuit of the request, or with `None` if the request passes unguarded (without a circuit).
    ///
    /// `act` gets a reference, because cloning a handle would cost more than finding the circuit.
    fn with<T>(&self, request: &Req, act: impl FnOnce(Option<&Circuit>) -> T) -> T;

    /// Returns the circuit for which `poll_ready` waits until the circuit is restored from the store. For circuits that
    /// depend on the request, this is a placeholder circuit, which counts as restored when all these circuits are
    /// restored. Default: `None`.
    fn gate(&self) -> Option<&Circuit> {
        None
    }
}

/// The default selection of a layer, with one circuit for all requests.
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
/// The first request with a key creates the circuit of the key from the template. The circuit is in the registry, so
/// that operators can see the circuit and a store can keep its state. Later lookups take no lock and allocate nothing.
///
/// # The name of a circuit
///
/// The name is the prefix followed by the key. A key is not a valid name if it is empty, too long, or has spaces or
/// control characters. Such a key is replaced by its first characters, a `~`, and 128 bits of its SHA-256 hash in
/// hexadecimal. A key has the same name on every instance and after every restart. A key that already looks like a
/// hashed name is hashed too, so that a caller cannot forge the name of another key. Finding two keys with the same
/// name takes 2^64 tries. Finding a second key for a given name takes 2^128 tries. Keys are not normalised. For
/// example, `A.example` and `a.example` are two keys unless the closure returns the same key for both.
///
/// All names that begin with the [prefix](KeyedBuilder::prefix) belong to the layer. The registry refuses these names
/// for the circuits of the application and of other layers. Therefore a caller who chooses keys can harm only the
/// circuits of this layer.
///
/// # Bounds
///
/// The layer knows at most [`max_keys`](KeyedBuilder::max_keys) keys. When a further key arrives, or when the registry
/// has no room for a new key, the layer evicts an eighth of the known keys. The order of eviction is as follows.
///
/// 1. Circuits that were restored from the store and have had no call.
/// 2. Circuits without history, least recently used first. A circuit without history is closed, and has no failures or
///    slow calls in its evidence and no calls under way. It has no recent openings that lengthen the next open
///    duration. The time of the last use has a resolution of 17 ms.
/// 3. All other circuits. Circuits whose keys have the fewest calls are evicted first. Rejected and cancelled calls are
///    not included in the number of calls.
///
/// A key that was not used for [`idle`](KeyedBuilder::idle) is evicted too. A key stays if its circuit would reject the
/// next call or has calls under way, or if the application has a handle to the circuit. A circuit that an operator
/// holds is never evicted.
///
/// An evicted circuit leaves the registry. Its calls under way end as usual, and its unsaved state is written to the
/// store. An evicted circuit with history stays in memory. When its key is used again, the new circuit inherits the
/// state and the evidence of the evicted circuit at once, also without a store. If `idle` has passed since the
/// eviction, the new circuit inherits only from an evicted circuit that would reject the next call.
///
/// At most `max_keys` evicted circuits stay in memory. If there are more, the layer forgets circuits whose keys were
/// not used for `idle`, and then circuits whose keys have the fewest calls. The layer still remembers the number of
/// calls of a forgotten key. If the key returns, its earlier calls are counted, so that a key in use is not forgotten
/// again soon. With a `max_keys` of up to 4 096, the layer remembers at least the last 85 × `max_keys` forgotten keys.
/// With a larger `max_keys`, the layer remembers at least the last 349 000 forgotten keys. A circuit whose key is
/// forgotten loses its failures, and opens later than with these failures. Because the layer remembers so many keys, a
/// caller who sends very many keys can hardly cause this delay for keys in use, see [keys of
/// strangers](crate::guide::stacks#keys-of-strangers).
///
/// With a store, the circuit of a forgotten key is restored when the key is used again. The first call does not wait
/// for the restore. When the last clone of a `Keyed` is dropped, all its circuits leave the registry.
///
/// If operators hold nearly all circuits of the layer, calls of new keys pass **unguarded** (without a circuit) for the
/// next second. The calls are not rejected, because their hosts may be healthy. Calls also pass unguarded if the
/// circuits of the application and of other layers fill the registry, or if the settings from the template are invalid.
/// Unguarded calls are counted in `circuit_breaker_unguarded_calls_total{reason}`, with the reason `full`,
/// `registry_full` or `config`, and in [`status`](Self::status). A warning is logged at most once a minute.
///
/// # Restarts
///
/// With a store, keyed circuits that are open, half-open or held in the store are restored without a call. The restore
/// begins when the registry starts, or when the `Keyed` is built if the registry has already started. At most
/// `max_keys` circuits are restored in this way. Circuits that reject calls or that an operator holds come first, then
/// circuits that this instance has written, then the other circuits, most recently written first. A circuit is not
/// restored if it would admit the next call and its record was last written at least `idle` ago. If `first_call_waits`
/// of the registry is set, the services of a layer wait in `poll_ready` until these circuits are restored, at most for
/// the duration of `first_call_waits`. [`circuit`](Self::circuit) does not wait.
///
/// If another program shares the store, its circuits must not have names that begin with the prefix. The layer cannot
/// distinguish circuits of another program from the circuits of its keys.
///
/// # Metrics
///
/// At first, all keys share one value of the label `service`, which is the prefix followed by `other`. A key that was
/// used often enough gets its own name as the label, as long as the [`label_budget`](KeyedBuilder::label_budget) lasts.
/// All calls within 17 ms count as one use. A label from the first half of the budget costs 8 uses of the key. A label
/// from the next quarter costs 32 uses, a label from the next eighth 128 uses, and so on. Therefore a caller cannot
/// take all labels with a few calls for each key. Once a key has its own label, the calls of its circuit are counted
/// under this label. The gauges move to this label with the next event or refresh.
///
/// Under the shared label, each counter is the sum over all circuits with this label. The gauges
/// `circuit_breaker_tripped` and `circuit_breaker_state` count circuits, and `circuit_breaker_failures_1m` is absent.
/// Metrics recorders cannot remove a label. Therefore an evicted key keeps its label, with gauges at zero. When the key
/// is used again, its circuit has the same label. A layer has at most `label_budget` labels and the shared label for as
/// long as the layer lives. Log lines always have the name of the circuit.
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
    /// The template gets the name of the circuit, and can return different settings for different names. A name that
    /// the template sets is ignored. Therefore the template `move |_| settings.clone()` works with one existing
    /// configuration.
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
    /// Creates the layer. `circuits` returns the map of circuits for the layer. The argument of `circuits` is a weak
    /// reference to the new layer. The groups of the circuits use this reference to count circuits whose keys are not
    /// in use.
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
    /// Returns the circuit of a key, and creates the circuit if necessary. The call of this method counts as a use of
    /// the key. Returns `None` if calls of the key currently pass unguarded (without a circuit).
    ///
    /// Use this method for calls outside tower. If the application stores the handle, the handle stays valid after an
    /// eviction of the key. The key may then get a new circuit.
    #[must_use]
    pub fn circuit(&self, key: &str) -> Option<Circuit> {
        self.parts.circuits.with(key, |circuit| Some(circuit?.clone()))
    }

    /// Returns the number of known keys, the number of evictions, and the number of unguarded calls.
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

/// The number of known keys of a [`Keyed`], the number of evictions, and the number of unguarded calls.
#[cfg(feature = "keyed")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyedStatus {
    /// The number of keys that are currently known, which is at most [`max_keys`](KeyedBuilder::max_keys).
    pub keys: usize,
    /// The number of evictions of keys since the `Keyed` was built.
    pub evicted: u64,
    /// The number of calls with a key that passed unguarded (without a circuit) since the `Keyed` was built.
    pub unguarded: u64,
}
