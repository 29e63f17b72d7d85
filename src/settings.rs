//! Settings of circuits and of their store, from a TOML or JSON file and from the environment.
//!
//! A file with a mistake is refused as a whole when it is loaded, so that no program starts with half of its
//! settings. The error is one sentence that names the place of the mistake. An unknown key is refused too,
//! and the error suggests the nearest known key. A file cannot contain a clock, observers or a function for
//! the open duration. Set these in code, see [`Settings::circuit_builder`].
//!
//! This module does not connect to a store. If `[persistence]` has neither `store` nor `enabled = true`,
//! there is no store, and the settings of circuits still have their effect. `enabled = false` switches a
//! store off. With the feature `store`, `Settings::registry` returns the builder of a registry with the
//! store of the settings.
//!
//! # The file
//!
//! A duration is a text with one of the units `ms`, `s`, `min`, `h` and `d`. A JSON file has the same tables
//! and keys.
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
//! // A name without a table in the file gets the defaults.
//! let orders = registry.circuit(settings.circuit("orders")?)?;
//! # assert_eq!(registry.circuits().len(), 5);
//! # assert_eq!(settings.persistence().map(|kept| kept.ttl_open("payments").as_secs()), Some(48 * 3600));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! If the file has a store, write `settings.registry()` instead of `Registry::new()`, because a registry without a
//! store saves nothing.
//!
//! # Several circuits at once
//!
//! A table `[groups.NAME]` has the settings of each circuit with `group = "NAME"`. A table such as
//! `[circuits."host:*"]` has the settings of every circuit whose name begins with `host:`. Circuits that are created
//! later are included:
//!
//! ```
//! # #[cfg(feature = "keyed")] {
//! # use tower_circuit_breaker::{Registry, keyed::Keyed, settings::Settings};
//! # let registry = Registry::new();
//! let settings = Settings::from_toml("[circuits.'host:*']\nprobes = 1\n[circuits.'host:api.example.com']\nshadow = true")?;
//! let per_host = Keyed::builder(&registry, move |name| settings.circuit_builder(name))
//!     .prefix("host:")
//!     .by(|request: &http::Request<()>| Some(request.uri().host()?.to_owned().into()))?;
//! # assert!(per_host.circuit("a").unwrap().config().explain().contains("1 success"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Several tables can contain the same key for a circuit. The most specific table wins. The circuit's own table is the
//! most specific one, followed by the patterns from the longest to the shortest, and then by `[defaults]`. The most
//! specific table with the key `group` names the group of the circuit. In this order, which is from the most specific
//! to the least specific table, the table `[groups.NAME]` of this group follows directly after the table that names the
//! group. A circuit has at most one group. `group = false` means no group. Each group and each pattern is checked
//! together with the less specific tables, even if no circuit uses it.
//!
//! With `at_most_open`, the circuits of a table become one [`Group`](crate::Group). The value is the largest share of
//! these circuits that may be open at the same time. The circuits that get the key `at_most_open` from the same table
//! are in the same `Group`. Therefore the key belongs in `[groups.NAME]` or in the table of a pattern. The name of the
//! `Group` is this `NAME` or the pattern. All circuits of one `Settings` and of its clones share each `Group`. If the
//! settings are read again, the new `Settings` has a new `Group` for each such table.
//!
//! Only one `*` at the end of a name makes a pattern. A `*` in any other place is refused, and so are `?` and `[`. The
//! brackets of an IPv6 address are allowed.
//!
//! # Parts of a value
//!
//! A value that is a table changes only the parts that it names. With `open_for = { max = "2 min" }` a circuit keeps
//! `base` and `jitter` of the less specific tables. If the less specific table has `open_for = "90 s"`, the open
//! duration then begins at 90 s and grows up to 2 min. A value that is not a table replaces all parts. `fixed` replaces
//! `base` and `max`, and `calls` replaces `time` and `buckets`.
//!
//! # Names that no circuit has
//!
//! Any name is valid in the file and in [`Settings::circuit`]. Therefore, ten seconds after the first circuit was
//! created, the tables are compared with the circuits of the process. Warnings name the tables without a circuit, and
//! suggest the circuit with the nearest name if a name is near. Tables for keyed circuits are not reported, because
//! requests create these circuits later.
//!
//! # The environment
//!
//! [`Settings::with_env`] reads environment variables, which override single keys of the file. A value is spelled as in
//! the file, but without quotes. A variable with an empty value counts as not set.
//!
//! | variable | key |
//! |---|---|
//! | `CIRCUIT_BREAKER_CONFIG` | a whole document, or the path of a file. The document overrides the file of the program, and the other variables override the document |
//! | `CIRCUIT_BREAKER_PERSISTENCE` | `persistence.enabled`, which is `true` or `false`. Without the key, persistence is enabled if there is a `store` |
//! | `CIRCUIT_BREAKER_STORE`, `…_CACHE`, `…_SHARING`, `…_INSTANCE`, `…_FLEET`, `…_QUORUM_AT_LEAST`, `…_QUORUM_SHARE`, `…_SCHEMA`, `…_FIRST_CALL_WAITS`, `…_AUDIT_KEPT`, `…_TTL_OPEN`, `…_TTL_OTHER` | the other keys of `persistence` |
//! | `CIRCUIT_BREAKER_DEFAULT_FAILURE_RATE`, … | `defaults.failure_rate`, and each other key of `defaults` |
//! | `CIRCUIT_BREAKER_GROUP_PARTNERS_FAILURE_RATE`, … | `groups.partners.failure_rate`, and each other key of each group |
//! | `CIRCUIT_BREAKER_CIRCUIT_PAYMENTS_FAILURE_RATE`, … | `circuits.payments.failure_rate`, and each other key of each circuit and each pattern |
//! | `CIRCUIT_BREAKER_DISABLED` | no key. This is the kill switch, which each circuit reads without the settings |
//!
//! A variable contains the name of the circuit in capitals. One `_` replaces each run of characters that are neither
//! ASCII letters nor digits. Therefore `/users/{id}` is `USERS_ID`, and the pattern `host:*` is `HOST`. Variables can
//! set only keys of tables that exist in a document. To set a circuit without a table, use
//! `CIRCUIT_BREAKER_CONFIG='circuits.orders.probes = 1'`.
//!
//! Any other variable that begins with `CIRCUIT_BREAKER_` is refused, because it is probably a spelling mistake. If the
//! variable belongs to another program, unset the variable for this program, or omit the variable with
//! [`Settings::with_vars`]. The variables that Kubernetes sets for a service called `circuit-breaker…` are ignored.

