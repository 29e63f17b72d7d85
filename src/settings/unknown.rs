//! The errors for unknown keys and groups, with a suggestion of the nearest known name.

use super::error::SettingsError;
use super::field::Field;
use super::quoted::{quoted, shown};
use crate::nearest::nearest;

/// Returns the error for an unknown key, with the nearest known key.
pub(super) fn unknown(origin: &str, table: &str, key: &str, path: &str, known: &[&str]) -> SettingsError {
    let place = if table.is_empty() { String::new() } else { format!(" in {table}") };
    let meant = meant(key, known.iter().copied());
    let says = format!("unknown key `{}`{place}{meant} allowed are {}", shown(key), known.join(", "));
    SettingsError::of(origin, path, says)
}

/// Returns the error for a group without a table, with the nearest known group.
pub(super) fn unknown_group<'a>(
    field: &Field,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> SettingsError {
    let meant = meant(name, known.clone());
    let names: Vec<_> = known.take(MOST_NAMED).map(quoted).collect();
    let allowed = match &names[..] {
        [] => "a group with a table below groups, and there is none".to_owned(),
        names => names.join(" or "),
    };
    let says = format!("{} is {}, which is no group{meant} allowed is {allowed}", field.path, field.value);
    SettingsError::of(&field.origin, &field.path, says)
}

/// Returns `, did you mean …?` with the nearest known word, or a comma if no known word is near.
pub(super) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known).map_or(",".to_owned(), |near| format!(", did you mean `{near}`?"))
}

/// The largest number of groups that an error lists.
const MOST_NAMED: usize = 20;
