//! The site of the page, which is the set of origins and hosts that belong to the page.
//!
//! Origins are compared by scheme, host and port, and not as texts. As texts, two spellings of one origin would differ
//! (`http://h` and `http://h:80`). The scheme of a request is unknown behind a proxy that ends TLS. Therefore a `Host`
//! without a port is read with the default port of the scheme in the `Origin`. `Forwarded` and `X-Forwarded-*` are
//! never read, because any client can send them.

use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::HeaderValue;
use http::request::Parts;
use http::uri::Authority;

use crate::shown::{escaped, quoted};

/// The error for an invalid origin or host in the settings of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidSite {
    /// The setter that refused the value: `trusted_origin` or `hosts`.
    pub field: &'static str,
    /// The beginning of the refused value, escaped, with at most 200 characters. Empty if there was no value.
    pub value: String,
    allowed: &'static str,
}

impl InvalidSite {
    fn origin(value: &str) -> Self {
        let allowed = "`http` or `https` with a host and without a path, as browsers send it: `https://ops.example`, \
                       `http://ops.internal:8080` or `http://[::1]:3000`";
        Self { field: "trusted_origin", value: quoted(value), allowed }
    }

    fn host(value: &str) -> Self {
        let allowed = "one name or address or more, each with or without a port, without a scheme and a pattern, as browsers \
                       send it: `ops.internal`, `ops.internal:8080` or `[::1]`";
        Self { field: "hosts", value: quoted(value), allowed }
    }
}

impl fmt::Display for InvalidSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is `{}`, allowed is {}", self.field, self.value, self.allowed)
    }
}

impl Error for InvalidSite {}

/// The origins and hosts that belong to the page.
#[derive(Debug, Default)]
pub(super) struct Site {
    trusted: Vec<Origin>,
    /// The allowed hosts. `None` allows every host.
    hosts: Option<Vec<Host>>,
}

impl Site {
    pub(super) fn trust(&mut self, origin: &str) -> Result<(), InvalidSite> {
        self.trusted.push(
            Origin::parse(origin.as_bytes())
                .filter(|_| has_no_empty_port(origin))
                .ok_or_else(|| InvalidSite::origin(origin))?,
        );
        Ok(())
    }

    /// Adds allowed hosts. An empty list is an error, because with an empty list the router would refuse every request.
    pub(super) fn allow<S: AsRef<str>>(&mut self, hosts: impl IntoIterator<Item = S>) -> Result<(), InvalidSite> {
        let parsed = hosts.into_iter().map(|host| {
            let host = host.as_ref();
            Host::parse(host.as_bytes()).filter(|_| has_no_empty_port(host)).ok_or_else(|| InvalidSite::host(host))
        });
        let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
        if parsed.is_empty() {
            return Err(InvalidSite::host(""));
        }
        self.hosts.get_or_insert_default().extend(parsed);
        Ok(())
    }

    /// Checks that a request was sent to an allowed host. The host in the `Host` header must be allowed. If the URI of
    /// the request has a host, this host must be allowed too.
    ///
    /// # Errors
    ///
    /// [`ForeignHost`] with the host that is not allowed. A request without a host is refused too.
    pub(super) fn check_host(&self, parts: &Parts) -> Result<(), ForeignHost<'_>> {
        let Some(allowed) = &self.hosts else { return Ok(()) };
        let is_allowed =
            |sent: &[u8]| Host::parse(sent).is_some_and(|sent| allowed.iter().any(|host| host.covers(&sent)));
        match hosts(parts).find(|sent| !is_allowed(sent)) {
            Some(foreign) => Err(ForeignHost { sent: Some(text(foreign)), allowed }),
            None if hosts(parts).next().is_none() => Err(ForeignHost { sent: None, allowed }),
            None => Ok(()),
        }
    }

    /// Checks that no other site made the browser of a user send the request. To such a request, the browser would add
    /// the cookies of the user. A client that is not a browser sends neither `Sec-Fetch-Site` nor `Origin`. A request
    /// without these headers passes, because other sites do not control such a client.
    ///
    /// If the user has sent a token, only `Sec-Fetch-Site` is checked and not `Origin`, because no other site can send
    /// the token. If a proxy adds the token to every request, `Sec-Fetch-Site` still shows which requests come from
    /// other sites.
    ///
    /// # Errors
    ///
    /// A sentence with the headers that were compared.
    pub(super) fn check_origin(&self, parts: &Parts, by_token: bool) -> Result<(), String> {
        let sent = |name: &str| parts.headers.get(name).map(HeaderValue::as_bytes);
        let origin = sent("origin");
        let parsed = origin.and_then(Origin::parse);
        if parsed.as_ref().is_some_and(|origin| self.trusted.contains(origin)) {
            return Ok(());
        }
        match (sent("sec-fetch-site"), origin) {
            // `sec-fetch-site` is checked before the origin. No script can set `sec-fetch-site` (Fetch Metadata), and
            // the value stays correct behind a proxy that changes the host. The value `none` means that the user opened
            // the address directly. Browsers send `sec-fetch-site` only over https and to localhost.
            (Some(b"same-origin" | b"none"), _) | (None, None) => Ok(()),
            (Some(site), origin) => {
                let origin = origin.map_or_else(|| "there is no Origin".to_owned(), |sent| named("Origin", sent));
                Err(format!("{}, and {origin}. {TRUST}", named("Sec-Fetch-Site", site)))
            }
            (None, Some(sent)) => {
                // The origin `null` of a sandboxed frame cannot be parsed, and therefore matches no host.
                if by_token || parsed.is_some_and(|origin| origin.is_of(parts)) {
                    return Ok(());
                }
                let host = hosts(parts).next();
                let host = host.map_or_else(|| "there is no Host".to_owned(), |sent| named("Host", sent));
                let origin = named("Origin", sent);
                Err(format!("{origin}, and {host}. If a proxy changes the Host, let the proxy pass it on. {TRUST}"))
            }
        }
    }
}

