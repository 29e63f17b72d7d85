//! The masking of passwords in texts that may appear in an error or a log.
//!
//! Any text is masked, and not only addresses, because a user may paste a password under the wrong
//! key. In doubt, too much is hidden.

/// Returns the text with its passwords replaced by `***`.
pub(crate) fn masked(text: &str) -> String {
    // A URL has `?password=`, `?pass=` or `?sentinel_pass=`, and the form of libpq has `password=`. A password may contain
    // any character, so the rest of the text is hidden.
    let lower = text.to_ascii_lowercase();
    let password = lower.find("password").filter(|at| text[*at..].contains('='));
    let (text, hidden) = match (password, lower.find("pass=")) {
        (Some(at), pass) if pass.is_none_or(|pass| at < pass) => (&text[..at], "password=***"),
        (_, Some(at)) => (&text[..at], "pass=***"),
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
            Some((host, ports)) if !host.starts_with('[') && !are_ports(&text[..start], ports) => {
                format!("{}{host}:***", &text[..start])
            }
            _ => text.to_owned(),
        },
        (None, None) => text.to_owned(),
    };
    shown + hidden
}

/// Returns true if the text behind the first colon begins with a port, or continues a list of hosts with their ports.
fn are_ports(scheme: &str, text: &str) -> bool {
    match text.split_once(',') {
        Some((port, hosts)) if is_list(scheme) && is_port(port) => {
            hosts.split_once(':').is_some_and(|(_, ports)| are_ports(scheme, ports))
        }
        _ => is_port(text),
    }
}

fn is_list(scheme: &str) -> bool {
    scheme.ends_with("-sentinel://") || scheme.ends_with("-cluster://")
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
            ("unix:///run/x.sock?db=1&pass=s3cret&user=ana", "unix:///run/x.sock?db=1&pass=***"),
            ("unix:///run/x.sock?pass=password=s3cret", "unix:///run/x.sock?pass=***"),
            ("redis-sentinel://a:1,b:26379/m?x=1", "redis-sentinel://a:1,b:26379/m?x=1"),
            ("redis-sentinel://ana:s3cret@a:1,b/m", "redis-sentinel://ana:***@a:1,b/m"),
            ("redis-sentinel://a:1,s3cret/m", "redis-sentinel://a:***"),
            ("redis-sentinel://a:1,b:s3cret/m", "redis-sentinel://a:***"),
            ("rediss-cluster://a:1,b:2,c:3", "rediss-cluster://a:1,b:2,c:3"),
            ("redis://ana:1,b:2", "redis://ana:***"),
            (
                "redis-sentinel://a/m?sentinel_user=ana&sentinel_pass=s3cret",
                "redis-sentinel://a/m?sentinel_user=ana&sentinel_pass=***",
            ),
            ("@", "***@"),
            ("@://", "***@://"),
            ("@:", "***@:"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }
}
