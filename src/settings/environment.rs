//! The environment variables that set keys of settings. The known variables follow from the allowed keys and from the
//! names of the tables in the documents.
//!
//! A variable contains the name of a circuit, a pattern or a group in capitals. One `_` replaces each run of characters
//! that are neither ASCII letters nor digits. A variable alone does not show the exact name. Therefore variables can
//! set only keys of tables that a file or `CIRCUIT_BREAKER_CONFIG` contains. A misspelt variable matches no table and
//! is an error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::document::{self, MOST_BYTES, read_word, too_large};
use super::draft::{Draft, own_keys, shared_keys};
use super::error::SettingsError;
use super::field::{Field, join};
use super::persistence;
use super::quoted::shown;
use super::unknown::meant;
use crate::circuit::KILL_SWITCH;

/// The place of a value that a variable sets. A place is a key and its table. If the table belongs to a group or a
/// circuit, the place also contains the name of this group or circuit.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Persistence(&'static str),
    Defaults(&'static str),
    Group(&'a str, &'static str),
    Circuit(&'a str, &'static str),
}

impl Place<'_> {
    const fn key(&self) -> &'static str {
        let (Self::Persistence(key) | Self::Defaults(key) | Self::Group(_, key) | Self::Circuit(_, key)) = *self;
        key
    }

    /// Returns the path of the key as a document spells it.
    fn path(&self) -> String {
        let table = match self {
            Self::Persistence(_) => "persistence".to_owned(),
            Self::Defaults(_) => "defaults".to_owned(),
            Self::Group(group, _) => join("groups", group),
            Self::Circuit(circuit, _) => join("circuits", circuit),
        };
        join(&table, self.key())
    }
}

/// Overrides the values of the draft with the variables. Variables with an empty value count as not set.
pub(super) fn lay_over(
    draft: &mut Draft,
    vars: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), SettingsError> {
    let mut vars = ours(vars)?;
    if let Some(config) = vars.remove(CONFIG) {
        draft.lay(configured(&config)?);
    }
    let mut laid = Draft::default();
    let circuits: Vec<_> = draft.circuits.entries().map(|(name, _)| name).collect();
    let places = places(draft, &circuits);
    for (name, text) in vars {
        let origin = origin(&name);
        let place = match places.get(&name).map(Vec::as_slice) {
            Some([place]) => *place,
            Some(places) => return Err(ambiguous(&origin, places)),
            None if is_service_link(&name) => continue,
            None => return Err(unknown(&name, &places)),
        };
        let (key, path) = (place.key(), place.path());
        let table = match place {
            Place::Persistence(_) => &mut laid.persistence,
            Place::Defaults(_) => &mut laid.defaults,
            Place::Group(group, _) => laid.group(group, &origin),
            Place::Circuit(circuit, _) => laid.circuit(circuit, &origin),
        };
        table.lay(key, Field { value: read_word(&text, &origin)?, origin: origin.into(), path });
    }
    draft.lay(laid);
    Ok(())
}

/// Returns the variables `CIRCUIT_BREAKER_…` that have a value, by name. The variable of the kill switch is left out,
/// because each circuit reads this variable itself.
fn ours(vars: impl Iterator<Item = (OsString, OsString)>) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut ours = BTreeMap::new();
    for (name, value) in vars {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) || name == KILL_SWITCH {
            continue;
        }
        let Ok(text) = value.into_string() else {
            return Err(SettingsError::new(&origin(&name), "is not valid UTF-8"));
        };
        if text.len() > MOST_BYTES {
            return Err(too_large(&origin(&name)));
        }
        if !text.trim().is_empty() {
            ours.insert(name, text);
        }
    }
    Ok(ours)
}