/// The advice in a refusal, in case the refused origin belongs to the page.
const TRUST: &str = "If this origin belongs to the page, name it in `trusted_origin`";

/// A request to a host that is not allowed.
#[derive(Debug)]
pub(super) struct ForeignHost<'a> {
    sent: Option<String>,
    allowed: &'a [Host],
}

impl ForeignHost<'_> {
    /// Returns the sentence for the client. The sentence does not name the allowed hosts, because the client may be a
    /// page of an attacker.
    pub(super) fn sentence(&self) -> String {
        match &self.sent {
            Some(sent) => {
                format!("the Host is `{sent}`, which is not one of the `hosts` of this router: the log has them")
            }
            None => "the request has no Host, and this router has `hosts`".to_owned(),
        }
    }

    /// Returns the sentence for the log, with the allowed hosts.
    pub(super) fn logged(&self) -> String {
        let allowed: Vec<_> = self.allowed.iter().take(SHOWN_HOSTS).map(Host::to_string).collect();
        let more = if self.allowed.len() > SHOWN_HOSTS { ", …" } else { "" };
        format!("{} ({}{more})", self.sentence().trim_end_matches(": the log has them"), allowed.join(", "))
    }
}

/// The largest number of allowed hosts in a line of the log.
const SHOWN_HOSTS: usize = 8;

/// Returns the hosts in the URI and in the `Host` headers of a request. HTTP/2 sends the host in the URI.
fn hosts(parts: &Parts) -> impl Iterator<Item = &[u8]> {
    let of_address = parts.uri.authority().map(|host| host.as_str().as_bytes());
    of_address.into_iter().chain(parts.headers.get_all("host").iter().map(HeaderValue::as_bytes))
}

fn named(header: &str, value: &[u8]) -> String {
    format!("its {header} is `{}`", text(value))
}

/// Returns the value of a header for a response or the log, cut and escaped. If the value has an `@`, a password in the
/// value is masked. Other values are not masked, because `host:port` looks like `user:password`, and the mask could
/// hide the port that caused the refusal.
fn text(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    if value.contains('@') { quoted(&value) } else { escaped(&value, 200) }
}

/// Returns true if the text does not end with a colon. In a setting, a colon at the end is refused as a mistake,
/// because no browser sends a host in this form. Requests are not checked, because a proxy may send such a colon.
fn has_no_empty_port(text: &str) -> bool {
    !text.ends_with(':')
}

/// The scheme, the host and the port of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    is_https: bool,
    name: String,
    port: u16,
}

impl Origin {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (scheme, host) = text.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let Host { name, port } = Host::parse(host.as_bytes())?;
        Some(Self { is_https, name, port: port.unwrap_or(default_port(is_https)) })
    }

    /// Returns true if each host of the request has the name and the port of this origin. A host without a port has the
    /// default port for the scheme of the origin.
    fn is_of(&self, parts: &Parts) -> bool {
        let default = default_port(self.is_https);
        let is_at = |host: Host| host.name == self.name && host.port.unwrap_or(default) == self.port;
        hosts(parts).next().is_some() && hosts(parts).all(|host| Host::parse(host).is_some_and(is_at))
    }
}

/// A host with or without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    /// A name in lower case without a dot at the end, or an address in its shortest form.
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let authority: Authority = text.parse().ok()?;
        let host = authority.host();
        // A text with credentials (`user@host`) does not begin with the host. The text is refused, because browsers
        // never send credentials in a host.
        let rest = text.strip_prefix(host)?;
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some("") => None,
            Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) | None => return None,
        };
        Some(Self { name: name(host)?, port })
    }

    /// Returns true if this allowed host covers the host of a request. An allowed host without a port covers every
    /// port. The scheme of the request is unknown. Therefore a request to a host without a port matches an allowed port
    /// 80 and an allowed port 443.
    fn covers(&self, sent: &Self) -> bool {
        let port = match (self.port, sent.port) {
            (None, _) => true,
            (Some(allowed), None) => [HTTP, HTTPS].contains(&allowed),
            (Some(allowed), Some(sent)) => allowed == sent,
        };
        self.name == sent.name && port
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Returns the normal form of a host name or an IP address. Two spellings of one host have the same normal form. `None`
/// for any other text, for example a pattern.
fn name(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_valid = if is_number(last) { name.parse::<Ipv4Addr>().is_ok() } else { name.split('.').all(is_label) };
    is_valid.then(|| name.to_ascii_lowercase())
}

/// Returns true if the last label of a host is a number. A browser reads such a host as an IPv4 address (URL Standard,
/// 3.5), and sends the address as four decimal numbers. A setting such as `0x7f.1` would match no request, so the
/// caller refuses the setting.
fn is_number(last: &str) -> bool {
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_decimal = !last.is_empty() && last.bytes().all(|c| c.is_ascii_digit());
    is_decimal || hexadecimal.is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))
}

const fn default_port(is_https: bool) -> u16 {
    if is_https { HTTPS } else { HTTP }
}

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
