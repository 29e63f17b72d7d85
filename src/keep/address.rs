//! The check of a store's address. The configuration, the stores and `circuitctl` use the same check.
//!
//! The check refuses unknown schemes and unknown parameters. If a misspelt `sslmode` were ignored, the password could
//! be sent to a wrong server. An error quotes the name or the value of a parameter only if this text cannot be a part
//! of a password.

mod known;
mod several;

use std::fmt;

use super::{PREFIXES, StoreKind, behind_scheme, is_prefix};
use crate::shown::{forges, quoted};
use known::{Known, OPTIONS, PREFIX, check_value};
#[cfg(feature = "redis")]
pub(crate) use several::{MASTERS, is_master};

/// The address of a store, after a check of its form and its parameters.
pub(crate) struct Address {
    pub(crate) kind: StoreKind,
    parameters: Vec<(&'static str, String)>,
}

/// The reason why an address is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The text does not have the form of a store's address.
    Form,
    /// A part of the address is wrong. The text names the part and the correction.
    Part(String),
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, Wrong> {
        let (scheme, rest) = url.split_once(':').ok_or(Wrong::Form)?;
        let kind = StoreKind::of(url).ok_or(Wrong::Form)?;
        let is_socket = scheme.contains("unix");
        let is_server = matches!(kind, StoreKind::Postgres | StoreKind::Redis);
        // A space before or after the address is refused here. The later error of the store would not show that the
        // space is the cause.
        if is_server && !rest.starts_with("//") || url.trim() != url || url.contains(forges) {
            return Err(Wrong::Form);
        }
        let (place, query) = match behind_scheme(url).split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (behind_scheme(url), None),
        };
        let of_variables = kind == StoreKind::Postgres && query.is_some();
        if matches!(place, "" | "/") && !of_variables || is_socket && !rest.starts_with("///") && !is_of_shell(place) {
            return Err(Wrong::Form);
        }
        if (!is_server || is_socket) && is_of_shell(place.trim_start_matches('/')) {
            return Err(part(format!("a path in an address cannot begin with {SHELL}")));
        }
        if is_server && let Some((_, fragment)) = rest.split_once('#') {
            return Err(part(match fragment {
                "insecure" => "`#insecure` is not supported: name the CA of the server with `?ca=FILE`",
                _ => "a `#` must be written as %23",
            }));
        }
        several::check(scheme, place)?;
        let known = Known::of(kind, scheme);
        let mut parameters = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (decoded(key), decoded(value)) else {
                return Err(part("the parameters are not percent-encoded UTF-8"));
            };
            let name = known.name(&key).ok_or_else(|| {
                let sure = pair.contains('=') && !query.is_some_and(|query| query.contains('@'));
                known.unknown(Some(&*key).filter(|key| sure && is_name(key) && ends_as_host(place)))
            })?;
            if name != OPTIONS && parameters.iter().any(|(other, _)| *other == name) {
                return Err(part(format!("the parameter `{name}` is there twice")));
            }
            check_value(kind, name, &value)?;
            if name == PREFIX && !is_prefix(&value) {
                // The error quotes the value only if the value cannot be a part of a password.
                let sure = ends_as_host(place) && !query.is_some_and(|query| query.contains('@'));
                let value = if sure { format!(" is \"{}\" and", quoted(&value)) } else { String::new() };
                return Err(part(format!("the parameter `prefix`{value} must be {PREFIXES}")));
            }
            parameters.push((name, value));
        }
        let address = Self { kind, parameters };
        address.check_pairs()?;
        Ok(address)
    }

    /// Returns the decoded value of a parameter, or `None` if the address does not have the parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Returns an error if the address has a parameter that needs a second parameter, and the second parameter is
    /// missing.
    fn check_pairs(&self) -> Result<(), Wrong> {
        let has = |name| self.get(name).is_some();
        if has("sentinel_user") && !has("sentinel_pass") {
            return Err(part("`sentinel_user` has an effect only with `sentinel_pass`"));
        }
        for (certificate, key) in [("sslcert", "sslkey"), ("cert", "key")] {
            if has(certificate) != has(key) {
                return Err(part(format!("`{certificate}` and `{key}` must be given together")));
            }
        }
        let verifies = self.get("sslmode").is_some_and(|mode| mode.to_ascii_lowercase().starts_with("verify-"));
        if has("sslrootcert") && !verifies {
            return Err(part(
                "`sslrootcert` has an effect only with `sslmode=verify-full` or `sslmode=verify-ca`, because the other \
                 modes do not verify the certificate",
            ));
        }
        Ok(())
    }
}

/// Returns true if the path begins with `~` or `$`. A shell would expand such a path, but a store does not.
fn is_of_shell(path: &str) -> bool {
    path.starts_with(['~', '$'])
}

