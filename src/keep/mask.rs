//! What is shown of a text that may hold a password.
//!
//! It looks at any text, not only at addresses: a password pasted under the wrong key must not end in a log either. When in
//! doubt it hides too much.

/// Returns the text without the passwords in it.
pub(crate) fn masked(text: &str) -> String {
    // `?password=` of a URL, and `password=` of libpq: what follows may hold anything, so nothing of it is shown.
    let (text, hidden) = match text.to_ascii_lowercase().find("password") {
        Some(at) if text[at..].contains('=') => (&text[..at], "password=***"),
        _ => (text, ""),
    };
    // Without the colon before it, too: the text may be refused for its lack.
    let authority = text.find("//").map(|at| at + 2);
    let shown = match (text.rfind('@'), authority) {
        // The last `@`, as a password that nobody escaped may hold others.
        (Some(at), _) => {
            let start = authority.or_else(|| text.find(':').map(|at| at + 1)).filter(|start| *start <= at).unwrap_or(0);
            // Alone, it may be a user or a Redis password that lacks its colon. Beside another `@`, no one can tell.
            let user =
                text[start..at].split_once(':').filter(|(user, rest)| !user.contains('@') && !rest.contains('@'));
            let user = user.map_or(String::new(), |(user, _)| format!("{user}:"));
            format!("{}{user}***{}", &text[..start], &text[at..])
        }
        // `user:password` without a host looks like a host and its port, but for the digits.
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
    // Another address behind it: somebody pasted a whole file.
    port.chars().all(|c| c.is_ascii_digit()) && !text.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_wherever_it_stands_and_the_rest_is_kept() {
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
            ("@", "***@"),
            ("@://", "***@://"),
            ("@:", "***@:"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }
}
