//! The allowed parameters for each kind of store address, and the allowed values of these parameters.

use super::{SHELL, StoreKind, Wrong, is_of_shell, part};
use crate::nearest::nearest;

/// The allowed parameters of an address with this kind of store and this scheme.
pub(super) struct Known {
    names: &'static [&'static str],
    kind: StoreKind,
    /// The scheme with which a Redis address of this kind (server, cluster or sentinels) uses TLS. An error message
    /// suggests this scheme.
    with_tls: &'static str,
}

impl Known {
    pub(super) fn of(kind: StoreKind, scheme: &str) -> Self {
        let of_sentinels = scheme.ends_with("-sentinel");
        let names: &[&str] = match kind {
            StoreKind::File => &[],
            StoreKind::Sqlite => &["mode", "cache", "immutable", "vfs"],
            StoreKind::Postgres => &POSTGRES,
            StoreKind::Redis if scheme.contains("unix") => &["db", "user", "pass", PREFIX, "protocol"],
            StoreKind::Redis if matches!(scheme, "rediss-sentinel" | "valkeys-sentinel") => {
                &["ca", "cert", "key", PREFIX, "protocol", "sentinel_user", "sentinel_pass"]
            }
            StoreKind::Redis if of_sentinels => &[PREFIX, "protocol", "sentinel_user", "sentinel_pass"],
            StoreKind::Redis if scheme.starts_with("rediss") || scheme.starts_with("valkeys") => {
                &["ca", "cert", "key", PREFIX, "protocol"]
            }
            StoreKind::Redis => &[PREFIX, "protocol"],
        };
        let with_tls = match scheme.rsplit_once('-') {
            Some((_, "sentinel")) => "rediss-sentinel://",
            Some((_, "cluster")) => "rediss-cluster://",
            _ => "rediss://",
        };
        Self { names, kind, with_tls }
    }

    /// Returns the standard name of the parameter with the spelling `key`, or `None` if no parameter has this spelling.
    pub(super) fn name(&self, key: &str) -> Option<&'static str> {
        let of_postgres = self.kind == StoreKind::Postgres;
        let alias = || ALIASES.iter().find(|(alias, _)| of_postgres && *alias == key).map(|(_, name)| *name);
        let option = || (of_postgres && key.starts_with("options[") && key.ends_with(']')).then_some(OPTIONS);
        self.names.iter().find(|name| **name == key).copied().or_else(alias).or_else(option)
    }

    /// Returns the error for an unknown parameter. `key` is the name of the parameter for the error text, or `None` if
    /// this name may be a part of a password.
    pub(super) fn unknown(&self, key: Option<&str>) -> Wrong {
        let allowed = match self.names {
            [] => "an address of this kind has no parameters".to_owned(),
            names => format!("allowed are {}", names.join(", ")),
        };
        let Some(key) = key else {
            let remedy = "a `?` in a user, a password or a path must be written as %3F";
            return part(format!("the address has an unknown parameter: {allowed}, and {remedy}"));
        };
        let tls = ["ca", "cert", "key"].contains(&key) && self.kind == StoreKind::Redis;
        let hint = match nearest(key, self.names.iter().copied()) {
            Some(near) => format!(", did you mean `{near}`?"),
            None if tls => format!(", which needs an address that begins with `{}`:", self.with_tls),
            None => ":".to_owned(),
        };
        part(format!("the address has the unknown parameter `{key}`{hint} {allowed}"))
    }
}

/// Returns an error if the value is empty or is not allowed for the parameter.
pub(super) fn check_value(kind: StoreKind, name: &str, value: &str) -> Result<(), Wrong> {
    let allowed: &[&str] = match (kind, name) {
        (_, "sslmode") => &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
        (_, "protocol") => &["2", "3", "resp2", "resp3"],
        (StoreKind::Sqlite, "mode") => &["ro", "rw", "rwc"],
        _ => &[],
    };
    if value.is_empty() {
        return Err(part(format!("the parameter `{name}` has no value")));
    }
    if !allowed.is_empty() && !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(value)) {
        let hint =
            nearest(value, allowed.iter().copied()).map_or(":".to_owned(), |near| format!(", did you mean `{near}`?"));
        let allowed = allowed.join(", ");
        return Err(part(format!("the parameter `{name}` has an unknown value{hint} allowed are {allowed}")));
    }
    if FILES.contains(&name) && is_of_shell(value) {
        return Err(part(format!("the file of `{name}` cannot begin with {SHELL}")));
    }
    Ok(())
}

/// The parameter with the prefix of the keys.
pub(super) const PREFIX: &str = "prefix";
/// The parameters of a PostgreSQL address, with their names in libpq.
const POSTGRES: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    OPTIONS,
];
/// The parameter for PostgreSQL options, also written `options[NAME]`. No other parameter may occur more than once in
/// an address.
pub(super) const OPTIONS: &str = "options";
/// Alternative names that sqlx accepts for PostgreSQL parameters, each with the name in libpq.
const ALIASES: [(&str, &str); 5] = [
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
];
/// The parameters whose values are file paths.
const FILES: [&str; 6] = ["sslrootcert", "sslcert", "sslkey", "ca", "cert", "key"];
