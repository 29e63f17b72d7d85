//! Patterns for the names of circuits, such as `host:*`, the values of settings by name and pattern, and the reserved
//! names.
//!
//! A pattern is the beginning of names followed by a `*`. The value of an exact name takes precedence over the value of
//! a pattern, and the value of a longer pattern over the value of a shorter pattern. The other signs of shell patterns,
//! such as `?`, are refused. If such a sign were accepted as a part of a name, the setting would silently apply to no
//! circuit.

#[cfg(any(feature = "settings", feature = "store"))]
use std::collections::BTreeMap;
#[cfg(feature = "settings")]
use std::collections::btree_map::Entry;
use std::net::Ipv6Addr;

/// Returns the common beginning of the names that a pattern covers, or `None` if the entry is an exact name.
pub(crate) fn beginning(entry: &str) -> Option<&str> {
    entry.strip_suffix('*')
}

/// Returns true if an entry is the name itself, or a pattern that covers the name.
pub(crate) fn covers(entry: &str, name: &str) -> bool {
    entry == name || beginning(entry).is_some_and(|beginning| name.starts_with(beginning))
}

/// Returns the first sign in an entry that belongs to a shell pattern and is not allowed, or `None`. Only one `*` at
/// the end is allowed.
///
/// Brackets around an IPv6 address are part of a name, as in `host:[::1]:443`.
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

/// Returns true if no circuit can have the name, because a record of this name lists the members of a fleet.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// The beginning of the names that no circuit can have.
pub(crate) const RESERVED: &str = "@fleet:";
/// The description of the names that a circuit can have, for errors.
pub(crate) const UNRESERVED: &str = "a name that does not begin with `@fleet:`, which names the members of a fleet";

/// The description of the allowed forms of an entry, for errors.
#[cfg(any(feature = "settings", feature = "store"))]
pub(crate) const ALLOWED: &str =
    "a name of 1 to 200 bytes, or the beginning of names with one `*` at its end, as in \"host:*\"";

/// Values for circuits, by exact name and by pattern.
#[cfg(any(feature = "settings", feature = "store"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ByName<T> {
    exact: BTreeMap<String, T>,
    /// The values of the patterns, each by the beginning of the names that the pattern covers.
    patterns: BTreeMap<String, T>,
}

#[cfg(any(feature = "settings", feature = "store"))]
impl<T> ByName<T> {
    /// Sets the value of a name or pattern.
    pub(crate) fn insert(&mut self, entry: &str, value: T) {
        let (values, key) = beginning(entry).map_or((&mut self.exact, entry), |begins| (&mut self.patterns, begins));
        values.insert(key.to_owned(), value);
    }

    /// Returns the names and patterns with their values, patterns first, in the spelling in which they were
    /// added.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (String, &T)> {
        let patterns = self.patterns.iter().map(|(beginning, value)| (format!("{beginning}*"), value));
        patterns.chain(self.exact.iter().map(|(name, value)| (name.clone(), value)))
    }

    /// Returns the value of the exact name, or else the value of the longest pattern that covers the name.
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.exact.get(name).or_else(|| self.covering(name).last())
    }

    /// Returns the values of the patterns that cover a name, the longest pattern last.
    pub(crate) fn covering<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a T> {
        // Each beginning of the name is looked up, because a name is short and there can be many patterns. The length
        // of the beginnings is limited, because a caller may pass a text that is longer than any valid name.
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

/// The longest name of a circuit, in bytes.
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
