//! The texts of failures, which are bounded and without the secrets of addresses, so that they fit into a line of a log.

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::shown::one_line;

/// Returns the text of a failure as one line of at most 200 characters, in which an address has only its
/// scheme and host. Returns `None` if the text is empty.
pub(crate) fn of_failure(text: &str) -> Option<Arc<str>> {
    let mut line = one_line(&shortened(text), LONGEST_FAILURE);
    line.truncate(line.trim_end().len());
    let line = line.trim_start();
    (!line.is_empty()).then(|| line.into())
}

/// Returns the first [`LONGEST_RAW`] bytes of a text of unknown length. The rest of the text is not written,
/// so that an error with megabytes of text costs no more than other errors.
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
        // The last `@` is used, because an unescaped password may contain an `@` too.
        let host = address.rsplit_once('@').map_or(address, |(_, host)| host);
        let length = host.find(|c: char| !(c.is_alphanumeric() || ".-_:[]".contains(c))).unwrap_or(host.len());
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

/// The longest text of a failure, in characters.
const LONGEST_FAILURE: usize = 200;
/// The longest text that is read from an error, in bytes. The limit leaves room for an address before the
/// cause.
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
