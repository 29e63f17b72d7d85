//! The check of the address of a database, before sqlx parses the address.
//!
//! A special character in a password ends the part of the address that sqlx keeps secret, so that the rest of the password
//! becomes the host, the database or a parameter. Such parts appear in errors and logs, and the host goes to DNS.

/// Returns true if all special characters of the user and the password are percent-encoded, as far as the address shows.
pub(super) fn is_escaped(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (path, query) = rest[authority..].split_once('?').unwrap_or((&rest[authority..], ""));
    // The value of a parameter may have an `@`, as in `user=ana@company`.
    let is_pair = |pair: &str| !pair.contains('@') || pair.split_once('=').is_some_and(|(key, _)| !key.contains('@'));
    // A fragment has no meaning in the address of a database, so that a `#` belongs to a password.
    !rest.contains('#') && !path.contains('@') && query.split('&').all(is_pair)
}

#[cfg(test)]
mod tests {
    use super::*;

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
