//! The builder of keyed circuits, which checks their settings once.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::Keyed;
use super::circuits::{Circuits, Template};
use crate::circuit::expect_names;
use crate::config::{Config, ConfigBuilder, ConfigError, check_share};
use crate::pattern::{RESERVED, is_reserved};
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
    /// The prefix of the names. `None` until the caller has set the prefix, which has no default.
    pub(super) prefix: Option<String>,
    pub(super) max_keys: usize,
    pub(super) idle: Duration,
    pub(super) labels: usize,
    /// The share of the keys whose circuits may be open. `None` for no group.
    pub(super) at_most_open: Option<f64>,
}

impl KeyedBuilder {
    pub(super) fn new(registry: &Registry, template: impl Fn(&str) -> ConfigBuilder + Send + Sync + 'static) -> Self {
        Self {
            registry: registry.clone(),
            template: Box::new(template),
            prefix: None,
            max_keys: 1_000.min(registry.limit()),
            idle: Duration::from_secs(3600),
            labels: 200,
            at_most_open: None,
        }
    }

    /// Sets the prefix of all circuit names of this layer, so that no key has the name of another circuit. Required.
    ///
    /// Range: 1 to 100 bytes of printable text without spaces. The last character separates the prefix from the keys,
    /// and is neither a letter nor a digit. An example is `host:`.
    ///
    /// All names that begin with the prefix belong to this layer until the last clone of its [`Keyed`] is dropped.
    /// Without this rule, a caller could send the key `payments` and open a circuit of the application with that name.
    /// Therefore [`by`](Self::by) refuses a prefix if the name of a circuit of the registry begins with the prefix. A
    /// prefix is also refused if it begins with the prefix of another layer, or if the prefix of another layer begins
    /// with it. Afterwards [`Registry::circuit`] refuses names that begin with the prefix. To use the circuits in
    /// several places, clone the [`Keyed`].
    ///
    /// Other programs that share the store have registries of their own. Give their circuits names that do not begin
    /// with the prefix.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self
    }

    /// Sets the largest number of known keys. Range: 1 to the limit of the registry. Default: 1 000, or the
    /// limit of the registry if that limit is lower.
    ///
    /// A circuit takes about 1.5 KiB, or 2.25 KiB with a store. In addition to `keys` circuits, `keys` evicted circuits
    /// can stay in memory. If callers let very many keys fail, the memory of forgotten keys takes up to 1 KiB more for
    /// each key, at least 8 KiB and at most 2 MiB. Choose a number well above the number of keys that are used within a
    /// minute, because a circuit that is evicted between two calls loses its successes.
    ///
    /// The registry needs a limit above the sum of `max_keys` of its layers and the number of other circuits. Otherwise
    /// callers who choose keys can fill the registry.
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Sets the time without a call after which a key is evicted. A key stays if its circuit would reject the next
    /// call, has a call under way or is held by an operator, or if the application has a handle to the circuit. Range:
    /// 1 s to 365 days. Default: 1 h.
    ///
    /// The idle time is checked only when a new key arrives, and at most once in a quarter of the idle time,
    /// because no task runs in the background.
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets the number of keys that can get their own name as the label in metrics. All other keys share one
    /// label, which is the prefix followed by `other`. With 0, all keys share that label. Default: 200.
    ///
    /// A key gets a label after a number of uses, as [`Keyed`] describes. Each label has some dozen series, which stay
    /// for the life of the process.
    pub const fn label_budget(mut self, names: usize) -> Self {
        self.labels = names;
        self
    }

    /// Puts the circuits of all keys into one [group](crate::Group), of which at most this share, but at least one
    /// circuit, may be open at the same time. The group has the prefix as its name, and replaces a group that the
    /// template sets. Range: more than 0, at most 1. Default: no group.
    ///
    /// Use a group if the keys are the endpoints of one service, of which some must stay in rotation. Keys of
    /// independent services need no group. A caller who chooses the keys can fill the group with keys that fail, so
    /// that the circuits of other keys stay closed. The circuit of a key that is not in use is no member of the group,
    /// as [`Group`](crate::Group) describes. A key that is evicted leaves the group. If a handle to its circuit is
    /// still in use, the circuit opens without a slot.
    pub const fn at_most_open(mut self, share: f64) -> Self {
        self.at_most_open = Some(share);
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
    /// # let keyed = |prefix: &str| Keyed::builder(&registry, Config::builder).prefix(prefix);
    /// // The key of a gRPC method is its path, which is borrowed. The key of a host in lower case is a new text.
    /// let per_method = keyed("method:").by(|request: &http::Request<()>| Some(request.uri().path().into()))?;
    /// let per_host = keyed("host:")
    ///     .by(|request: &http::Request<()>| Some(request.uri().host()?.to_ascii_lowercase().into()))?;
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field, the value and the allowed range, for example if the registry has another circuit
    /// or layer whose names clash with the prefix. This method calls the template once, and also returns the error of
    /// the settings that the template returned.
    pub fn by<Req, F>(self, key: F) -> Result<Keyed<F>, ConfigError>
    where
        // The bound is on this method, because the compiler infers the reference lifetimes of a closure from the bound
        // of the method that receives the closure.
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
        if let Some(share) = self.at_most_open {
            check_share("at_most_open", share)?;
        }
        let allowed = "1 to 100 bytes of printable text without spaces, at the end neither a letter nor a digit, such as \
                       \"host:\"";
        let Some(prefix) = self.prefix.clone() else { return Err(ConfigError::new("prefix", "missing", allowed)) };
        let separates = prefix.chars().all(is_printable) && prefix.ends_with(|last: char| !last.is_alphanumeric());
        if prefix.len() > LONGEST_PREFIX || !separates {
            let value = format_args!("\"{}\" ({} bytes)", quoted(&prefix), prefix.len());
            return Err(ConfigError::new("prefix", value, allowed));
        }
        if RESERVED.starts_with(&prefix) || is_reserved(&prefix) {
            let allowed = format!("a prefix that begins no name with `{RESERVED}`, which names the members of a fleet");
            return Err(ConfigError::new("prefix", format_args!("\"{prefix}\""), allowed));
        }
        let sample: Config = (self.template)(&format!("{prefix}key")).build()?;
        self.registry.reserve(&prefix).map_err(|taken| {
            let allowed = format!("a prefix that begins no other name, and {taken}");
            ConfigError::new("prefix", format_args!("\"{prefix}\""), allowed)
        })?;
        // `expect_names` registers the names in the kill switch variable, and starts the thread that reports names
        // without a circuit. `note` then excepts the names with this prefix. Without the thread, `note` does nothing.
        expect_names();
        note(|| Call::Keyed(prefix.clone()));
        telemetry::keyed::begin();
        Ok(Keyed::new(key, |itself| Circuits::new(self, &prefix, &sample, itself)))
    }
}

impl fmt::Debug for KeyedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, max_keys, idle, labels, .. } = self;
        let mut debug = f.debug_struct("KeyedBuilder");
        debug.field("prefix", prefix).field("max_keys", max_keys).field("idle", idle).field("label_budget", labels);
        debug.field("at_most_open", &self.at_most_open).finish_non_exhaustive()
    }
}

/// The longest prefix in bytes, which leaves room for a hashed name and for a host name of usual length.
const LONGEST_PREFIX: usize = 100;
