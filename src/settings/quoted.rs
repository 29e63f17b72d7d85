//! Texts in the form in which errors quote them. Passwords are removed, because a password under a wrong key
//! must not reach a log.

use crate::shown::{escaped, masked};

/// Returns a text for an error, in quotes, escaped, shortened and without passwords.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// Returns a key for an error, without quotes.
pub(super) fn shown(key: &str) -> String {
    escaped(&masked(key), MOST_SHOWN)
}

/// The largest number of characters of a text in an error, because an error is a line of a log.
const MOST_SHOWN: usize = 100;
