//! The keys and the channel of one store in Redis. No other store on the server uses these keys or this channel.
//!
//! All databases of a Redis server share their channels, so the name of the channel contains the number of the
//! database. A prefix separates the applications in one database. Each key has the text [`ROOT`] after the prefix, and
//! no prefix contains this text. Therefore two different prefixes never produce the same key, even if one prefix is the
//! beginning of the other.

use crate::keep::ROOT;
use crate::pattern::LONGEST_NAME;

/// The names of a store's keys, and its channel.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    database: i64,
}

impl Keys {
    /// Returns the keys and the channel for a prefix. The prefix must be empty, or
    /// [`is_prefix`](crate::keep::is_prefix) must accept the prefix.
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.to_owned(), database }
    }

    fn root(&self) -> String {
        if self.prefix.is_empty() { format!("{ROOT}:") } else { format!("{}:{ROOT}:", self.prefix) }
    }

    /// Returns the key of a circuit's record. The format must not change, because operators and dashboards use these
    /// keys.
    pub(super) fn record(&self, name: &str) -> String {
        format!("{}{name}{SUFFIX}", self.root())
    }

    /// Returns the circuit name in the key of a record. Returns `None` if the key is not the key of a record of this
    /// store.
    pub(super) fn name(&self, key: &[u8]) -> Option<String> {
        let name = str::from_utf8(key).ok()?.strip_prefix(&self.root())?.strip_suffix(SUFFIX)?;
        (1..=LONGEST_NAME).contains(&name.len()).then(|| name.to_owned())
    }

    /// Returns the pattern that matches the keys of all records, with the wildcard `*` in place of the circuit name.
    /// The pattern contains no circuit name, so a name is never interpreted as a pattern.
    pub(super) fn pattern(&self) -> String {
        self.record("*")
    }

    /// Returns the length of the longest possible key of a record, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.root().len() + LONGEST_NAME + SUFFIX.len()
    }

    /// Returns the key of the stream that holds the audit.
    pub(super) fn audit(&self) -> String {
        format!("{}audit", self.root())
    }

    /// Returns the key of the set with the ids of the audit rows. The hash tag of this key (the part in braces) is the
    /// key of the stream. Therefore a cluster keeps the set and the stream in the same slot.
    pub(super) fn audit_ids(&self) -> String {
        format!("{{{}}}:ids", self.audit())
    }

    /// Returns the channel on which every change of this store is published.
    pub(super) fn channel(&self) -> String {
        format!("{}changes:{}", self.root(), self.database)
    }

    /// Returns a description of the store for errors and logs. The description is the address of the server, with the
    /// database and the prefix if they differ from the defaults. The database and the prefix distinguish the stores on
    /// one server.
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
