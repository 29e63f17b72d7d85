//! The keys and the channel of one store in Redis, which no other store of the server shares.
//!
//! All databases of a Redis server share their channels, so the name of the channel contains the number of the
//! database. The prefix separates the applications in one database. A prefix contains no [`ROOT`], and the root follows
//! each prefix. Therefore no key of one prefix is a key of another prefix, even if one prefix begins with the other.

use crate::keep::ROOT;
use crate::pattern::LONGEST_NAME;

/// The names of a store's keys, and its channel.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    database: i64,
}

impl Keys {
    /// Returns the keys of a prefix. The prefix is empty, or [`is_prefix`](crate::keep::is_prefix) accepts the prefix.
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.to_owned(), database }
    }

    fn root(&self) -> String {
        if self.prefix.is_empty() { format!("{ROOT}:") } else { format!("{}:{ROOT}:", self.prefix) }
    }

    /// Returns the key of a circuit's record. The form of the key must not change, because people and dashboards use
    /// it.
    pub(super) fn record(&self, name: &str) -> String {
        format!("{}{name}{SUFFIX}", self.root())
    }

    /// Returns the name of the circuit that a key belongs to. Returns `None` if no circuit of this store can have the
    /// key.
    pub(super) fn name(&self, key: &[u8]) -> Option<String> {
        let name = str::from_utf8(key).ok()?.strip_prefix(&self.root())?.strip_suffix(SUFFIX)?;
        (1..=LONGEST_NAME).contains(&name.len()).then(|| name.to_owned())
    }

    /// Returns the pattern that matches the keys of all records. The pattern has a wildcard in place of the name and
    /// contains no name of a circuit, so a name is never interpreted as a pattern.
    pub(super) fn pattern(&self) -> String {
        self.record("*")
    }

    /// Returns the length of the longest possible key of a record, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.root().len() + LONGEST_NAME + SUFFIX.len()
    }

    /// Returns the key of the audit, which is a stream.
    pub(super) fn audit(&self) -> String {
        format!("{}audit", self.root())
    }

    /// Returns the key of the set that has the ids of audit rows. The key of the stream is the hash tag of this key, so
    /// that both keys are in one slot of a cluster.
    pub(super) fn audit_ids(&self) -> String {
        format!("{{{}}}:ids", self.audit())
    }

    /// Returns the channel on which every change of this store is published.
    pub(super) fn channel(&self) -> String {
        format!("{}changes:{}", self.root(), self.database)
    }

    /// Describes the store for errors and logs by the address of the server. The database and the prefix are added if
    /// they are not the default, because they distinguish the stores on one server.
    pub(super) fn described(&self, address: &str) -> String {
        match (self.database, &*self.prefix) {
            (0, "") => address.to_owned(),
            (0, prefix) => format!("{address} (prefix {prefix})"),
            (database, "") => format!("{address} (database {database})"),
            (database, prefix) => format!("{address} (database {database}, prefix {prefix})"),
        }
    }
}

const SUFFIX: &str = ":state";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::is_prefix;

    #[test]
    fn a_key_gives_back_its_name() {
        for prefix in ["", "orders", "a:b"] {
            let keys = Keys::new(prefix, 0);
            for circuit in ["a", ":", ":state", "circuit_breaker:a:state", "{x}", "ä*?[a]"] {
                assert_eq!(keys.name(keys.record(circuit).as_bytes()).as_deref(), Some(circuit));
            }
            assert_eq!(keys.name(keys.record(&"x".repeat(201)).as_bytes()), None);
            assert_eq!(keys.record(&"x".repeat(200)).len(), keys.longest());
        }
        let keys = Keys::new("", 0);
        for key in ["circuit_breaker::state", "circuit_breaker:audit", "circuit_breaker:state", "x:state"] {
            assert_eq!(keys.name(key.as_bytes()), None, "{key}");
        }
        assert_eq!(keys.name(b"circuit_breaker:\xff:state"), None);
    }

    #[test]
    fn no_key_of_one_prefix_is_a_key_of_another_prefix() {
        // The names are those that could imitate the keys of another prefix.
        let names = ["x", "b:x", "circuit_breaker:x", "b:circuit_breaker:x", ":circuit_breaker:x:state", "breaker:x"];
        let prefixes = ["", "a", "a:b", "a:b:a", "b", "c", "circuit", "circuit_breake", "a:circuit"];
        for one in prefixes {
            assert!(one.is_empty() || is_prefix(one), "{one}");
            for other in prefixes.into_iter().filter(|other| *other != one) {
                let (one, other) = (Keys::new(one, 0), Keys::new(other, 0));
                for name in names {
                    assert_eq!(other.name(one.record(name).as_bytes()), None, "{name} of {one:?} for {other:?}");
                }
                assert_ne!(one.audit(), other.audit());
                assert_ne!(one.channel(), other.channel());
            }
        }
        assert_ne!(Keys::new("", 1).channel(), Keys::new("", 0).channel(), "a channel belongs to one database");
    }

    #[test]
    fn the_default_keys_never_change() {
        let keys = Keys::new("", 0);
        assert_eq!(keys.record("payments"), "circuit_breaker:payments:state");
        assert_eq!(keys.audit(), "circuit_breaker:audit");
        assert_eq!(keys.audit_ids(), "{circuit_breaker:audit}:ids");
        assert_eq!(keys.channel(), "circuit_breaker:changes:0");
        assert_eq!(Keys::new("orders", 3).record("payments"), "orders:circuit_breaker:payments:state");
    }
}
