//! Which store the circuits are kept in, and how: plain data, that opens nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::circuit::Setting;
use super::error::SettingsError;
use super::field::{Field, Table};
use super::mask::masked;
use crate::keep::Ttl;

/// Where and how circuits are kept: what `[persistence]` says, once `enabled` is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persistence {
    store: StoreUrl,
    cache: Option<StoreUrl>,
    sharing: SharingSetting,
    schema: SchemaSetting,
    instance: Option<String>,
    first_call_waits: Duration,
    audit_kept: Option<Duration>,
    ttl: Ttl,
    circuits: BTreeMap<String, Ttl>,
    others: Ttl,
}

impl Persistence {
    /// Returns the store. Default: `sqlite://data/circuit_breaker.db`.
    #[must_use]
    pub const fn store(&self) -> &StoreUrl {
        &self.store
    }

    /// Returns the store in front of [`store`](Self::store), always Redis. Default: none.
    #[must_use]
    pub const fn cache(&self) -> Option<&StoreUrl> {
        self.cache.as_ref()
    }

    /// Returns what another instance's opening means here. Default: advice.
    #[must_use]
    pub const fn sharing(&self) -> SharingSetting {
        self.sharing
    }

    /// Returns what to do about the tables of an SQL store. Default: create them.
    #[must_use]
    pub const fn schema(&self) -> SchemaSetting {
        self.schema
    }

    /// Returns the stable name of this instance. Default: none, which means the host name.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Returns how long the first call may wait for what the store has. Default: 0.
    #[must_use]
    pub const fn first_call_waits(&self) -> Duration {
        self.first_call_waits
    }

    /// Returns how long rows of the audit are kept. Default: none, as long as the store does.
    #[must_use]
    pub const fn audit_kept(&self) -> Option<Duration> {
        self.audit_kept
    }

    /// Returns how long the store keeps an open circuit of that name. Default: 24 h.
    #[must_use]
    pub fn ttl_open(&self, circuit: &str) -> Duration {
        self.ttl_of(circuit).open
    }

    /// Returns how long the store keeps a circuit of that name that is not open. Default: 1 h.
    #[must_use]
    pub fn ttl_other(&self, circuit: &str) -> Duration {
        self.ttl_of(circuit).other
    }

    /// Returns the TTLs of circuits without a table of their own.
    #[cfg(feature = "store")]
    pub(super) const fn ttl_of_others(&self) -> Ttl {
        self.others
    }

    fn ttl_of(&self, circuit: &str) -> Ttl {
        self.circuits.get(circuit).copied().unwrap_or(self.others)
    }

    /// Judges the table, and returns what it says if it is enabled. It is judged if it is not, too: it will be some day.
    pub(super) fn read(table: &Table) -> Result<Option<Self>, SettingsError> {
        let given = |key| table.get(key);
        let wish = |key, default| given(key).map_or(Ok(default), |field| field.duration_within("1 s", "365 d"));
        let Ttl { open, other } = Ttl::default();
        let ttl = Ttl { open: wish("ttl_open", open)?, other: wish("ttl_other", other)? };
        let read = Self {
            store: given("store").map_or_else(|| Ok(StoreUrl(DEFAULT_STORE.to_owned())), StoreUrl::read)?,
            cache: given("cache").map_or(Ok(None), cache)?,
            sharing: given("sharing").map_or(Ok(SharingSetting::Advise), |field| field.choice(&SHARING))?,
            schema: given("schema").map_or(Ok(SchemaSetting::Create), |field| field.choice(&SCHEMA))?,
            instance: given("instance").map(instance).transpose()?,
            first_call_waits: given("first_call_waits")
                .map_or(Ok(Duration::ZERO), |e| e.duration_within("0 s", "60 s"))?,
            audit_kept: given("audit_kept").map(|field| field.duration_within("1 h", "365 d")).transpose()?,
            ttl,
            circuits: BTreeMap::new(),
            others: ttl,
        };
        let enabled = given("enabled").map_or(Ok(false), Field::switch)?;
        Ok(enabled.then_some(read))
    }

    /// Sets how long the circuits without a table of their own are kept.
    pub(super) fn set_others(&mut self, settings: &[Setting]) {
        self.others = with(self.ttl, settings);
    }

