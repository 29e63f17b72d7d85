//! The settings of keyed circuits, checked once.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::Keyed;
use super::circuits::{Circuits, Template};
use crate::config::{Config, ConfigBuilder, ConfigError};
use crate::registry::Registry;

/// Settings of keyed circuits. Each method says its range and default.
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

    /// Puts `prefix` before every name, so that two layers with one registry have circuits of their own.
    ///
    /// Up to 100 bytes of printable text without spaces; default: none. End it with what no key begins with: `payments:`.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Sets how many keys may be known at once. Range: 1 to the registry's limit; default 1 000, or that limit if it is less.
    ///
    /// A circuit takes about 1.5 KiB, and half as much again with a store. It should be well above the number of keys that are
    /// in use within a minute: a circuit that is evicted between two calls learns nothing.
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Sets after how long without a call a key is forgotten. Range: 1 s to 365 days; default 1 h.
    ///
    /// Looked at when new keys come, at most once in a quarter of it: nothing runs in the background.
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets how many keys have their own name in metrics; the others share `other`. Default: 200. Zero: all do.
    pub const fn label_budget(mut self, names: usize) -> Self {
        self.labels = names;
        self
    }

    /// Checks the settings, and takes the closure that says which key a request has. `None` lets the request pass unguarded.
    ///
    /// ```
    /// # use std::borrow::Cow;
    /// # use tower_circuit_breaker::{Config, Registry, keyed::Keyed};
    /// # let registry = Registry::new();
    /// # let keyed = || Keyed::builder(&registry, Config::builder);
    /// // Per method of gRPC: the path. Per host, whatever its case: a key may be made, which allocates.
    /// let per_method = keyed().by(|request: &http::Request<()>| Some(request.uri().path().into()))?;
    /// let per_host = keyed().by(|request: &http::Request<()>| Some(request.uri().host()?.to_ascii_lowercase().into()))?;
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field, the value and what is allowed; so too if the template's settings can never work, for
    /// which it is asked once.
    pub fn by<Req, F>(self, key: F) -> Result<Keyed<F>, ConfigError>
    where
        // The bound stands here, so that a closure's references are taken as it is written.
        F: for<'a> Fn(&'a Req) -> Option<Cow<'a, str>>,
    {
        let limit = self.registry.limit();
        if !(1..=limit).contains(&self.max_keys) {
            return Err(ConfigError::new("max_keys", self.max_keys, format!("1 to the registry's limit of {limit}")));
        }
        let (second, year) = (Duration::from_secs(1), Duration::from_secs(365 * 24 * 3600));
        if !(second..=year).contains(&self.idle) {
            return Err(ConfigError::new("idle", format_args!("{:?}", self.idle), "1s to 365 days"));
        }
        if self.prefix.len() > LONGEST_PREFIX || !self.prefix.chars().all(crate::config::is_printable) {
            let shown: String = self.prefix.chars().take(40).collect();
            let allowed = "up to 100 bytes of printable text without spaces";
            return Err(ConfigError::new("prefix", format_args!("{shown:?} ({} bytes)", self.prefix.len()), allowed));
        }
        let sample: Config = (self.template)(&format!("{}key", self.prefix)).build()?;
        Ok(Keyed::new(key, Circuits::new(self, sample.clock)))
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

/// Leaves room for a made name, and for a host's name of usual length.
const LONGEST_PREFIX: usize = 100;
