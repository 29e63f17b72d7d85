//! Patterns for names of circuits (such as `host:*`), maps from names and patterns to values, and reserved names.
//!
//! A pattern is a prefix followed by a `*`, and matches all names that begin with the prefix. An exact name takes
//! precedence over a pattern, and a longer pattern takes precedence over a shorter pattern. Other characters of shell
//! patterns, such as `?`, are refused. If `?` were accepted as a part of a name, a setting for `host?` would silently
//! apply to no circuit.

#[cfg(any(feature = "settings", feature = "store"))]
use std::collections::BTreeMap;
#[cfg(feature = "settings")]
use std::collections::btree_map::Entry;
use std::net::Ipv6Addr;

/// Returns the text before the `*` if the entry is a pattern, or `None` if the entry is an exact name.
pub(crate) fn beginning(entry: &str) -> Option<&str> {
    entry.strip_suffix('*')
}

/// Returns true if the entry is equal to the name, or is a pattern that matches the name.
pub(crate) fn covers(entry: &str, name: &str) -> bool {
    entry == name || beginning(entry).is_some_and(|beginning| name.starts_with(beginning))
}

/// Returns the first `*`, `?` or `[` that is not allowed at its place in the entry, or `None` if there is no such
/// character. These are characters of shell patterns. Only a single `*` at the end is allowed.
///
/// Brackets around an IPv6 address are allowed, as in `host:[::1]:443`.
pub(crate) fn misused(entry: &str) -> Option<char> {
    let name = beginning(entry).unwrap_or(entry);
    name.char_indices().find_map(|(at, sign)| match sign {
        '*' | '?' => Some(sign),
        '[' => {
            let inside = name[at + 1..].split_once(']').map_or("", |(inside, _)| inside);
            let address = inside.split('%').next().unwrap_or_default();
            address.parse::<Ipv6Addr>().is_err().then_some(sign)
        }
        _ => None,
    })
}

/// Returns true if the name is reserved, so that no circuit can have the name. A record with a reserved name lists the
/// members of a fleet.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// The beginning of all reserved names. No circuit can have such a name.
pub(crate) const RESERVED: &str = "@fleet:";
/// A description of the names that are not reserved. Error messages contain this text.
pub(crate) const UNRESERVED: &str = "a name that does not begin with `@fleet:`, which names the members of a fleet";

/// A description of the allowed entries, which are names and patterns. Error messages contain this text.
#[cfg(any(feature = "settings", feature = "store"))]
pub(crate) const ALLOWED: &str =
    "a name of 1 to 200 bytes, or the beginning of names with one `*` at its end, as in \"host:*\"";

/// A map from exact names and patterns to values, such as the settings of circuits.
#[cfg(any(feature = "settings", feature = "store"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ByName<T> {
    exact: BTreeMap<String, T>,
    /// The values of the patterns. The keys of the map are the patterns without the `*`.
    patterns: BTreeMap<String, T>,
}

#[cfg(any(feature = "settings", feature = "store"))]
impl<T> ByName<T> {
    /// Sets the value of a name or pattern.
    pub(crate) fn insert(&mut self, entry: &str, value: T) {
        let (values, key) = beginning(entry).map_or((&mut self.exact, entry), |begins| (&mut self.patterns, begins));
        values.insert(key.to_owned(), value);
    }

    /// Returns all patterns with their values, and then all exact names with their values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (String, &T)> {
        let patterns = self.patterns.iter().map(|(beginning, value)| (format!("{beginning}*"), value));
        patterns.chain(self.exact.iter().map(|(name, value)| (name.clone(), value)))
    }

    /// Returns the value for a name. This is the value of the exact name, or else the value of the longest pattern that
    /// matches the name.
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.exact.get(name).or_else(|| self.covering(name).last())
    }

    /// Returns the values of all patterns that match a name. The value of the longest pattern is the last.
    pub(crate) fn covering<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a T> {
        // Each beginning of the name is looked up in the map. This is faster than a search through the patterns,
        // because a name is short and there can be many patterns. The length of the beginnings is limited, because
        // `name` can be longer than any valid name.
        let longest = self.patterns.keys().map(String::len).max();
        let ends = longest.into_iter().flat_map(|longest| 0..=longest.min(name.len()).min(LONGEST_NAME));
        ends.filter_map(move |end| self.patterns.get(name.get(..end)?))
    }
}

#[cfg(feature = "settings")]
impl<T> ByName<T> {
    /// Returns the map entry of a name or pattern.
    pub(crate) fn entry(&mut self, entry: &str) -> Entry<'_, String, T> {
        match beginning(entry) {
            Some(beginning) => self.patterns.entry(beginning.to_owned()),
            None => self.exact.entry(entry.to_owned()),
        }
    }

    /// Returns the values of the exact names.
    pub(crate) fn exact(&self) -> impl Iterator<Item = (&str, &T)> {
        self.exact.iter().map(|(name, value)| (&**name, value))
    }
}

#[cfg(any(feature = "settings", feature = "store"))]
impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), patterns: BTreeMap::new() }
    }
}

/// The largest length of the name of a circuit, in bytes.
pub(crate) const LONGEST_NAME: usize = 200;

#[cfg(all(test, any(feature = "settings", feature = "store")))]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_the_names_with_its_beginning() {
        assert!(covers("host:*", "host:a") && covers("host:*", "host:") && covers("*", "") && covers("a", "a"));
        assert!(!covers("host:*", "hosts:a") && !covers("host", "host:a") && !covers("host:a", "host:*"));
    }

    #[test]
    fn the_most_specific_entry_of_a_name_wins() {
        let mut values = ByName::default();
        for entry in ["host:a*", "host:*", "host:ab", "büro*"] {
            values.entry(entry).or_insert(entry);
        }
        for (name, entry) in [
            ("host:ab", Some("host:ab")),
            ("host:abc", Some("host:a*")),
            ("host:b", Some("host:*")),
            ("host", None),
            ("büro-2", Some("büro*")),
            ("bü", None),
        ] {
            assert_eq!(values.get(name).copied(), entry, "{name}");
        }
        assert_eq!(values.covering("host:ab").copied().collect::<Vec<_>>(), ["host:*", "host:a*"]);
    }

    #[test]
    fn only_one_star_at_the_end_makes_a_pattern() {
        for right in ["a", "host:*", "*", "host:[::1]:443", "[fe80::1%eth0]:80*", "/users/{id}", "a]"] {
            assert_eq!(misused(right), None, "{right}");
        }
        for (wrong, sign) in
            [("*a", '*'), ("a*b", '*'), ("a**", '*'), ("a?", '?'), ("db[0-9]", '['), ("a[", '['), ("[]", '[')]
        {
            assert_eq!(misused(wrong), Some(sign), "{wrong}");
        }
    }
}
