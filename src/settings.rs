//! Circuits and their store from a TOML or JSON file, and from the environment.
//!
//! A broken file is refused as a whole when it is loaded, with one sentence that says where: nothing is started on half of
//! what somebody meant. So is a key that nobody knows, with the nearest one that somebody does. Clock, observers and a
//! function of the attempt are code, and stay there: see [`Settings::circuit_builder`].
//!
//! Nothing here connects to a store. Without `enabled = true` in `[persistence]` there is none, and everything else is the same.
//! With the feature `store`, `Settings::registry` returns the builder of a registry that keeps its circuits there.
//!
//! # The file
//!
//! A duration is a text with its unit: `ms`, `s`, `min`, `h` or `d`. JSON has the same tables and keys.
//!
//! ```toml
#![doc = include_str!("../examples/config_file.toml")]
//! ```
//!
//! ```
//! use tower_circuit_breaker::Registry;
//! use tower_circuit_breaker::settings::Settings;
//!
//! let settings = Settings::from_file("examples/config_file.toml")?.with_env()?;
//! let registry = Registry::new();
//! for config in settings.circuits() {
//!     registry.circuit(config)?;
//! }
//! // A name that the file does not have gets the defaults.
//! let orders = registry.circuit(settings.circuit("orders")?)?;
//! # assert_eq!(registry.circuits().len(), 4);
//! # assert_eq!(settings.persistence().map(|kept| kept.ttl_open("payments").as_secs()), Some(48 * 3600));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The environment
//!
//! [`Settings::with_env`] lays the environment over the file, key by key. A value is spelled as in the file, without quotes;
//! an empty one is as good as none.
//!
//! | variable | key |
//! |---|---|
//! | `CIRCUIT_BREAKER_CONFIG` | a whole document, or the path of one; it lies over the file, and below the other variables |
//! | `CIRCUIT_BREAKER_PERSISTENCE` | `persistence.enabled`: `true` or `false` |
//! | `CIRCUIT_BREAKER_STORE`, `…_CACHE`, `…_SHARING`, `…_INSTANCE`, `…_SCHEMA`, `…_FIRST_CALL_WAITS`, `…_TTL_OPEN`, `…_TTL_OTHER` | the others of `persistence` |
//! | `CIRCUIT_BREAKER_DEFAULT_FAILURE_RATE`, … | `defaults.failure_rate`, and likewise each key of it |
//! | `CIRCUIT_BREAKER_CIRCUIT_PAYMENTS_FAILURE_RATE`, … | `circuits.payments.failure_rate`, and likewise each key of each circuit |
//! | `CIRCUIT_BREAKER_DISABLED` | none: the kill switch, which each circuit reads itself |
//!
//! A variable names a circuit in capitals, with one `_` for all that is neither letter nor digit: `/users/{id}` is `USERS_ID`.
//! It reaches only circuits that a document has. For others there is `CIRCUIT_BREAKER_CONFIG='circuits.orders.probes = 1'`.
//!
//! Any other variable that begins with `CIRCUIT_BREAKER_` is refused, as it must be a slip; but for those with which
//! Kubernetes announces a service that is called `circuit-breaker…`.

#[cfg(feature = "store")]
mod build;
mod circuit;
mod document;
mod draft;
mod environment;
mod error;
mod field;
mod persistence;
mod quoted;
mod unknown;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::config::{Config, ConfigBuilder, ConfigError};
pub use crate::keep::{SchemaMode, Sharing, StoreKind};
use circuit::Setting;
use draft::Draft;
pub use error::SettingsError;
pub use persistence::{Persistence, StoreUrl};

/// The settings of all circuits and of their store, checked. The default is an empty file's.
///
/// See the [module](self) for the keys and the variables.
#[derive(Debug, Clone, Default)]
#[must_use = "settings are only read: make circuits of them"]
pub struct Settings {
    // Kept for what is laid over it later.
    draft: Draft,
    defaults: Vec<Setting>,
    circuits: BTreeMap<String, (Vec<Setting>, Config)>,
    persistence: Option<Persistence>,
}

