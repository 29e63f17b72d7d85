//! The check of a database address before sqlx parses the address, and the removal of the search path from the address.
//!
//! An unescaped special character in a password ends the part of the address that sqlx keeps secret. The rest of the
//! password becomes the host, the database or a parameter, which appear in errors and logs. The host is also sent to
//! DNS.

use crate::keep::decoded;

/// Returns false if the address shows that a special character of the user or the password is not percent-encoded. The
/// caller then refuses the address.
pub(super) fn is_escaped(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (path, query) = rest[authority..].split_once('?').unwrap_or((&rest[authority..], ""));
    // The value of a parameter may have an `@`, as in `user=ana@company`.
    let is_pair = |pair: &str| !pair.contains('@') || pair.split_once('=').is_some_and(|(key, _)| !key.contains('@'));
    // A fragment has no meaning in the address of a database, so a `#` is taken for an unescaped character of a
    // password.
    !rest.contains('#') && !path.contains('@') && query.split('&').all(is_pair)
}

/// Splits an address into the address without `options[search_path]`, and the value of this parameter.
///
/// The store sets the search path in each transaction, because a pooler refuses or ignores such a parameter at the
/// start of a connection. If the parameter were ignored, the store would use the tables of another schema.
pub(super) fn without_search_path(url: &str) -> (String, Option<String>) {
    let Some((place, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let mut search_path = None;
    let is_other = |pair: &&str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_other = decoded(key).as_deref() != Some("options[search_path]");
        if !is_other {
            search_path = decoded(value);
        }
        is_other
    };
    let others: Vec<&str> = query.split('&').filter(is_other).collect();
    (format!("{place}?{}", others.join("&")), search_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_is_taken_out_of_an_address() {
        for (url, rest, path) in [
            ("postgres://h/d", "postgres://h/d", None),
            ("postgres://h/d?options[search_path]=a", "postgres://h/d?", Some("a")),
            ("postgres://h/d?a=1&options%5Bsearch_path%5D=a%2C+b&c", "postgres://h/d?a=1&c", Some("a, b")),
            ("postgres://h/d?options[search_paths]=a", "postgres://h/d?options[search_paths]=a", None),
        ] {
            assert_eq!(without_search_path(url), (rest.to_owned(), path.map(str::to_owned)), "{url}");
        }
    }

    #[test]
    fn a_password_with_an_unescaped_special_character_is_refused() {
        for url in [
            "postgres://ana:p@ss/word@db.internal/orders",
            "postgres:///:pw@h",
            "postgres://ana:1/s3cret@h/d",
            "postgres://ana:1?s3cret@h/d",
            "postgres://ana:1#s3cret@h/d",
            "postgres://ana:1#s3cret",
        ] {
            assert!(!is_escaped(url), "{url}");
        }
        for url in [
            "postgres://ana:p%40ss%2Fword@db.internal/orders",
            "postgres://h/d?user=ana@company&sslmode=verify-full",
            "postgresql://[::1]:5432",
            "postgres:///d?host=/var/run/postgresql",
        ] {
            assert!(is_escaped(url), "{url}");
        }
    }
}
