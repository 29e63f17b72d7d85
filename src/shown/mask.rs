//! The masking of passwords in texts that may appear in an error or a log.
//!
//! Any text is masked, and not only addresses, because a user may paste a password under the wrong
//! key. In doubt, too much is hidden.

/// Returns the text with its passwords replaced by `***`.
pub(crate) fn masked(text: &str) -> String {
    // A URL has `?password=`, and the form of libpq has `password=`. A password may contain any
    // character, so the rest of the text is hidden.
    let (text, hidden) = match text.to_ascii_lowercase().find("password") {
        Some(at) if text[at..].contains('=') => (&text[..at], "password=***"),
        _ => (text, ""),
    };
    // Searches for `//` without the colon before it, because a missing colon may be the
    // reason why the address is refused.
    let authority = text.find("//").map(|at| at + 2);
    let shown = match (text.rfind('@'), authority) {
        // The last `@` ends the password, because a password that was not escaped may contain others.
        (Some(at), _) => {
            let start = authority.or_else(|| text.find(':').map(|at| at + 1)).filter(|start| *start <= at).unwrap_or(0);
            // Without a colon, the text may be a user, or a Redis password whose colon is missing. With another `@`,
            // the end of the user is unknown. In both cases all is hidden.
            let user =
                text[start..at].split_once(':').filter(|(user, rest)| !user.contains('@') && !rest.contains('@'));
            let user = user.map_or(String::new(), |(user, _)| format!("{user}:"));
            format!("{}{user}***{}", &text[..start], &text[at..])
        }
        // `user:password` without a host looks like a host and its port, except that a port has only digits.
        (None, Some(start)) => match text[start..].split_once(':') {
            Some((host, port)) if !host.starts_with('[') && !is_port(port) => {
                format!("{}{host}:***", &text[..start])
            }
            _ => text.to_owned(),
        },
        (None, None) => text.to_owned(),
    };
    shown + hidden
}

fn is_port(text: &str) -> bool {
    let port = text.split(['/', '?']).next().unwrap_or_default();
    // A password may begin with `/` or `?`, so that an empty port is not a port. Another `//` behind the port shows that
    // the text is more than one address, for example a whole file.
    (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()) && !text.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_anywhere_and_the_other_text_is_kept() {
        for (text, shown) in [
            ("sqlite://data/circuit_breaker.db", "sqlite://data/circuit_breaker.db"),
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://[::1]:6379/", "redis://[::1]:6379/"),
            ("postgres://ana:s3cret@db:5432/x", "postgres://ana:***@db:5432/x"),
            ("redis://:s3cret@db", "redis://:***@db"),
            ("redis://s3cret@db", "redis://***@db"),
            ("postgres://ana:s3:cr@e/t@db/x", "postgres://***@db/x"),
            ("postgres://db/x?user=ana&password=s3cret&a=b", "postgres://db/x?user=ana&password=***"),
            ("host=db PassWord=s3cret", "host=db password=***"),
            ("redis:/ana:s3cret@db", "redis:/ana:***@db"),
            ("redis:s3cret@db", "redis:***@db"),
            ("ana:s3cret", "ana:s3cret"),
            ("redis://ana:s3cret", "redis://ana:***"),
            ("redis//:s3cret127.0.0.1/0", "redis//:***"),
            ("redis://:1s3cret/db", "redis://:***"),
            ("redis://db:6379/ redis://:s3cret", "redis://db:***"),
            ("redis://ana:?s3cret", "redis://ana:***"),
            ("redis://ana:/s3cret", "redis://ana:***"),
            ("redis://ana:123456/s3cret", "redis://ana:***"),
            ("postgres://db:5432/x?sslmode=require", "postgres://db:5432/x?sslmode=require"),
            ("@", "***@"),
            ("@://", "***@://"),
            ("@:", "***@:"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }
}