impl Settings {
    /// Reads a TOML file, or a JSON one: that ends in `.json` or begins with a brace.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if it cannot be read, is larger than 1 MiB, or has anything in it that is not allowed.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        let origin = path.as_ref().display().to_string();
        let value = document::read_file(path.as_ref(), &origin)?;
        Self::check(Draft::read(value, &origin)?)
    }

    /// Reads a TOML text.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        const ORIGIN: &str = "the TOML text";
        Self::check(Draft::read(document::read(text, ORIGIN, false)?, ORIGIN)?)
    }

    /// Reads a JSON text.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_json(text: &str) -> Result<Self, SettingsError> {
        const ORIGIN: &str = "the JSON text";
        Self::check(Draft::read(document::read(text, ORIGIN, true)?, ORIGIN)?)
    }

    /// Reads the environment alone.
    ///
    /// # Errors
    ///
    /// As [`with_env`](Self::with_env).
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::default().with_env()
    }

    /// Lays the environment over these settings, and checks them again.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if a variable that begins with `CIRCUIT_BREAKER_` is unknown, or its value not allowed.
    pub fn with_env(self) -> Result<Self, SettingsError> {
        self.with_vars(std::env::vars_os())
    }

    /// Lays the given variables over these settings, as [`with_env`](Self::with_env) does those of the process.
    ///
    /// ```
    /// use tower_circuit_breaker::settings::Settings;
    ///
    /// let settings = Settings::default().with_vars([("CIRCUIT_BREAKER_DEFAULT_FAILURE_RATE", "0.6")])?;
    /// assert!(settings.circuit("payments")?.explain().contains("60 %"));
    ///
    /// let error = Settings::default().with_vars([("CIRCUIT_BREAKER_STOER", "file:data")]).unwrap_err();
    /// assert!(error.to_string().contains("did you mean `CIRCUIT_BREAKER_STORE`?"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`with_env`](Self::with_env).
    pub fn with_vars<N, V>(self, vars: impl IntoIterator<Item = (N, V)>) -> Result<Self, SettingsError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let mut draft = self.draft;
        environment::lay_over(&mut draft, vars.into_iter().map(|(name, value)| (name.into(), value.into())))?;
        Self::check(draft)
    }

    /// Returns the configuration of each circuit that has a table, by name.
    pub fn circuits(&self) -> impl Iterator<Item = Config> {
        self.circuits.values().map(|(_, config)| config.clone())
    }

    /// Returns the configuration of the circuit of that name: the defaults, if it has no table.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not a name; the settings themselves have been checked.
    pub fn circuit(&self, name: &str) -> Result<Config, ConfigError> {
        self.circuit_builder(name).build()
    }

    /// Returns the same as a builder, for what a file cannot say: a clock, observers.
    pub fn circuit_builder(&self, name: &str) -> ConfigBuilder {
        let settings = self.circuits.get(name).map_or(&self.defaults, |(settings, _)| settings);
        circuit::build(settings, Config::builder(name))
    }

    /// Returns where and how circuits are kept, or `None` unless persistence is enabled.
    #[must_use]
    pub const fn persistence(&self) -> Option<&Persistence> {
        self.persistence.as_ref()
    }

    /// Judges everything once, so that what is refused is refused at start.
    fn check(draft: Draft) -> Result<Self, SettingsError> {
        let mut persistence = Persistence::read(&draft.persistence)?;
        let defaults = draft.defaults()?;
        let judged = draft.circuits.iter().map(|(name, circuit)| Ok((name.clone(), draft.circuit(name, circuit)?)));
        let circuits = judged.collect::<Result<BTreeMap<_, _>, _>>()?;
        if let Some(persistence) = &mut persistence {
            persistence.set_others(&defaults);
            circuits.iter().for_each(|(name, (settings, _))| persistence.set_circuit(name, settings));
        }
        Ok(Self { draft, defaults, circuits, persistence })
    }
}