/// Reads `CIRCUIT_BREAKER_CONFIG`. The text is a document if it contains `=` or a line break, or begins with
/// a brace. Otherwise the text is the path of a file, because these characters are rare in paths.
fn configured(config: &str) -> Result<Draft, SettingsError> {
    let origin = origin(CONFIG);
    if config.contains(['=', '\n']) || config.trim_start().starts_with('{') {
        return Draft::read(document::read(config, &origin, false)?, &origin);
    }
    let path = config.trim();
    let origin = format!("{}, named by {origin}", shown(path));
    Draft::read(document::read_file(Path::new(path), &origin)?, &origin)
}

/// Returns every known variable with the places of the keys that the variable can set. A variable can have two places,
/// for example if the names of two circuits have the same spelling in capitals. Such a variable is refused.
fn places<'a>(draft: &'a Draft, circuits: &'a [String]) -> BTreeMap<String, Vec<Place<'a>>> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for key in persistence::KEYS {
        let name = if key == "enabled" { "PERSISTENCE".to_owned() } else { key.to_ascii_uppercase() };
        places.entry(format!("{PREFIX}{name}")).or_default().push(Place::Persistence(key));
    }
    for key in shared_keys() {
        let suffix = key.to_ascii_uppercase();
        places.entry(format!("{PREFIX}DEFAULT_{suffix}")).or_default().push(Place::Defaults(key));
        for group in draft.groups.keys() {
            let name = format!("{PREFIX}GROUP_{}_{suffix}", capitals(group));
            places.entry(name).or_default().push(Place::Group(group, key));
        }
    }
    for key in own_keys() {
        let suffix = key.to_ascii_uppercase();
        for circuit in circuits {
            let name = format!("{PREFIX}CIRCUIT_{}_{suffix}", capitals(circuit));
            places.entry(name).or_default().push(Place::Circuit(circuit, key));
        }
    }
    places
}

/// Spells a name as a part of a variable, such as `USERS_ID` for `/users/{id}`.
fn capitals(circuit: &str) -> String {
    let words = circuit.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_uppercase()
}

fn origin(variable: &str) -> String {
    format!("environment variable {}", shown(variable))
}

fn ambiguous(origin: &str, places: &[Place<'_>]) -> SettingsError {
    let meant = places.iter().map(Place::path).collect::<Vec<_>>().join(" or ");
    SettingsError::new(origin, format!("may mean {meant}; set the key in {CONFIG} or in the file instead"))
}

fn unknown(name: &str, places: &BTreeMap<String, Vec<Place<'_>>>) -> SettingsError {
    let more = [CONFIG, KILL_SWITCH];
    let meant = meant(name, places.keys().map(String::as_str).chain(more));
    let first: Vec<String> =
        persistence::KEYS[1..].iter().map(|key| format!("{PREFIX}{}", key.to_ascii_uppercase())).collect();
    let says = format!(
        "unknown{meant} allowed are {CONFIG}, {KILL_SWITCH}, {PREFIX}PERSISTENCE, {}, {PREFIX}DEFAULT_<KEY>, and \
         {PREFIX}CIRCUIT_<NAME>_<KEY> and {PREFIX}GROUP_<NAME>_<KEY> for a circuit and a group in the file; if the \
         variable belongs to another program, unset the variable for this one, or leave the variable out with \
         `Settings::with_vars`",
        first.join(", ")
    );
    SettingsError::new(&origin(name), says)
}

/// Returns true for a variable that Kubernetes or Docker sets for a service called `circuit-breaker…`. Such a
/// variable is not a spelling mistake.
fn is_service_link(name: &str) -> bool {
    let word = |word: &str| name.ends_with(&format!("_{word}")) || name.contains(&format!("_{word}_"));
    name.ends_with("_SERVICE_HOST")
        || word("SERVICE_PORT")
        || name.ends_with("_PORT")
        || (name.contains("_PORT_") && (word("TCP") || word("UDP") || word("SCTP")))
}

const PREFIX: &str = "CIRCUIT_BREAKER_";
const CONFIG: &str = "CIRCUIT_BREAKER_CONFIG";
