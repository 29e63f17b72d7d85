//! Settings for the storage of circuits, such as the kinds of stores and the schemes of their addresses. This module
//! has only plain data, and opens no store.
//!
//! The stores, the coordinator and the configuration use these types. The types are in a separate module, because the
//! configuration can be compiled without the stores.

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
    /// begins with `redis-sentinel://`, `rediss-sentinel://`, `valkey-sentinel://` or `valkeys-sentinel://` lists the
    /// sentinels of a master. With `-cluster` in place of `-sentinel`, the address lists nodes of a cluster.
    Redis,
}

impl StoreKind {
    /// Returns the kind of store for the scheme of an address, or `None` if the scheme is unknown. The part behind the
    /// scheme is not checked.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, _) = url.split_once(':')?;
        SCHEMES.iter().find(|(known, _)| *known == scheme).map(|(_, kind)| *kind)
    }

    /// Returns the name of the kind in lower case, such as `redis`. The Cargo feature of the store has the same name.
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

/// Returns the text of an address behind `scheme:` or `scheme://`.
pub(crate) fn behind_scheme(url: &str) -> &str {
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    rest.strip_prefix("//").unwrap_or(rest)
}

/// The reaction of this instance when another instance opens the same circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "a further way must be looked at in every match")]
pub enum Sharing {
    /// This instance opens its circuit earlier while the circuit is open in another instance. During this time,
    /// `min_calls` and `consecutive_failures` of this instance are a quarter of the configured values, but at least 2.
    /// A configured value of 1 stays 1. With the lower values, the failures open the circuit only if they are also very
    /// unlikely at the usual error rate of the circuit ([`Circuit::advise`](crate::Circuit::advise)). `Advise` is the
    /// default, because an instance with a bad network path can then neither open nor close the circuits of other
    /// instances.
    #[default]
    Advise,
    /// Each instance that opens its circuit votes. Enough votes open the circuits of all instances of the fleet, except
    /// for instances whose own calls succeed. The fleet probes and closes as one circuit. Choose `Quorum` for an
    /// application that runs as two or more instances with one store. Each instance writes a heartbeat every 10 s.
    /// [`guide::fleet`](crate::guide::fleet) describes the protocol.
    Quorum,
    /// If one instance opens its circuit, the circuits of all instances of the fleet open, even if their own calls
    /// succeed. The fleet probes and closes as one circuit, as with [`Quorum`](Self::Quorum). Choose `Follow` for
    /// instances with little traffic, and for a called service that fails either for all instances or for none. Each
    /// instance writes a heartbeat every 10 s.
    Follow,
}

impl Sharing {
    /// Returns true if the instances open and close their circuits together, as a fleet.
    #[cfg(feature = "store")]
    pub(crate) const fn is_of_fleet(self) -> bool {
        matches!(self, Self::Quorum | Self::Follow)
    }

    /// Returns the word for this value in configuration files, which is `advise`, `quorum` or `follow`.
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

/// The setting that decides if an SQL store checks or creates its tables before its first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SchemaMode {
    /// Checks the tables, and creates missing tables. With SQLite, the file and its folder are created too. This is the
    /// default. The store needs the right to create tables only if a table is missing.
    #[default]
    Create,
    /// Checks the tables, and returns an error that names a missing table or column. This mode changes nothing in the
    /// database.
    Verify,
    /// Does not check the tables. If a table is missing, each operation on the table fails.
    Assume,
}

/// Returns true if the text is a valid id of an instance. An id has no `#`, because instances with the same id get `#`
/// and a number behind the id. An id has no `//`, because a text with `//` is probably the address of a store, given in
/// the wrong setting. Records, the audit and logs would then show the password in the address.
pub(crate) fn is_instance(id: &str) -> bool {
    (1..=100).contains(&id.len()) && id.chars().all(|c| is_printable(c) && c != '#') && !id.contains("//")
}

/// Returns true if the text is a valid name of a fleet. A name has no `//`, because a text with `//` is probably the
/// address of a store, which may contain a password.
pub(crate) fn is_fleet(name: &str) -> bool {
    (1..=LONGEST_FLEET).contains(&name.len()) && name.chars().all(is_printable) && !name.contains("//")
}

/// Returns true if the text is a valid prefix for the keys of a Redis store.
///
/// A prefix contains no special characters of Redis patterns, of Redis hash tags or of a shell, and no character that
/// ends a word in a log line. A key begins with the prefix, a colon and [`ROOT`]. A prefix must not contain [`ROOT`],
/// so that stores with different prefixes never use the same key.
pub(crate) fn is_prefix(prefix: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    let is_framed = prefix.starts_with(':') || prefix.ends_with(':');
    (1..=LONGEST_PREFIX).contains(&prefix.len())
        && prefix.bytes().all(is_allowed)
        && !is_framed
        && !prefix.contains(ROOT)
}

/// The time to live of the record of a circuit, for stores that delete old records.
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

/// A description of the ids that [`is_instance`] accepts. Error messages contain this text.
pub(crate) const INSTANCES: &str = "1 to 100 bytes of printable text without spaces, `#` and `//`";

/// A description of the names that [`is_fleet`] accepts. Error messages contain this text.
pub(crate) const FLEETS: &str = "1 to 100 bytes of printable text without spaces and `//`";
/// The largest length of the name of a fleet, in bytes. The record of a fleet has the name `@fleet:` plus the name of
/// the fleet, which is 7 bytes longer.
pub(crate) const LONGEST_FLEET: usize = 100;
/// The default of the setting `quorum_at_least`, which is the smallest number of votes that can open the circuits of a
/// fleet under [`Sharing::Quorum`]. A fleet of one instance needs only one vote.
pub(crate) const QUORUM_AT_LEAST: u32 = 2;
/// The default share of the live instances that have to vote to open the circuits of a fleet under [`Sharing::Quorum`].
pub(crate) const QUORUM_SHARE: f64 = 0.1;
/// The largest number of votes that can be needed to open the circuits of a fleet. In a large fleet, more votes would
/// only delay the opening.
pub(crate) const MOST_VOTES: u32 = 10;

/// A description of the prefixes that [`is_prefix`] accepts. Error messages contain this text.
pub(crate) const PREFIXES: &str = "1 to 100 letters, digits and `.`, `_`, `-`, `/` and `:`, without `:` at an end and \
     without the word `circuit_breaker`";
/// The first word of each key in Redis. Only a configured prefix comes before this word.
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
/// The allowed forms of a store's address. Error messages contain this text.
pub(crate) const FORMS: &str = "file:FOLDER, sqlite://PATH, postgres://… or redis://…";
const HOUR: Duration = Duration::from_secs(3600);
/// The default time limit for one operation of a store.
#[cfg(feature = "store")]
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(all(test, feature = "store"))]
mod tests {
    use super::*;

    #[test]
    fn the_docs_name_the_defaults() {
        // The line breaks are removed, because the test searches the page for phrases, and a phrase may continue on the
        // next line.
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
