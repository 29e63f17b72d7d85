//! The error for settings that the builder of a configuration refuses, for example because a value is out of range or
//! because two values exclude each other. The error names the table of each value.

use super::circuit::{OPEN_FOR, WINDOW};
use super::error::SettingsError;
use super::field::{Field, join};
use super::layers::Layers;
use crate::config::ConfigError;

/// Returns the error of the builder with the path of the table. If the value or its limit comes from another table, the
/// error names that table too.
pub(super) fn refused<'a>(
    error: &ConfigError,
    path: &str,
    origin: &str,
    layers: impl Fn(&str) -> Option<Layers<'a>>,
) -> SettingsError {
    let says = error.to_string();
    if error.field() == "name" {
        let allowed = says.rsplit_once("allowed is ").map_or("", |(_, allowed)| allowed);
        return SettingsError::of(origin, path, format!("{path} is not a valid name, allowed is {allowed}"));
    }
    let key = error.field().split('.').next().unwrap_or_default();
    let own = join(path, key);
    let is_own = |field: &Field| field.path == own || field.path.starts_with(&format!("{own}."));
    let value = part(error.field(), &layers);
    // `slow_call_rate` and `slower_than` have no default, and the builder refuses one key without the other. The error
    // is then about the missing key, which no file and no variable contains.
    if value.is_none() && key.starts_with("slow") {
        return SettingsError::of(origin, &own, format!("{path}.{says}"));
    }
    let origin = value.as_ref().filter(|field| is_own(field)).map_or(origin, |field| &*field.origin);
    let source = |field: &Field| {
        let other = if *field.origin == *origin { String::new() } else { format!(", {}", field.origin) };
        format!("{}{other}", field.path)
    };
    let from_value = match &value {
        Some(field) if is_own(field) => None,
        Some(field) => Some(format!("the value comes from {}", source(field))),
        None => Some("the value is the default".to_owned()),
    };
    let from_limit = match error.field() {
        // The limit of each of these fields is the value of another setting, so the error names the source of that
        // value.
        "open_for.base" => Some(part("open_for.max", &layers)),
        "min_calls" | "failure_score" => part("window.calls", &layers).map(Some),
        _ => None,
    };
    let from_limit = from_limit.and_then(|limit| match limit {
        Some(field) if from_value.is_none() && is_own_table(&field, path) && *field.origin == *origin => None,
        Some(field) => Some(format!("the limit comes from {}", source(&field))),
        None => Some("the limit is the default".to_owned()),
    });
    let sources: Vec<_> = from_value.into_iter().chain(from_limit).collect();
    let sources = if sources.is_empty() { String::new() } else { format!("; {}", sources.join(" and ")) };
    SettingsError::of(origin, &own, format!("{path}.{says}{sources}"))
}

fn is_own_table(field: &Field, path: &str) -> bool {
    field.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

/// Returns the value of a field that the builder refused, or `None` if the value is the default. The builder names a
/// part of `window` or `open_for` with a dot, as in `window.calls`.
fn part<'a>(field: &str, layers: impl Fn(&str) -> Option<Layers<'a>>) -> Option<Field> {
    let (key, part) = field.split_once('.').unwrap_or((field, ""));
    let layers = layers(key)?;
    let shape = match key {
        "window" => WINDOW,
        "open_for" => OPEN_FOR,
        _ => return Some(layers.top().clone()),
    };
    let mut parts = layers.merge(&shape).ok()?;
    if !part.is_empty() {
        return parts.remove(part);
    }
    // The builder refused the value as a whole, so each part is good enough to show the origin of the value. A window
    // of calls has no part that is a duration, so its first part is returned.
    parts.remove(shape.duration).or_else(|| parts.into_values().next())
}
