//! The masking of passwords and other secrets in texts that may appear in an error or a log.
//!
//! The functions search every text for secrets, even a text that is no address, because a user may paste a password
//! under the wrong key of the settings. In doubt, the functions hide too much. Errors of the settings and texts of
//! failures both use the names of secrets and the form of a port from this module, so that secrets are hidden in both.

/// Returns the text with `***` in place of secrets. A secret is the password of an address, and everything behind a
/// name such as `password=`.
pub(crate) fn masked(text: &str) -> String {
    // The end of a secret is not known, because a secret may contain any character. Therefore the rest of the text is
    // hidden.
    let (text, hidden) = match up_to_a_secret(text) {
        Some(shown) => (shown, "***"),
        None => (text, ""),
    };
    // Searches for `//` and not for `://`, because the text may be an address that was refused for its missing colon.
    let authority = text.find("//").map(|at| at + 2);
    let shown = match (text.rfind('@'), authority) {
        // The last `@` ends the password, because a password that was not escaped may contain other `@` signs.
        (Some(at), _) => {
            let start = authority.or_else(|| text.find(':').map(|at| at + 1)).filter(|start| *start <= at).unwrap_or(0);
            // Without a colon, the text before the `@` may be a user, or a Redis password that was written as
            // `password@` instead of `:password@`. With another `@`, the end of the user is unknown. In both cases the
            // whole text before the `@` is hidden.
            let user =
                text[start..at].split_once(':').filter(|(user, rest)| !user.contains('@') && !rest.contains('@'));
            let user = user.map_or(String::new(), |(user, _)| format!("{user}:"));
            format!("{}{user}***{}", &text[..start], &text[at..])
        }
        // `user:password` without a host looks like `host:port`, except that a port has only digits.
        (None, Some(start)) => match text[start..].split_once(':') {
            Some((host, behind)) if !host.starts_with('[') && !are_ports(&text[..start], behind) => {
                format!("{}{host}:***", &text[..start])
            }
            _ => text.to_owned(),
        },
        (None, None) => text.to_owned(),
    };
    shown + hidden
}

/// Returns true if `text`, which follows the first colon of an address, begins with a port. For a scheme with a list of
/// hosts, each host in `text` must have a port.
fn are_ports(scheme: &str, text: &str) -> bool {
    match text.split_once(',') {
        Some((port, hosts)) if is_list(scheme) && is_port(port) => {
            hosts.split_once(':').is_some_and(|(_, ports)| are_ports(scheme, ports))
        }
        _ => begins_with_port(text),
    }
}

fn is_list(scheme: &str) -> bool {
    scheme.ends_with("-sentinel://") || scheme.ends_with("-cluster://")
}

/// Returns true if the text behind a host and a colon is a port, with or without a path or a query.
fn begins_with_port(text: &str) -> bool {
    // An empty text is not a port. If the text begins with `/` or `?`, the whole text may be a password. Another `//`
    // behind the port shows that the text is more than one address, for example a whole file, and may contain a
    // password. Therefore a text with `//` does not count as a port.
    is_port(text.split(['/', '?']).next().unwrap_or_default()) && !text.contains("//")
}

/// Returns true if the text has 1 to 5 digits and can therefore be a port. A longer number may be a password.
pub(crate) fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the beginning of the text up to the value of the first secret, as in `?password=`, `"token": "…"` or
/// `Authorization:`. Returns `None` if the text has no such value.
pub(crate) fn up_to_a_secret(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let value = |(name, has_plain_colon): (&str, bool)| {
        lower.match_indices(name).find_map(|(at, _)| {
            let behind = &lower[at + name.len()..];
            // Before `=` the name may be longer than the listed name, as in `password_1=`. Before a colon a longer name
            // is not accepted, because it can be the name of an error, as in `AuthorizationFailed: `.
            let in_a_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
            let rest_of_name = behind.bytes().take(LONGEST_REST).take_while(in_a_name).count();
            // `pass` is the name of a secret only as a whole word, because many words begin or end with `pass`.
            let before = lower[..at].chars().next_back();
            let in_a_word = rest_of_name > 0 || before.is_some_and(char::is_alphanumeric);
            let assigned = behind[rest_of_name..].trim_start_matches(SPACERS);
            let named = behind.trim_start_matches(SPACERS);
            let is_quoted = behind.len() > named.len() && !behind.starts_with(' ');
            let is_value = assigned.starts_with('=') || named.starts_with(':') && (is_quoted || has_plain_colon);
            let sign = if assigned.starts_with('=') { assigned } else { named };
            (is_value && (name != "pass" || !in_a_word)).then(|| lower.len() - sign.len() + 1)
        })
    };
    let end = SECRETS.into_iter().filter_map(value).min()?;
    (!text[end..].trim().is_empty()).then(|| &text[..end])
}

/// The names of secrets. The flag is true if an unquoted `name: x` shows that `x` is a secret. The flag of `token` is
/// false, because `unexpected token: x` is the error of a parser.
const SECRETS: [(&str, bool); 11] = [
    ("password", true),
    ("passwd", true),
    ("pwd", true),
    ("pass", false),
    ("secret", true),
    ("authorization", true),
    ("cookie", true),
    ("token", false),
    ("api_key", false),
    ("apikey", false),
    ("signature", false),
];
/// A longer name, such as `password_1`, can have at most this number of bytes after the listed name. The limit keeps
/// the work for a text proportional to its length.
const LONGEST_REST: usize = 32;
/// The characters that may be between a name and its `=` or colon.
const SPACERS: [char; 4] = ['"', '\'', '\\', ' '];

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
            ("postgres://db/x?sslpassword=s3cret", "postgres://db/x?sslpassword=***"),
            ("host=db PassWord=s3cret", "host=db PassWord=***"),
            ("host=db password1 = s3cret", "host=db password1 =***"),
            ("redis://db/0?token=s3cret", "redis://db/0?token=***"),
            ("https://db/x?api_key=s3cret", "https://db/x?api_key=***"),
            ("password: s3cret", "password:***"),
            (r#"{"token": "s3cret"}"#, r#"{"token":***"#),
            ("/run/secrets/db", "/run/secrets/db"),
            ("unexpected token: `}`", "unexpected token: `}`"),
            ("password=", "password="),
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
