//! The error for an unknown key, with the key that was probably meant.

use super::error::SettingsError;
use super::quoted::shown;
use crate::nearest::nearest;

/// Returns the error for an unknown key, with the nearest of the known keys.
pub(super) fn unknown(origin: &str, table: &str, key: &str, path: &str, known: &[&str]) -> SettingsError {
    let place = if table.is_empty() { String::new() } else { format!(" in {table}") };
    let meant = meant(key, known.iter().copied());
    let says = format!("unknown key `{}`{place}{meant} allowed are {}", shown(key), known.join(", "));
    SettingsError::of(origin, path, says)
}

/// Returns `, did you mean …?`, or a comma if no known word is near.
pub(super) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known).map_or(",".to_owned(), |near| format!(", did you mean `{near}`?"))
}
