//! Which circuit a request belongs to.
//!
//! [`OneCircuit`] is the default: one circuit for all that goes through a layer. With the feature `keyed`, `Keyed` has a circuit of a
//! registry for each host, path, method or tenant. Keys come with requests, so their number is bounded, and none of them is
//! trusted as a name.

#[cfg(feature = "keyed")]
mod builder;
#[cfg(feature = "keyed")]
mod circuits;
#[cfg(feature = "keyed")]
mod name;
#[cfg(feature = "keyed")]
mod room;

#[cfg(feature = "keyed")]
use std::{borrow::Cow, fmt, sync::Arc};

use crate::circuit::Circuit;
#[cfg(feature = "keyed")]
pub use builder::KeyedBuilder;
#[cfg(feature = "keyed")]
use circuits::Circuits;
#[cfg(feature = "keyed")]
use {crate::config::ConfigBuilder, crate::registry::Registry};

/// Says which circuit a request belongs to: the parameter `K` of a layer.
pub trait Select<Req> {
    /// Returns the circuit that every request belongs to, if there is only one: readiness is a matter of that one.
    fn shared(&self) -> Option<&Circuit>;

    /// Acts on the circuit of the request; `None` lets the request pass unguarded.
    ///
    /// The circuit is lent and not handed out, because a handle costs a call more than the look-up.
    fn with<T>(&self, request: &Req, act: impl FnOnce(Option<&Circuit>) -> T) -> T;
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

/// A circuit for each key that requests have. Clones are handles to the same circuits.
///
/// A circuit is made when its key is first met, from the one template, and belongs to the registry: there it is seen, operated
/// and kept. Its lookup afterwards takes no lock and allocates nothing.
///
/// # What a key becomes
///
/// The circuit is named after the key, behind the prefix. A key that is no name (empty, too long, with spaces or control
/// characters) becomes its first characters, `~` and 128 bits of its SHA-256 in hexadecimal: the same name on every instance and
/// after every restart. So does a key that looks like one of those, so that none can be forged; two keys with one name would
/// take 2^64 tries to find, and hitting the name of a given one 2^128. Nothing is normalised: `A.example` and `a.example` are
/// two keys unless the closure makes them one.
///
/// # Bounds
///
/// At most [`max_keys`](KeyedBuilder::max_keys) keys are known. When another comes, an eighth of them is evicted at once, least
/// recently used first, as far as a clock of 17 ms tells; and whatever was not used for [`idle`](KeyedBuilder::idle). An evicted
/// circuit leaves the registry. Calls under way end as they would; what it had to write goes to the store, from which it is
/// restored when its key comes back, without a call waiting for it. With the last clone of this, all its circuits leave the
/// registry.
///
/// A circuit that is open, half-open, or held by an operator is never evicted to make room. One that has not been used for
/// [`idle`](KeyedBuilder::idle), and would by now let the next call through as a probe, goes: hosts that are gone for good leave
/// nothing but open circuits, and would fill the place.
///
/// If nothing may be evicted, calls of new keys pass **unguarded** for the next second: a healthy host is never rejected because of
/// others. So they do if the registry is full, or has a circuit of that name with other settings. Such calls are counted
/// (`circuit_breaker_unguarded_calls_total{reason}`, with the reason `full`, `registry_full` or `config`, and in
/// [`status`](Self::status)), and a warning says so, once a minute.
///
/// # Metrics
///
/// The first [`label_budget`](KeyedBuilder::label_budget) keys are told under their own names, in the label `service`. All others
/// share `service="other"`, behind the prefix. There counters add up, `circuit_breaker_tripped` and `circuit_breaker_state` are
/// numbers of circuits, and `circuit_breaker_failures_1m` is left out. No recorder can forget a name, so an evicted key keeps its
/// part of the budget, with gauges at zero, and has it again when it comes back. Logs always say the circuit's name.
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
    /// Starts from the default settings, with a template for the circuits of that registry.
    ///
    /// The template is given the circuit's name, and may say something else for some of them. Whatever name it sets, the
    /// circuit has the one it was given: `move |_| settings.clone()` does for one configuration that is there already.
    pub fn builder<T>(registry: &Registry, template: T) -> KeyedBuilder
    where
        T: Fn(&str) -> ConfigBuilder + Send + Sync + 'static,
    {
        KeyedBuilder::new(registry, template)
    }
}

#[cfg(feature = "keyed")]
impl<F> Keyed<F> {
    fn new(key: F, circuits: Circuits) -> Self {
        Self { parts: Arc::new(Parts { key, circuits }) }
    }

    /// Returns the circuit of that key, a new one if need be, and takes it as used. `None`: calls of that key are unguarded now.
    ///
    /// For calls beside tower. A handle that is kept outlives an eviction, but then the key may get another circuit.
    #[must_use]
    pub fn circuit(&self, key: &str) -> Option<Circuit> {
        self.parts.circuits.with(key, |circuit| Some(circuit?.clone()))
    }

    /// Returns how many keys there are, and what became of others.
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

/// How many keys a [`Keyed`] has, and what became of others.
#[cfg(feature = "keyed")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyedStatus {
    /// The keys that are known now, at most [`max_keys`](KeyedBuilder::max_keys).
    pub keys: usize,
    /// How many were evicted since the start.
    pub evicted: u64,
    /// How many calls passed unguarded since the start although they had a key.
    pub unguarded: u64,
}
