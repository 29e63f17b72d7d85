//! The texts of failures and errors. Each text is cut to one line of a log. Secrets are removed if they have a known
//! form.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

use crate::shown::mask::{is_port, masked, up_to_a_secret};
use crate::shown::one_line;

/// Returns the text of a failure as one line of at most 200 characters. Secrets are removed if they have a known form.
/// Returns `None` if the text is empty.
///
/// Each address with `://` is cut to its scheme and host. An address without `://` looks like other text and keeps its
/// path. `…` or `***` replaces query strings, encoded addresses, and the passwords that stand before a host. `…` also
/// replaces the rest of the text behind a name such as `password=` or `Authorization:`.
pub(crate) fn of_failure(text: &str) -> Option<Arc<str>> {
    let words = shortened(text).split_inclusive(char::is_whitespace).map(without_secrets).collect::<String>();
    let words = up_to_a_secret(&words).map_or(words.as_str().into(), |shown| Cow::Owned(format!("{shown}…")));
    let mut line = one_line(&words, LONGEST_FAILURE);
    line.truncate(line.trim_end().len());
    let line = line.trim_start();
    (!line.is_empty()).then(|| line.into())
}

/// Returns the first [`LONGEST_RAW`] bytes of a text of unknown length. The rest of the text is never formatted, so
/// that an error with megabytes of text costs no more than other errors.
pub(crate) fn beginning(text: &dyn fmt::Display) -> String {
    let mut beginning = Beginning(String::new());
    // `write!` fails only if the text is longer than the limit, and the beginning of the text is enough.
    write!(beginning, "{text}").ok();
    beginning.0
}

struct Beginning(String);

impl Write for Beginning {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = LONGEST_RAW.saturating_sub(self.0.len());
        let end = (0..=part.len().min(room)).rev().find(|end| part.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(&part[..end]);
        if end < part.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Replaces each address in the text by its scheme and host, because user, password, path and query can be
/// secret.
fn shortened(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        let end = address.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(address.len());
        let (address, behind) = address.split_at(end);
        // The host begins after the last `@`, because an unescaped password may contain an `@` too.
        let host = address.rsplit_once('@').map_or(address, |(_, host)| host);
        let length = host.find(|c: char| !(c.is_alphanumeric() || ".-_:[]".contains(c))).unwrap_or(host.len());
        // The text behind the last colon can be a port, the end of an IPv6 address, or empty. A text behind the colon
        // that is none of these is a password. The text is empty if a colon ends the address, as in `http://host: timed
        // out`.
        let ends = |port: &str| port.is_empty() || port.ends_with(']') || is_port(port);
        let length = host[..length].rsplit_once(':').filter(|(_, port)| !ends(port)).map_or(length, |(h, _)| h.len());
        shown.push_str(before);
        shown.push_str(&host[..length]);
        if length < host.len() {
            shown.push_str("/…");
        }
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

/// Returns the word without secrets. The word is cut at the first mark behind which a secret may stand. One kind of
/// mark is an encoded slash or colon (`%2f`, `%3a`, `\/`). The second kind is the colon of a scheme with a single slash
/// (`https:/host`). The third kind is a `?` with a `=` somewhere behind the `?`. In a word without a mark, only the
/// password of `user:password@host` is hidden.
fn without_secrets(word: &str) -> Cow<'_, str> {
    let space = &word[word.trim_end().len()..];
    let cut = |at: usize| Cow::Owned(format!("{}…{space}", &word[..at]));
    let lower = word.to_ascii_lowercase();
    let encoded = ["%2f", "%3a", "\\/"].into_iter().filter_map(|mark| lower.find(mark)).min();
    // A single slash behind the colon of a scheme, as in `https:/host/path`.
    let scheme = word.find(":/").filter(|at| *at > 0 && !word[at + 1..].starts_with("//"));
    let query = word.find('?').filter(|at| word[*at..].contains('='));
    if let Some(at) = [encoded, scheme, query].into_iter().flatten().min() {
        return cut(at);
    }
    match word.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => masked(word).into(),
        _ => word.into(),
    }
}

/// The longest text of a failure, in characters.
const LONGEST_FAILURE: usize = 200;
/// The longest text that is read from an error, in bytes. The limit is higher than [`LONGEST_FAILURE`], so that the
/// text behind a long address is read too. The address is shortened later.
const LONGEST_RAW: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_failure_is_one_short_line_without_secrets() {
        for (text, expected) in [
            ("Connection refused (os error 111)", Some("Connection refused (os error 111)")),
            ("  two\nlines\r\u{202e}", Some("two lines")),
            ("", None),
            (" \n ", None),
            ("redis://:hunter2@cache:6379/0 is down", Some("redis://cache:6379/… is down")),
            ("for url (https://api.example/v1/SECRET?key=SECRET): no", Some("for url (https://api.example/… no")),
            ("https://u:p@ss@[::1]:80", Some("https://[::1]:80")),
            ("https://u:p/ss@host", Some("https://host")),
            ("see \"http://a/b\" and http://c", Some("see \"http://a/…\" and http://c")),
            ("://", Some("://")),
            // Addresses without a scheme, and passwords in other forms.
            ("user:SECRET@host:5432 refused", Some("user:***@host:5432 refused")),
            ("connect to //u:SECRET@h/p", Some("connect to //u:***@h/p")),
            ("GET /v1/x?token=SECRET failed", Some("GET /v1/x… failed")),
            ("h.example/v1?a=SECRET", Some("h.example/v1…")),
            ("what failed? x = 1", Some("what failed? x = 1")),
            (r"https:\/\/h\/SECRET down", Some("https:… down")),
            ("https%3A%2F%2Fh%2FSECRET", Some("https…")),
            ("https:/h/SECRET", Some("https…")),
            ("https://h:SECRET/", Some("https://h/…")),
            ("redis://ana:123456 is down", Some("redis://ana/… is down")),
            ("http://h:8080: refused, http://h: refused", Some("http://h:8080: refused, http://h: refused")),
            ("password=SECRET host=x", Some("password=…")),
            ("db_password_1=SECRET", Some("db_password_1=…")),
            ("AuthorizationFailed: no role", Some("AuthorizationFailed: no role")),
            ("Authorization: Bearer SECRET", Some("Authorization:…")),
            (r#"{"user":"ana","passWord":"SECRET"}"#, Some(r#"{"user":"ana","passWord":…"#)),
            (r#"{"access_token" : "SECRET"}"#, Some(r#"{"access_token" :…"#)),
            ("unexpected token: `}` at 1:7", Some("unexpected token: `}` at 1:7")),
            (
                "password authentication failed for user \"ana\"",
                Some("password authentication failed for user \"ana\""),
            ),
            ("duplicate key value: (id)=(5)", Some("duplicate key value: (id)=(5)")),
        ] {
            assert_eq!(of_failure(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(of_failure(&"ä".repeat(5_000)).expect("a text").chars().count(), 200);
    }

    #[test]
    fn a_long_text_is_not_written_to_its_end() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("ä again ")?;
                }
            }
        }
        let length = beginning(&Endless).len();
        assert!((990..=1_000).contains(&length), "{length}");
    }
}
