//! The settings of the store, from the table `[persistence]`, as plain data. Reading the settings does not open the
//! store.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::circuit::Setting;
use super::error::SettingsError;
use super::field::{Field, Table};
use crate::keep::{
    Address, FLEETS, FORMS, INSTANCES, MOST_VOTES, QUORUM_AT_LEAST, QUORUM_SHARE, SchemaMode, Sharing, StoreKind, Ttl,
    Wrong, behind_scheme, is_fleet, is_instance,
};
use crate::pattern::ByName;
use crate::shown::masked;

/// The settings of `[persistence]`, which name the store of the circuits and configure its use. The value
/// exists only if `store` is set or `enabled` is true. `enabled = false` switches a store off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persistence {
    store: StoreUrl,
    cache: Option<StoreUrl>,
    sharing: Sharing,
    schema: SchemaMode,
    instance: Option<String>,
    fleet: Option<String>,
    quorum_at_least: u32,
    quorum_share: Share,
    first_call_waits: Duration,
    audit_kept: Option<Duration>,
    ttl: Ttl,
    circuits: ByName<Ttl>,
    others: Ttl,
}

impl Persistence {
    /// Returns the address of the store. Default: `sqlite://data/circuit_breaker.db`.
    #[must_use]
    pub const fn store(&self) -> &StoreUrl {
        &self.store
    }

    /// Returns the address of the cache in front of [`store`](Self::store). The cache is always Redis. `None`, the
    /// default, means no cache.
    #[must_use]
    pub const fn cache(&self) -> Option<&StoreUrl> {
        self.cache.as_ref()
    }

    /// Returns the reaction of this instance when another instance opens a circuit. Default:
    /// [`Sharing::Advise`].
    #[must_use]
    pub const fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Returns the mode in which an SQL store checks or creates its tables. Default: [`SchemaMode::Create`].
    #[must_use]
    pub const fn schema(&self) -> SchemaMode {
        self.schema
    }

    /// Returns the stable name of this instance. `None`, the default, stands for the host name.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Returns the name of the fleet, which all instances of one application share. `None`, the default, stands for the
    /// file name of the executable.
    #[must_use]
    pub fn fleet(&self) -> Option<&str> {
        self.fleet.as_deref()
    }

    /// Returns the smallest quorum, which is the number of votes that even a small fleet needs to open. Default: 2.
    #[must_use]
    pub const fn quorum_at_least(&self) -> u32 {
        self.quorum_at_least
    }

    /// Returns the share of the live members that must vote to open a large fleet. At most 10 votes are needed. Range:
    /// 0 to 1. Default: 0.1.
    #[must_use]
    pub const fn quorum_share(&self) -> f64 {
        self.quorum_share.0
    }

    /// Returns the longest time for which the first call of a circuit waits for its record from the store. Default: 0,
    /// which means no wait.
    #[must_use]
    pub const fn first_call_waits(&self) -> Duration {
        self.first_call_waits
    }

    /// Returns the time for which audit rows are kept. `None`, the default, means that the store decides.
    #[must_use]
    pub const fn audit_kept(&self) -> Option<Duration> {
        self.audit_kept
    }

    /// Returns the time to live of the circuit's record while the circuit is open or held by an operator. The time
    /// counts from the last write. Default: 24 h. The record stays longer if a deadline in the record is later. Stores
    /// that do not expire records ignore this time.
    #[must_use]
    pub fn ttl_open(&self, circuit: &str) -> Duration {
        self.ttl_of(circuit).open
    }

    /// Returns the time to live of the circuit's record while the circuit is neither open nor held by an operator. The
    /// time counts from the last write. Default: 1 h. The record stays longer if a deadline in the record is later.
    /// Stores that do not expire records ignore this time.
    #[must_use]
    pub fn ttl_other(&self, circuit: &str) -> Duration {
        self.ttl_of(circuit).other
    }

    /// Returns the TTLs of circuits that have no table of their own.
    #[cfg(feature = "store")]
    pub(super) const fn ttl_of_others(&self) -> Ttl {
        self.others
    }

    /// Returns the TTLs of the circuits and patterns that have a table of their own.
    #[cfg(feature = "store")]
    pub(super) const fn ttls(&self) -> &ByName<Ttl> {
        &self.circuits
    }

    fn ttl_of(&self, circuit: &str) -> Ttl {
        self.circuits.get(circuit).copied().unwrap_or(self.others)
    }

    /// Checks the table, and returns its settings if persistence is enabled. With `store` and without `enabled`,
    /// persistence is enabled, because an address has no other purpose. The table is also checked if persistence is
    /// disabled. Otherwise a mistake would appear only when an operator enables persistence.
    pub(super) fn read(table: &Table) -> Result<Option<Self>, SettingsError> {
        let given = |key| table.get(key);
        let wish = |key, default| given(key).map_or(Ok(default), |field| field.duration_within("1 s", "365 d"));
        let Ttl { open, other } = Ttl::default();
        let ttl = Ttl { open: wish("ttl_open", open)?, other: wish("ttl_other", other)? };
        let read = Self {
            store: given("store").map_or_else(|| Ok(StoreUrl::usual()), StoreUrl::read)?,
            cache: given("cache").map_or(Ok(None), cache)?,
            sharing: given("sharing").map_or(Ok(Sharing::default()), |field| field.choice(&SHARING))?,
            schema: given("schema").map_or(Ok(SchemaMode::default()), |field| field.choice(&SCHEMA))?,
            instance: given("instance").map(instance).transpose()?,
            fleet: given("fleet").map(fleet).transpose()?,
            quorum_at_least: given("quorum_at_least").map_or(Ok(QUORUM_AT_LEAST), votes)?,
            quorum_share: given("quorum_share").map_or(Ok(Share(QUORUM_SHARE)), share)?,
            first_call_waits: given("first_call_waits")
                .map_or(Ok(Duration::ZERO), |e| e.duration_within("0 s", "60 s"))?,
            audit_kept: given("audit_kept").map(|field| field.duration_within("1 h", "36500 d")).transpose()?,
            ttl,
            circuits: ByName::default(),
            others: ttl,
        };
        let enabled = given("enabled").map_or(Ok(given("store").is_some()), Field::switch)?;
        Ok(enabled.then_some(read))
    }

