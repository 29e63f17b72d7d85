//! The builder of keyed circuits, which checks their settings once.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::Keyed;
use super::circuits::{Circuits, Template};
use crate::circuit::expect_names;
use crate::config::{Config, ConfigBuilder, ConfigError};
use crate::registry::Registry;
use crate::roll_call::{Call, note};
use crate::shown::{is_printable, quoted};
use crate::state::Exact;
use crate::telemetry;

/// Settings of keyed circuits. Each method states its range and default.
#[must_use = "settings do nothing until `by` makes circuits of them"]
pub struct KeyedBuilder {
    pub(super) registry: Registry,
    pub(super) template: Template,
    pub(super) prefix: String,
    pub(super) max_keys: usize,
    pub(super) idle: Duration,
    pub(super) labels: usize,
}

impl KeyedBuilder {
    pub(super) fn new(registry: &Registry, template: impl Fn(&str) -> ConfigBuilder + Send + Sync + 'static) -> Self {
        Self {
            registry: registry.clone(),
            template: Box::new(template),
            prefix: String::new(),
            max_keys: 1_000.min(registry.limit()),
            idle: Duration::from_secs(3600),
            labels: 200,
        }
    }

    /// Puts `prefix` before every name, so that two layers with one registry have different circuits.
    ///
    /// Range: up to 100 bytes of printable text without spaces. Default: empty. End the prefix with a
    /// character that separates it from the keys, as in `payments:`.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Sets the largest number of known keys. Range: 1 to the limit of the registry. Default: 1 000, or the
    /// limit of the registry if that limit is lower.
    ///
    /// A circuit takes about 1.5 KiB, and half as much again with a store. Choose a number well above the keys that are
    /// used within a minute, because a circuit that is evicted between two calls collects no evidence.
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Sets the time without a call after which a key is evicted. Range: 1 s to 365 days. Default: 1 h.
    ///
    /// The idle time is checked only when a new key arrives, and at most once in a quarter of the idle time,
    /// because no task runs in the background.
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets the number of keys that have their own name as the label in metrics. All other keys share one
    /// label, which is the prefix followed by `other`. With 0, all keys share that label. Default: 200.
    pub const fn label_budget(mut self, names: usize) -> Self {
        self.labels = names;
        self
    }

    /// Checks the settings and creates the keyed circuits. The closure returns the key of a request. If the
    /// closure returns `None`, the request passes unguarded.
    ///
    /// With a store, the circuits under the prefix that are not closed in the store are restored with the
    /// next `start` or `restore`, or immediately if the registry has already started.
    ///
    /// ```
    /// # use std::borrow::Cow;
    /// # use tower_circuit_breaker::{Config, Registry, keyed::Keyed};
    /// # let registry = Registry::new();
    /// # let keyed = || Keyed::builder(&registry, Config::builder);
    /// // For each gRPC method, the path. For each host in lower case, a key that the closure creates, which allocates.
    /// let per_method = keyed().by(|request: &http::Request<()>| Some(request.uri().path().into()))?;
    /// let per_host = keyed().by(|request: &http::Request<()>| Some(request.uri().host()?.to_ascii_lowercase().into()))?;
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field, the value and the allowed range. This method calls the template once,
    /// and returns an error of the settings of the template too.
    pub fn by<Req, F>(self, key: F) -> Result<Keyed<F>, ConfigError>
    where
        // The bound is on this method, because the compiler infers the reference lifetimes of a closure from the bound of
        // the method that receives the closure.
        F: for<'a> Fn(&'a Req) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    {
        let limit = self.registry.limit();
        if !(1..=limit).contains(&self.max_keys) {
            return Err(ConfigError::new("max_keys", self.max_keys, format!("1 to the registry's limit of {limit}")));
        }
        let (second, year) = (Duration::from_secs(1), Duration::from_secs(365 * 24 * 3600));
        if !(second..=year).contains(&self.idle) {
            return Err(ConfigError::new("idle", Exact(self.idle), "1 s to 365 days"));
        }
        if self.prefix.len() > LONGEST_PREFIX || !self.prefix.chars().all(is_printable) {
            let allowed = "up to 100 bytes of printable text without spaces";
            return Err(ConfigError::new(
                "prefix",
                format_args!("\"{}\" ({} bytes)", quoted(&self.prefix), self.prefix.len()),
                allowed,
            ));
        }
        let sample: Config = (self.template)(&format!("{}key", self.prefix)).build()?;
        // The names of the kill switch must be noted first, because a note before the first expected name is
        // dropped.
        expect_names();
        note(|| Call::Keyed(self.prefix.clone()));
        telemetry::keyed::begin();
        Ok(Keyed::new(key, Circuits::new(self, &sample)))
    }
}

impl fmt::Debug for KeyedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, max_keys, idle, labels, .. } = self;
        let mut debug = f.debug_struct("KeyedBuilder");
        debug.field("prefix", prefix).field("max_keys", max_keys).field("idle", idle).field("label_budget", labels);
        debug.finish_non_exhaustive()
    }
}

/// The longest prefix in bytes, which leaves room for a hashed name and for a host name of usual length.
const LONGEST_PREFIX: usize = 100;
