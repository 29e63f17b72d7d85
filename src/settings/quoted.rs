//! The quotation of keys and values in the errors of settings. Passwords are masked, because a password under a wrong
//! key must not reach a log.

use crate::shown::{escaped, masked};

/// Returns a text in quotes for an error. The text is escaped and shortened, and its passwords are masked.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// Returns a key for an error, without quotes. The key is escaped and shortened, and its passwords are masked.
pub(super) fn shown(key: &str) -> String {
    escaped(&masked(key), MOST_SHOWN)
}

/// The largest number of characters of a text in an error. A longer text would fill the line of a log.
const MOST_SHOWN: usize = 100;