    /// Sets how long one circuit is kept.
    pub(super) fn set_circuit(&mut self, name: &str, settings: &[Setting]) {
        self.circuits.insert(name.to_owned(), with(self.ttl, settings));
    }
}

/// Returns the TTLs that the settings of a circuit make of those of all.
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

/// The address of a store, which may hold a password: shown masked, but by [`as_str`](Self::as_str).
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// Returns the address as it was written, its password included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns which store it is.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        SCHEMES.iter().find(|(scheme, _)| self.0.starts_with(scheme)).map_or(StoreKind::Sqlite, |(_, kind)| *kind)
    }

    /// Returns the folder of a `file:` store, or the file of a `sqlite:` one, without a `?…` behind it.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        let path = match self.kind() {
            StoreKind::File => behind_scheme(&self.0),
            StoreKind::Sqlite => behind_scheme(&self.0).split('?').next().unwrap_or_default(),
            StoreKind::Postgres | StoreKind::Redis => return None,
        };
        Some(Path::new(path))
    }

    fn read(field: &Field) -> Result<Self, SettingsError> {
        const ALLOWED: &str = "file:FOLDER, sqlite://PATH, postgres://… or redis://…";
        field.text().and_then(Self::parse).ok_or_else(|| field.refuse(ALLOWED))
    }

    fn parse(text: &str) -> Option<Self> {
        let known = SCHEMES.iter().any(|(scheme, _)| text.starts_with(scheme));
        let leads_somewhere = !matches!(behind_scheme(text).split('?').next(), None | Some("" | "/"));
        // A blank at an end is a slip that no store would explain.
        (known && leads_somewhere && text.trim() == text && !text.contains(char::is_control))
            .then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", masked(&self.0))
    }
}

/// Which store an address leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// `file:`, a folder.
    File,
    /// `sqlite:`, a file.
    Sqlite,
    /// `postgres://` or `postgresql://`.
    Postgres,
    /// `redis://`, or `rediss://` with TLS.
    Redis,
}

/// What another instance's opening means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SharingSetting {
    /// `advise`: the circuit here opens on less evidence.
    Advise,
    /// `follow`: the circuit here opens as well.
    Follow,
}

/// What to do about the tables of an SQL store at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaSetting {
    /// `create`: make them if they are missing.
    Create,
    /// `verify`: refuse to start if they are missing.
    Verify,
    /// `assume`: they are there.
    Assume,
}

fn cache(field: &Field) -> Result<Option<StoreUrl>, SettingsError> {
    if field.is_off() {
        return Ok(None);
    }
    let url = field.text().and_then(StoreUrl::parse).filter(|url| url.kind() == StoreKind::Redis);
    url.map(Some).ok_or_else(|| field.refuse("redis://…, or false for none"))
}

fn instance(field: &Field) -> Result<String, SettingsError> {
    // As the builder of a registry asks it.
    let usable = |name: &&str| !name.contains(|c: char| c.is_control() || c.is_whitespace() || c == '#');
    let name = field.text().filter(|name| (1..=100).contains(&name.len())).filter(usable);
    name.map(str::to_owned).ok_or_else(|| field.refuse("1 to 100 bytes of printable text without spaces and `#`"))
}

/// What stands behind `scheme:` or `scheme://`.
fn behind_scheme(url: &str) -> &str {
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    rest.strip_prefix("//").unwrap_or(rest)
}

/// The keys of `[persistence]`.
pub(super) const KEYS: [&str; 10] = [
    "enabled",
    "store",
    "cache",
    "sharing",
    "instance",
    "schema",
    "first_call_waits",
    "audit_kept",
    "ttl_open",
    "ttl_other",
];

const SCHEMES: [(&str, StoreKind); 6] = [
    ("file:", StoreKind::File),
    ("sqlite:", StoreKind::Sqlite),
    ("postgres://", StoreKind::Postgres),
    ("postgresql://", StoreKind::Postgres),
    ("redis://", StoreKind::Redis),
    ("rediss://", StoreKind::Redis),
];
const SHARING: [(&str, SharingSetting); 2] = [("advise", SharingSetting::Advise), ("follow", SharingSetting::Follow)];
const SCHEMA: [(&str, SchemaSetting); 3] =
    [("create", SchemaSetting::Create), ("verify", SchemaSetting::Verify), ("assume", SchemaSetting::Assume)];
const DEFAULT_STORE: &str = "sqlite://data/circuit_breaker.db";
