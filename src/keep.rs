//! The settings for the storage of circuits, with the kinds of stores and the schemes of their addresses. This module
//! is plain data and opens no store.
//!
//! Stores, the coordinator and the settings share these types. The types are in a module below all three, because the
//! settings can be compiled without a store.

mod address;

use std::fmt;
use std::time::Duration;

use crate::shown::is_printable;
#[cfg(feature = "postgres")]
pub(crate) use address::decoded;
pub(crate) use address::{Address, Wrong};
#[cfg(feature = "redis")]
pub(crate) use address::{MASTERS, is_master};

/// The kind of store that an address selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// A folder, with an address that begins with `file:`.
    File,
    /// A file of SQLite, with an address that begins with `sqlite:`.
    Sqlite,
    /// A database of PostgreSQL, with an address that begins with `postgres://` or `postgresql://`.
    Postgres,
    /// A Redis or Valkey server, with an address that begins with `redis://` or `valkey://`, with `rediss://` or
    /// `valkeys://` for TLS, or with `unix://`, `redis+unix://` or `valkey+unix://` for a socket. An address that
    /// begins with `redis-sentinel://`, `rediss-sentinel://`, `valkey-sentinel://` or `valkeys-sentinel://` names the
    /// sentinels of a master. The same four schemes with `-cluster` in place of `-sentinel` name nodes of a cluster.
    Redis,
}

impl StoreKind {
    /// Returns the kind of store that an address selects, or `None` for an unknown scheme. Nothing but the scheme is
    /// checked.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, _) = url.split_once(':')?;
        SCHEMES.iter().find(|(known, _)| *known == scheme).map(|(_, kind)| *kind)
    }

    /// Returns the name of the kind, which is also the name of its feature.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }
}

/// Returns the part of an address behind `scheme:` or `scheme://`.
pub(crate) fn behind_scheme(url: &str) -> &str {
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    rest.strip_prefix("//").unwrap_or(rest)
}

/// The reaction of this instance when another instance opens a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "a further way must be looked at in every match")]
pub enum Sharing {
    /// The opening of another instance is advice for this instance. Until that opening ends, `min_calls` and
    /// `consecutive_failures` of this instance are a quarter of the configured values, but at least 2. A configured
    /// value of 1 stays 1. The lower values open the circuit only on failures that are unlikely at its usual error rate
    /// ([`Circuit::advise`](crate::Circuit::advise)). This is the default, because with advice an instance with a bad
    /// network path can neither open nor close the circuits of other instances.
    #[default]
    Advise,
    /// The opening is a vote. Enough votes open the circuits of all instances of the fleet, except for instances whose
    /// own calls succeed. The fleet probes and closes as one circuit. This is the right choice for two or more
    /// instances of one service with one store. An instance writes a heartbeat every 10 s.
    /// [`guide::fleet`](crate::guide::fleet) describes the protocol.
    Quorum,
    /// The opening is an order. The first opening on any instance opens the circuits of all instances of the fleet,
    /// even if their own calls succeed. The fleet probes and closes as one circuit, as with [`Quorum`](Self::Quorum).
    /// This is the right choice for instances with little traffic, and for a service that fails for all instances or
    /// for none. An instance writes a heartbeat every 10 s.
    Follow,
}

impl Sharing {
    /// Returns true if the instances decide together as a fleet.
    #[cfg(feature = "store")]
    pub(crate) const fn is_of_fleet(self) -> bool {
        matches!(self, Self::Quorum | Self::Follow)
    }

    /// Returns the word in configuration files: `advise`, `quorum` or `follow`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advise => "advise",
            Self::Quorum => "quorum",
            Self::Follow => "follow",
        }
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The preparation of the tables of an SQL store before its first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SchemaMode {
    /// Checks the tables, and creates missing tables. With SQLite, the file and its folder are created too. This is the
    /// default. If nothing is missing, no right to create tables is needed.
    #[default]
    Create,
    /// Checks the tables, and refuses to work if a table or a column is missing. The error names the missing table or
    /// column. This mode changes nothing.
    Verify,
    /// Checks nothing. The first operation that needs a missing table fails.
    Assume,
}

/// Returns true if the text can be the id of an instance. An id has no `#`, because `#` numbers the instances that have
/// the same id. An id has no `//`, because a text with `//` is probably the address of a store that was given under the
/// wrong key, and records, the audit and logs would show its password.
pub(crate) fn is_instance(id: &str) -> bool {
    (1..=100).contains(&id.len()) && id.chars().all(|c| is_printable(c) && c != '#') && !id.contains("//")
}

/// Returns true if the text can be the name of a fleet. A name has no `//`, because a text with `//` is probably the
/// address of a store, perhaps with a password.
pub(crate) fn is_fleet(name: &str) -> bool {
    (1..=LONGEST_FLEET).contains(&name.len()) && name.chars().all(is_printable) && !name.contains("//")
}