/// Returns true if an unknown key is short and has only the characters of parameter names. Such a key is probably a
/// misspelt name, and not a part of a password.
fn is_name(key: &str) -> bool {
    key.len() <= 40 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte))
}

/// Returns true if the text before the `?` of an address has only hosts with valid ports before its path. If not, the
/// `?` may be a part of a password.
fn ends_as_host(place: &str) -> bool {
    let authority = place.split('/').next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    hosts.split(',').all(|host| match host.rsplit_once(':') {
        Some((_, port)) => port.ends_with(']') || !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => true,
    })
}

/// Decodes `%XX` and `+` as in the query of a URL, where `+` is a space. Returns `None` if the decoded bytes are not
/// UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = match (first, behind) {
            (b'%', [high, low, ..]) => (*high as char).to_digit(16).zip((*low as char).to_digit(16)),
            _ => None,
        };
        let byte = hex.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).ok()
}

fn part(text: impl Into<String>) -> Wrong {
    Wrong::Part(text.into())
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => write!(f, "an address of a store has the form {}", super::FORMS),
            Self::Part(text) => f.write_str(text),
        }
    }
}

const SHELL: &str = "`~` or `$`, because only a shell expands them: write the whole path";

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(url: &str) -> String {
        match Address::parse(url) {
            Ok(_) => panic!("{url} is accepted"),
            Err(wrong) => wrong.to_string(),
        }
    }

    #[test]
    fn every_scheme_is_accepted_with_its_parameters() {
        for url in [
            "file:data",
            "sqlite://data/breakers.db?mode=ro&immutable=true",
            "postgres://ana:p%40ss@db:5432/x?sslmode=verify-full&sslrootcert=/etc/ca.crt",
            "postgresql://db/x?ssl-mode=VERIFY-CA&ssl-ca=ca.crt&options[search_path]=a&options%5Bstatement_timeout%5D=9",
            "postgres:///x?host=/run/postgresql&user=ana@corp&password=a@b",
            "postgres://?host=db",
            "redis://:s3cret@[::1]:6379/0?protocol=resp3&prefix=orders:eu-1",
            "rediss://db?ca=/etc/ca.crt&cert=/etc/c.crt&key=/etc/c.key&prefix=a",
            "valkey://db",
            "valkeys://db?ca=ca.crt",
            "redis+unix:///run/redis.sock?db=1&user=ana&pass=x&prefix=a%2Fb",
            "unix:///run/redis.sock",
            "redis-sentinel://:s3cret@a:26379,b,[::1]:1/my.master-1_x/3?prefix=a&sentinel_user=ana&sentinel_pass=x",
            "rediss-sentinel://a,b/m?ca=ca.crt&cert=c.crt&key=c.key&sentinel_pass=x&protocol=2",
            "valkey-sentinel://a/m/",
            "valkeys-sentinel://a/m",
            "redis-cluster://ana:s3cret@a:7001,b:7002,[::1]/0?prefix=x&protocol=3",
            "rediss-cluster://a?ca=ca.crt&prefix=x",
            "valkey-cluster://a/",
            "valkeys-cluster://a,b",
        ] {
            assert!(Address::parse(url).is_ok(), "{url}: {}", wrong(url));
        }
    }

    #[test]
    fn an_unknown_parameter_names_the_nearest_known_parameter() {
        for (url, near) in [
            ("postgres://db/x?sslMode=verify-full", "`sslMode`, did you mean `sslmode`?"),
            ("postgres://db/x?%73slmod=verify-full", "`sslmod`, did you mean `sslmode`?"),
            ("postgres://db/x?sslmode=verify_full", "did you mean `verify-full`?"),
            ("postgres://db/x?a=1&channel_binding=require", "`a`: allowed are sslmode"),
            ("sqlite://x.db?mod=ro", "did you mean `mode`?"),
            ("rediss://db?cas=ca.crt", "did you mean `ca`?"),
            ("redis://db?ca=ca.crt", "`ca`, which needs an address that begins with `rediss://`"),
            ("redis://db?db=1", "unknown parameter `db`: allowed are prefix, protocol"),
            ("unix:///run/x.sock?pas=x", "did you mean `pass`?"),
            ("file:data?mode=ro", "has no parameters"),
            ("redis-sentinel://a:1,b:1/m?prefixx=a", "did you mean `prefix`?"),
            ("redis-sentinel://a/m?sentinel_pas=x", "did you mean `sentinel_pass`?"),
            ("redis-sentinel://a/m?ca=ca.crt", "`ca`, which needs an address that begins with `rediss-sentinel://`"),
            ("redis-cluster://a,b?ca=ca.crt", "`ca`, which needs an address that begins with `rediss-cluster://`"),
            ("redis-cluster://a?sentinel_pass=x", "unknown parameter `sentinel_pass`: allowed are prefix, protocol"),
            ("redis://a?sentinel_pass=x", "unknown parameter `sentinel_pass`: allowed are prefix, protocol"),
        ] {
            assert!(wrong(url).contains(near), "{url}: {}", wrong(url));
        }
    }

    #[test]
    fn a_parameter_without_effect_is_refused() {
        for (url, reason) in [
            ("postgres://db/x?sslrootcert=ca.crt", "only with `sslmode=verify-full`"),
            ("postgres://db/x?sslmode=require&ssl-ca=ca.crt", "only with `sslmode=verify-full`"),
            ("postgres://db/x?sslmode=verify-full&ssl-mode=disable", "`sslmode` is there twice"),
            ("postgres://db/x?sslmode=verify-full&sslcert=c.crt", "given together"),
            ("postgres://db/x?sslmode", "`sslmode` has no value"),
            ("postgres://db/x?sslmode=verify-full#x", "%23"),
            ("rediss://db?key=c.key", "given together"),
            ("rediss://db#insecure", "`?ca=FILE`"),
            ("rediss://db?ca=~/ca.crt", "whole path"),
            ("redis-sentinel://a/m?sentinel_user=ana", "only with `sentinel_pass`"),
            ("redis-sentinel://a/m?sentinel_pass=", "`sentinel_pass` has no value"),
        ] {
            assert!(wrong(url).contains(reason), "{url}: {}", wrong(url));
        }
    }

    #[test]
    fn a_prefix_that_could_imitate_other_keys_is_refused() {
        for (prefix, shown) in [
            ("", "no value"),
            ("a*", "is \"a*\" and must be 1 to 100 letters"),
            ("a[b]", "is \"a[b]\" and"),
            ("a%3Fb", "is \"a?b\" and"),
            ("a%5Cb", "must be"),
            ("{a}", "must be"),
            ("a b", "must be"),
            ("a%0Ab", "is \"a\\nb\" and"),
            ("\u{e4}", "must be"),
            ("a:", "without `:` at an end"),
            (":a", "without `:` at an end"),
            ("circuit_breaker", "without the word `circuit_breaker`"),
            ("a:circuit_breaker:b", "without the word `circuit_breaker`"),
            (&"x".repeat(101), "must be"),
        ] {
            let url = format!("redis://db/1?prefix={prefix}");
            assert!(wrong(&url).contains(shown), "{url}: {}", wrong(&url));
        }
        assert!(wrong("redis://db?prefixes=a").contains("did you mean `prefix`?"));
        assert!(wrong("postgres://db/x?prefix=a").contains("unknown parameter `prefix`"));
    }

    #[test]
    fn a_path_for_a_shell_is_refused() {
        for url in [
            "file:~/x",
            "file:~",
            "file:$HOME/x",
            "sqlite:~/x.db",
            "sqlite:///~/x.db",
            "unix://~/x.sock",
            "redis+unix:///~/x.sock",
        ] {
            assert!(wrong(url).contains("whole path"), "{url}: {}", wrong(url));
        }
        assert!(Address::parse("file:data/~x").is_ok());
    }

    #[test]
    fn an_incomplete_address_has_no_form() {
        for url in [
            "",
            "data",
            "mysql://db",
            "REDIS://db",
            "redis:db",
            "redis://",
            "unix://run/x",
            "unix:/run/x",
            "file:",
            " redis://db",
            "redis://d\nb",
        ] {
            assert_eq!(Address::parse(url).err(), Some(Wrong::Form), "{url}");
        }
    }

    #[test]
    fn no_part_of_a_password_is_repeated() {
        for url in [
            "redis://ana:?s3cret",
            "redis://ana:?s3cret=1",
            "redis://ana:x?s3cret=1",
            "redis://ana:x?prefix=s3cret*",
            "redis://ana:x?prefix=s3cret*@db",
            "postgres://ana:p@ss?s3cret@db/x",
            "postgres://db/x?passwort=s3cret",
            "postgres://db/x?sslmode=s3cret",
            "unix:///run/x.sock?pwd=s3cret",
            "redis-sentinel://:s3cret@a,,b",
            "redis-sentinel://ana:s3cret@a,b",
            "redis-sentinel://ana:x,y?s3cret=1",
            "redis-sentinel://ana:s3cret@a/m m",
            "redis-sentinel://a/m?sentinel_user=s3cret",
        ] {
            assert!(!wrong(url).contains("s3cret"), "{url}: {}", wrong(url));
        }
    }
}