#[cfg(feature = "store")]
mod build;
mod circuit;
mod document;
mod draft;
mod environment;
mod error;
mod field;
mod layers;
mod persistence;
mod quoted;
mod refused;
mod unknown;
mod value;

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::config::{Config, ConfigBuilder, ConfigError};
pub use crate::keep::{SchemaMode, Sharing, StoreKind};
use crate::pattern::{ByName, beginning};
use crate::roll_call::{Call, Kind, expect, note};
use circuit::Setting;
use draft::{Draft, Entry, Groups};
pub use error::SettingsError;
pub use persistence::{Persistence, StoreUrl};

/// The checked settings of all circuits and of their store. The default is the result of an empty file.
///
/// See the [module](self) for the keys and the variables.
#[derive(Debug, Clone, Default)]
#[must_use = "settings are only read: make circuits of them"]
pub struct Settings {
    // The draft is kept, because `with_env` and `with_vars` change it and check it again.
    draft: Draft,
    defaults: Vec<Setting>,
    circuits: ByName<(Vec<Setting>, Config)>,
    persistence: Option<Persistence>,
    /// Set after the names of the tables have been passed to `roll_call`, which reports names without a circuit. Clones
    /// share this field, so that the names are passed only once.
    expected: Arc<OnceLock<()>>,
}