/// Returns true if the text can be the prefix of a store's keys.
///
/// No allowed character has a meaning in a pattern or a hash tag of Redis, and none ends a word in a log line or a
/// shell. A key is the prefix, a colon that the store adds, and then [`ROOT`]. A prefix does not contain [`ROOT`], so
/// that no key of one prefix is a key of another prefix.
pub(crate) fn is_prefix(prefix: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    let is_framed = prefix.starts_with(':') || prefix.ends_with(':');
    (1..=LONGEST_PREFIX).contains(&prefix.len())
        && prefix.bytes().all(is_allowed)
        && !is_framed
        && !prefix.contains(ROOT)
}

/// The time after which a store that expires records may delete the record of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ttl {
    /// The time to live of the record of a circuit that is open or held by an operator.
    pub(crate) open: Duration,
    /// The time to live of every other record.
    pub(crate) other: Duration,
}

impl Default for Ttl {
    fn default() -> Self {
        Self { open: HOUR.saturating_mul(24), other: HOUR }
    }
}

/// The description of the ids that [`is_instance`] accepts, for the texts of errors.
pub(crate) const INSTANCES: &str = "1 to 100 bytes of printable text without spaces, `#` and `//`";

/// The description of the names that [`is_fleet`] accepts, for the texts of errors.
pub(crate) const FLEETS: &str = "1 to 100 bytes of printable text without spaces and `//`";
/// The length of the longest name of a fleet, in bytes. The name of its record is 7 bytes longer, because of `@fleet:`.
pub(crate) const LONGEST_FLEET: usize = 100;
/// The default of the smallest number of votes that opens a fleet under [`Sharing::Quorum`]. An instance that is alone
/// needs only its own vote.
pub(crate) const QUORUM_AT_LEAST: u32 = 2;
/// The default share of the live members whose votes open a fleet under [`Sharing::Quorum`].
pub(crate) const QUORUM_SHARE: f64 = 0.1;
/// The largest number of votes that an opening of any fleet needs, because more votes would only delay the opening.
pub(crate) const MOST_VOTES: u32 = 10;

/// The description of the prefixes that [`is_prefix`] accepts, for the texts of errors.
pub(crate) const PREFIXES: &str = "1 to 100 letters, digits and `.`, `_`, `-`, `/` and `:`, without `:` at an end and \
     without the word `circuit_breaker`";
/// The word with which each key in Redis begins. The prefix, if one is set, comes before this word.
pub(crate) const ROOT: &str = "circuit_breaker";
const LONGEST_PREFIX: usize = 100;

const SCHEMES: [(&str, StoreKind); 19] = [
    ("file", StoreKind::File),
    ("sqlite", StoreKind::Sqlite),
    ("postgres", StoreKind::Postgres),
    ("postgresql", StoreKind::Postgres),
    ("redis", StoreKind::Redis),
    ("rediss", StoreKind::Redis),
    ("valkey", StoreKind::Redis),
    ("valkeys", StoreKind::Redis),
    ("unix", StoreKind::Redis),
    ("redis+unix", StoreKind::Redis),
    ("valkey+unix", StoreKind::Redis),
    ("redis-sentinel", StoreKind::Redis),
    ("rediss-sentinel", StoreKind::Redis),
    ("valkey-sentinel", StoreKind::Redis),
    ("valkeys-sentinel", StoreKind::Redis),
    ("redis-cluster", StoreKind::Redis),
    ("rediss-cluster", StoreKind::Redis),
    ("valkey-cluster", StoreKind::Redis),
    ("valkeys-cluster", StoreKind::Redis),
];
/// The forms of a store's address, for the texts of errors.
pub(crate) const FORMS: &str = "file:FOLDER, sqlite://PATH, postgres://… or redis://…";
const HOUR: Duration = Duration::from_secs(3600);
/// The default time limit of one operation of a store.
#[cfg(feature = "store")]
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(all(test, feature = "store"))]
mod tests {
    use super::*;

    #[test]
    fn the_docs_name_the_defaults() {
        // The line breaks are removed, because sentences may be wrapped.
        let unwrapped = |page: &str| page.replace('\n', " ");
        let stores = unwrapped(include_str!("../docs/stores.md"));
        let Ttl { open, other } = Ttl::default();
        let [open, other] = [open, other].map(|ttl| ttl.as_secs() / 3600);
        let ttl = format!("{open} h after the last write if the circuit is open, otherwise {other} h");
        assert!(stores.contains(&ttl), "docs/stores.md does not say: {ttl}");
        let timeout = format!("an operation is given up after {} s", STORE_TIMEOUT.as_secs());
        assert!(stores.contains(&timeout), "docs/stores.md does not say: {timeout}");
        let operation = unwrapped(include_str!("../docs/operation.md"));
        let cooldown =
            format!("A reset within {} s after the circuit left closed", crate::config::RESET_COOLDOWN.as_secs());
        assert!(operation.contains(&cooldown), "docs/operation.md does not say: {cooldown}");
    }
}
