//! Texts as errors quote them: a password pasted under the wrong key must not end in a log.

use crate::keep::masked;

/// Returns a text as an error quotes it: escaped, short and without passwords.
pub(super) fn quoted(text: &str) -> String {
    let shown = masked(text);
    if shown.chars().count() > MOST_SHOWN {
        let start: String = shown.chars().take(MOST_SHOWN).collect();
        return format!("{start:?}…");
    }
    format!("{shown:?}")
}

/// Returns a key as an error shows it, between backticks.
pub(super) fn shown(key: &str) -> String {
    quoted(key).trim_matches('"').to_owned()
}

/// An error is a line of a log, not a copy of the file.
const MOST_SHOWN: usize = 100;