impl Settings {
    /// Reads a file, as JSON if its name ends in `.json` or its text begins with a brace, and as TOML otherwise.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the file cannot be read, is larger than 1 MiB, or is not valid TOML or JSON. Also if the
    /// file contains a forbidden key or value.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let draft = document::read_file(path, &origin).and_then(|value| Draft::read(value, &origin));
        draft.and_then(Self::check).map_err(|error| error.in_line(|key| document::line_of_key(path, key)))
    }

    /// Reads a TOML text.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the text is larger than 1 MiB, cannot be parsed, or contains a forbidden key or value.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        const ORIGIN: &str = "the TOML text";
        Self::check(Draft::read(document::read(text, ORIGIN, false)?, ORIGIN)?)
    }

    /// Reads a JSON text.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the text is larger than 1 MiB, cannot be parsed, or contains a forbidden key or value.
    pub fn from_json(text: &str) -> Result<Self, SettingsError> {
        const ORIGIN: &str = "the JSON text";
        Self::check(Draft::read(document::read(text, ORIGIN, true)?, ORIGIN)?)
    }

    /// Reads the environment without a file.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if a variable that begins with `CIRCUIT_BREAKER_` is unknown, can mean two keys, or has a
    /// forbidden value.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::default().with_env()
    }

    /// Overrides these settings with the environment variables of the process, and checks the result.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if a variable that begins with `CIRCUIT_BREAKER_` is unknown, can mean two keys, or
    /// has a forbidden value.
    pub fn with_env(self) -> Result<Self, SettingsError> {
        self.with_vars(std::env::vars_os())
    }

    /// Overrides these settings with the given variables, as [`with_env`](Self::with_env) does with the variables of
    /// the process.
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
    /// [`SettingsError`] if a variable that begins with `CIRCUIT_BREAKER_` is unknown, can mean two keys, or has a
    /// forbidden value.
    pub fn with_vars<N, V>(self, vars: impl IntoIterator<Item = (N, V)>) -> Result<Self, SettingsError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let mut draft = self.draft;
        environment::lay_over(&mut draft, vars.into_iter().map(|(name, value)| (name.into(), value.into())))?;
        Self::check(draft)
    }

    /// Returns the configurations of all circuits that have a table, sorted by name. Tables of patterns are
    /// left out.
    pub fn circuits(&self) -> impl Iterator<Item = Config> {
        self.expect_circuits();
        self.circuits.exact().map(|(_, (_, config))| config.clone())
    }

    /// Returns the configuration of a circuit. A circuit without a table has the settings of the longest pattern that
    /// covers its name, or the defaults.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `name` is not a valid name, or is a pattern, which is not the name of one circuit. The
    /// settings of the circuit cause no error, because they are already checked.
    pub fn circuit(&self, name: &str) -> Result<Config, ConfigError> {
        if beginning(name).is_some() {
            return Err(ConfigError::new("name", format_args!("{name:?}"), "the name of one circuit, not a pattern"));
        }
        self.circuit_builder(name).build()
    }

    /// Returns the configuration of a circuit as a builder, for settings that a file cannot contain, such as a clock or
    /// observers.
    pub fn circuit_builder(&self, name: &str) -> ConfigBuilder {
        self.expect_circuits();
        note(|| Call::Requested(name.to_owned()));
        let settings = self.circuits.get(name).map_or(&self.defaults, |(settings, _)| settings);
        circuit::build(settings, Config::builder(name))
    }

    /// Returns the settings of the store, or `None` if persistence is not enabled.
    #[must_use]
    pub const fn persistence(&self) -> Option<&Persistence> {
        self.persistence.as_ref()
    }

    /// Passes the names of the tables to `roll_call` as expected names, so that a misspelt name is reported. The
    /// methods that return the configuration of a circuit or the builder of a registry call this method. A program that
    /// reads a file only to check the file gets no warnings.
    fn expect_circuits(&self) {
        let tables = self.draft.circuits.entries();
        let call = |(name, entry): (String, &Entry)| Call::Set { name, kind: Kind::Table, setting: entry.to_string() };
        self.expected.get_or_init(|| expect(tables.map(call)));
    }

    /// Checks all settings once, so that a mistake is found at the start of the program.
    fn check(draft: Draft) -> Result<Self, SettingsError> {
        let mut persistence = Persistence::read(&draft.persistence)?;
        let mut groups = Groups::default();
        let defaults = draft.checked_defaults(&mut groups)?;
        draft.check_groups(&mut groups)?;
        let mut circuits = ByName::default();
        // Patterns are checked first. The error for a value of a pattern then names the pattern, and not a circuit that
        // the pattern covers.
        for (name, entry) in draft.circuits.entries() {
            circuits.insert(&name, draft.checked(&name, entry, &mut groups)?);
        }
        if let Some(persistence) = &mut persistence {
            persistence.set_others(&defaults);
            circuits.entries().for_each(|(name, (settings, _))| persistence.set_circuit(&name, settings));
        }
        Ok(Self { draft, defaults, circuits, persistence, expected: Arc::default() })
    }
}