    /// Returns an error if a key of the table has no effect, because the table has neither `store` nor `enabled`.
    ///
    /// The error appears only when a registry is built from the settings. Until then, a variable can still add the
    /// store to the settings of a file.
    #[cfg(feature = "store")]
    pub(super) fn unused(table: &Table) -> Option<SettingsError> {
        if table.get("enabled").is_some() || table.get("store").is_some() {
            return None;
        }
        let field = KEYS.iter().find_map(|key| table.get(key))?;
        // The value is left out, because the address of a cache can contain a password.
        let says = format!(
            "{} has no effect without a store: set persistence.store, or persistence.enabled to true for the default \
             store, or persistence.enabled to false for none",
            field.path
        );
        Some(SettingsError::of(&field.origin, &field.path, says))
    }

    /// Sets the TTLs of circuits that have no table of their own.
    pub(super) fn set_others(&mut self, settings: &[Setting]) {
        self.others = with(self.ttl, settings);
    }

    /// Sets the TTLs of one circuit, or of the circuits that a pattern covers.
    pub(super) fn set_circuit(&mut self, name: &str, settings: &[Setting]) {
        self.circuits.insert(name, with(self.ttl, settings));
    }
}

/// Returns the TTLs of a circuit. The settings of the circuit override `ttl`, the TTLs from `[persistence]`.
fn with(mut ttl: Ttl, settings: &[Setting]) -> Ttl {
    for setting in settings {
        if let Setting::TtlOpen(open) = setting {
            ttl.open = *open;
        } else if let Setting::TtlOther(other) = setting {
            ttl.other = *other;
        }
    }
    ttl
}

/// The address of a store. The address can contain a password, which only [`as_str`](Self::as_str) shows.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    url: String,
    kind: StoreKind,
}

impl StoreUrl {
    /// Returns the address as the settings contain it, with its password.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns the kind of the store.
    #[must_use]
    pub const fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Returns the folder of a `file:` store, or the file of a `sqlite:` store without its parameters after
    /// `?`. Returns `None` for other kinds.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        let path = match self.kind {
            StoreKind::File => behind_scheme(&self.url),
            StoreKind::Sqlite => behind_scheme(&self.url).split('?').next().unwrap_or_default(),
            StoreKind::Postgres | StoreKind::Redis => return None,
        };
        Some(Path::new(path))
    }

    fn usual() -> Self {
        Self { url: DEFAULT_STORE.to_owned(), kind: StoreKind::Sqlite }
    }

    fn read(field: &Field) -> Result<Self, SettingsError> {
        let Some(text) = field.text() else { return Err(field.refuse(FORMS)) };
        match Address::parse(text) {
            Ok(Address { kind, .. }) => Ok(Self { url: text.to_owned(), kind }),
            Err(Wrong::Form) => Err(field.refuse(FORMS)),
            Err(Wrong::Part(part)) => {
                let Field { origin, path, value } = field;
                Err(SettingsError::of(origin, path, format!("{path} is {value}: {part}")))
            }
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.url))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", masked(&self.url))
    }
}

fn cache(field: &Field) -> Result<Option<StoreUrl>, SettingsError> {
    if field.is_off() {
        return Ok(None);
    }
    if field.text().and_then(StoreKind::of) != Some(StoreKind::Redis) {
        return Err(field.refuse("redis://…, or false for none"));
    }
    StoreUrl::read(field).map(Some)
}

fn instance(field: &Field) -> Result<String, SettingsError> {
    let name = field.text().filter(|name| is_instance(name));
    name.map(str::to_owned).ok_or_else(|| field.refuse(INSTANCES))
}

fn fleet(field: &Field) -> Result<String, SettingsError> {
    let name = field.text().filter(|name| is_fleet(name));
    name.map(str::to_owned).ok_or_else(|| field.refuse(FLEETS))
}

fn votes(field: &Field) -> Result<u32, SettingsError> {
    let allowed = || field.refuse(&format!("a whole number from 1 to {MOST_VOTES}"));
    field.count().ok().filter(|votes| (1..=MOST_VOTES).contains(votes)).ok_or_else(allowed)
}

fn share(field: &Field) -> Result<Share, SettingsError> {
    let share = field.number().ok().filter(|share| (0.0..=1.0).contains(share));
    share.map(Share).ok_or_else(|| field.refuse("a number from 0 to 1"))
}

/// A share from 0 to 1. A share is never NaN, so that each share equals itself, as `Eq` requires.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share(f64);

impl Eq for Share {}

/// The keys of `[persistence]`.
pub(super) const KEYS: [&str; 13] = [
    "enabled",
    "store",
    "cache",
    "sharing",
    "instance",
    "fleet",
    "quorum_at_least",
    "quorum_share",
    "schema",
    "first_call_waits",
    "audit_kept",
    "ttl_open",
    "ttl_other",
];

const SHARING: [(&str, Sharing); 3] =
    [("advise", Sharing::Advise), ("quorum", Sharing::Quorum), ("follow", Sharing::Follow)];
const SCHEMA: [(&str, SchemaMode); 3] =
    [("create", SchemaMode::Create), ("verify", SchemaMode::Verify), ("assume", SchemaMode::Assume)];
const DEFAULT_STORE: &str = "sqlite://data/circuit_breaker.db";
