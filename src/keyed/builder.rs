//! The builder of keyed circuits. [`KeyedBuilder::by`] checks all settings of the builder.

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
    /// The prefix of all circuit names. `None` until the caller has set the prefix. There is no default prefix.
    pub(super) prefix: Option<String>,
    pub(super) max_keys: usize,
    pub(super) idle: Duration,
    pub(super) labels: usize,
    /// The share of the circuits that may be open at the same time. `None` if the layer creates no group.
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

    /// Sets the prefix of all circuit names of this layer. The prefix is required.
    ///
    /// Range: 1 to 100 bytes of printable text without spaces. The last character separates the prefix from the keys,
    /// and is neither a letter nor a digit. An example is `host:`.
    ///
    /// All names that begin with the prefix belong to this layer until the last clone of its [`Keyed`] is dropped.
    /// Without this rule, a caller could send the key `payments` and open a circuit of the application with that name.
    /// Therefore [`by`](Self::by) refuses a prefix if the name of a circuit of the registry begins with the prefix.
    /// [`by`](Self::by) also refuses a prefix if two layers would have the same prefix, or if one prefix would begin
    /// with the prefix of another layer. After [`by`](Self::by), [`Registry::circuit`] refuses names that begin with
    /// the prefix. To use the circuits in several places, clone the [`Keyed`].
    ///
    /// The registry cannot refuse names in other programs that share the store. Give their circuits names that do not
    /// begin with the prefix.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self
    }

    /// Sets the largest number of known keys. Range: 1 to the limit of the registry. Default: 1 000, or the
    /// limit of the registry if that limit is lower.
    ///
    /// A circuit takes about 1.5 KiB of memory, or 2.25 KiB with a store. In addition to `keys` circuits, up to `keys`
    /// evicted circuits can stay in memory. If calls of very many keys fail, the layer also stores the number of calls
    /// of forgotten keys. These numbers take up to 1 KiB for each of the `keys`, in total at least 8 KiB and at most 2
    /// MiB. Choose a number well above the number of keys that are used within a minute. A circuit that is evicted
    /// between two calls loses its successes.
    ///
    /// Give the registry a limit above the sum of the `max_keys` of all its layers plus the number of other circuits.
    /// With a lower limit, callers who choose keys can fill the registry.
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Sets the time without a call after which a key is evicted. A key stays if its circuit would reject the next
    /// call, has a call under way or is held by an operator. A key also stays if the application has a handle to its
    /// circuit. Range: 1 s to 365 days. Default: 1 h.
    ///
    /// No task checks the idle time in the background. Idle keys are evicted only when a new key arrives, and at most
    /// once in a quarter of the idle time.
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets the number of keys that can get their own name as the label in metrics. All other keys share one
    /// label, which is the prefix followed by `other`. With 0, all keys share that label. Default: 200.
    ///
    /// A key gets its label after a number of uses, as [`Keyed`] describes. Each label has some dozen metric series,
    /// which exist until the process ends.
    pub const fn label_budget(mut self, names: usize) -> Self {
        self.labels = names;
        self
    }

    /// Puts the circuits of all keys into one [group](crate::Group). At most this share of the circuits, but at least
    /// one circuit, may be open at the same time. The name of the group is the prefix. A group that the template sets
    /// is ignored. Range: more than 0, at most 1. Default: no group.
    ///
    /// Use a group if the keys are the endpoints of one service, and if some endpoints must always get calls. Keys of
    /// independent services need no group. In a group, a caller who chooses the keys could open the circuits of many
    /// failing keys. If these circuits had taken all open slots, the circuits of other keys would stay closed. The
    /// circuit of a key that is not in use is not a member of the group, as [`Group`](crate::Group) describes. An
    /// evicted circuit leaves the group. If a handle to the evicted circuit is still in use, this circuit opens without
    /// a slot.
    pub const fn at_most_open(mut self, share: f64) -> Self {
        self.at_most_open = Some(share);
        self
    }

    /// Checks the settings and creates the keyed circuits. The closure returns the key of a request, or `None` if the
    /// request passes unguarded (without a circuit).
    ///
    /// With a store, keyed circuits that are open, half-open or held in the store are restored. The restore takes place
    /// with the next `start` or `restore` of the registry, or immediately if the registry has already started.
    ///
    /// ```
    /// # use std::borrow::Cow;
    /// # use tower_circuit_breaker::{Config, Registry, keyed::Keyed};
    /// # let registry = Registry::new();
    /// # let keyed = |prefix: &str| Keyed::builder(&registry, Config::builder).prefix(prefix);
    /// // The key of a gRPC method is its path, which is borrowed. The key of a host is a new string in lower case.
    /// let per_method = keyed("method:").by(|request: &http::Request<()>| Some(request.uri().path().into()))?;
    /// let per_host = keyed("host:")
    ///     .by(|request: &http::Request<()>| Some(request.uri().host()?.to_ascii_lowercase().into()))?;
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field, the value and the allowed range. One cause is a prefix that clashes with a
    /// circuit or with another layer of the registry. This method also calls the template once, and returns an error if
    /// the settings from the template are invalid.
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
        // `expect_names` reads the circuit names in the environment variable of the kill switch. If the variable has
        // names, `expect_names` starts a thread that reports names without a circuit. `note` excludes names with this
        // prefix from the report. `note` has no effect before the thread runs, so `expect_names` is called first.
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

/// The largest length of a prefix, in bytes. The rest of a circuit name has room for a hashed key, or for a host name
/// of usual length.
const LONGEST_PREFIX: usize = 100;
