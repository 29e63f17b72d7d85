//! The address at which a service reports its health, and the times of the checks.
//!
//! An address is `http://HOST[:PORT]/PATH` or `grpc://HOST:PORT[/SERVICE]`, without TLS and without credentials,
//! because a health endpoint is usually inside the network of its service. For any other check, the application passes
//! a closure that uses its own client. This module checks the form of an address, and the module `health` connects to
//! the address.

use std::fmt;
use std::time::Duration;

use super::ConfigError;
use crate::shown::{forges, quoted};
use crate::state::Exact;

/// The settings of the health probes, which check the health of a service at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthSettings {
    pub(crate) address: String,
    pub(crate) every: Duration,
    pub(crate) deadline: Duration,
    pub(crate) required: bool,
}

impl HealthSettings {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        HealthAddress::parse(&self.address)?;
        check_times(("health_every", self.every), ("health_deadline", self.deadline))?;
        if cfg!(feature = "health") {
            return Ok(());
        }
        let value = format!("`{}`", quoted(&self.address));
        Err(ConfigError::new("health", value, "no address, because the program is built without the feature `health`"))
    }
}

/// Checks the ranges of the interval and the deadline of health probes. Each parameter is a pair of the name of a
/// field, which the error shows, and the value.
pub(crate) fn check_times(
    every: (&'static str, Duration),
    deadline: (&'static str, Duration),
) -> Result<(), ConfigError> {
    for ((field, value), (least, most)) in [(every, EVERY), (deadline, DEADLINE)] {
        if !(least..=most).contains(&value) {
            return Err(ConfigError::new(field, Exact(value), format!("{} to {}", Exact(least), Exact(most))));
        }
    }
    Ok(())
}

/// The parts of a valid health address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthAddress {
    pub(crate) protocol: Protocol,
    /// The host without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The host and the port as they are written in the address, for the `host` of a request.
    pub(crate) authority: String,
}

/// The protocol of an address. Each variant holds the part of the address that only this protocol has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http {
        /// The path and its query. This text begins with `/`.
        path: String,
    },
    Grpc {
        /// The name of the service in the request. An empty name means the whole server.
        service: String,
    },
}

impl HealthAddress {
    /// Parses and checks a health address.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field `health`. The error hides credentials.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = |allowed: &str| ConfigError::new("health", format_args!("`{}`", quoted(text)), allowed);
        if text.len() > LONGEST || text.contains(|c: char| forges(c) || c.is_whitespace() || !c.is_ascii()) {
            return Err(refuse("an address of at most 1000 visible ASCII characters"));
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Err(refuse(FORMS)) };
        let is_http = match scheme {
            "http" => true,
            "grpc" => false,
            "https" | "grpcs" => {
                return Err(refuse(
                    "an address without TLS, or a closure with your own client (`Circuit::probe_with`)",
                ));
            }
            _ => return Err(refuse(FORMS)),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        if authority.contains('@') {
            return Err(refuse(
                "an address without credentials, or a closure with your own client (`Circuit::probe_with`)",
            ));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_port = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            Some(port) => Some(port).filter(is_port).and_then(|port| port.parse().ok()).filter(|port| *port > 0),
            None if is_http => Some(80),
            None => None,
        };
        let Some(port) = port else { return Err(refuse("an address with a port of 1 to 65535")) };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
        };
        if !is_host {
            return Err(refuse("an address with a host name, an IPv4 address or an IPv6 address in brackets"));
        }
        if behind.contains('#') {
            return Err(refuse("an address without a `#`"));
        }
        let protocol = if is_http {
            Protocol::Http { path: if behind.starts_with('/') { behind.to_owned() } else { format!("/{behind}") } }
        } else {
            let service = behind.strip_prefix('/').unwrap_or(behind);
            if !service.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte)) {
                return Err(refuse(
                    "`grpc://HOST:PORT/SERVICE` with a service of letters, digits, `.`, `_`, `-` and `/`",
                ));
            }
            Protocol::Grpc { service: service.to_owned() }
        };
        Ok(Self { protocol, host: bare.unwrap_or(host).to_owned(), port, authority: authority.to_owned() })
    }
}

impl fmt::Display for HealthSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.address))
    }
}

/// The shortest and the longest time between two checks.
const EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));
/// The shortest and the longest deadline of a check.
const DEADLINE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));
const LONGEST: usize = 1_000;
const FORMS: &str = "`http://HOST:PORT/PATH` or `grpc://HOST:PORT/SERVICE`, where the first needs no port and no path, and \
    the second no service";

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, u16, Protocol) {
        let address = HealthAddress::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (address.host, address.port, address.protocol)
    }

    #[test]
    fn an_address_has_host_port_and_path_or_service() {
        let http = |path: &str| Protocol::Http { path: path.to_owned() };
        let grpc = |service: &str| Protocol::Grpc { service: service.to_owned() };
        for (text, host, port, protocol) in [
            ("http://payments", "payments", 80, http("/")),
            ("http://payments:8080/healthz?deep=1", "payments", 8080, http("/healthz?deep=1")),
            ("http://10.0.0.1?x=1", "10.0.0.1", 80, http("/?x=1")),
            ("http://[::1]:81/", "::1", 81, http("/")),
            ("http://[::1]", "::1", 80, http("/")),
            ("grpc://payments:50051", "payments", 50051, grpc("")),
            ("grpc://payments:50051/", "payments", 50051, grpc("")),
            ("grpc://[fd00::7]:1/acme.Payments", "fd00::7", 1, grpc("acme.Payments")),
        ] {
            assert_eq!(parsed(text), (host.to_owned(), port, protocol), "{text}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_checked_is_refused() {
        for text in [
            "",
            "payments",
            "payments:80",
            "ftp://payments",
            "https://payments",
            "grpcs://payments:1",
            "http://",
            "http:///healthz",
            "http://payments:0",
            "http://payments:65536",
            "http://payments:",
            "http://payments:+8",
            "grpc://payments",
            "http://pay ments",
            "http://pay\nments",
            "http://payments/a b",
            "http://payments/\r\nX: y",
            "http://payments/#top",
            "http://[::1",
            "http://[zz]/",
            "http://pay{ments",
            "grpc://payments:1/a?b",
            "http://user:secret@payments",
            "http://bücher.example",
        ] {
            let error = HealthAddress::parse(text).expect_err(text).to_string();
            assert!(error.starts_with("health is `") && error.contains(", allowed is "), "{error}");
            assert!(!error.contains("secret") && !error.contains(['\r', '\n']), "{error}");
        }
        assert!(HealthAddress::parse(&format!("http://a/{}", "x".repeat(1_000))).is_err(), "too long");
    }
}
