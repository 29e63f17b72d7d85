//! The environment variables, as a finite table: the keys there are, times the tables there are.
//!
//! A variable names a circuit in capitals, with one `_` for whatever is neither letter nor digit. As names cannot be got
//! back from that, it reaches only circuits that a file, or `CIRCUIT_BREAKER_CONFIG`, has; in return a misspelt variable is
//! found out, and never makes a circuit that nobody uses.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::document::{self, MOST_BYTES, read_word, too_large};
use super::draft::{Draft, circuit_keys};
use super::error::SettingsError;
use super::field::{Field, join};
use super::persistence;
use super::quoted::shown;
use super::unknown::meant;
use crate::circuit::KILL_SWITCH;

/// Where a variable leads: the name of a circuit if it is one's, and a key.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Persistence(&'static str),
    Defaults(&'static str),
    Circuit(&'a str, &'static str),
}

/// Lays the variables over the draft. Empty ones are as good as none.
pub(super) fn lay_over(
    draft: &mut Draft,
    vars: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), SettingsError> {
    let mut vars = ours(vars)?;
    if let Some(config) = vars.remove(CONFIG) {
        draft.lay(configured(&config)?);
    }
    let mut laid = Draft::default();
    let places = places(draft);
    for (name, text) in vars {
        let origin = origin(&name);
        let place = match places.get(&name).map(Vec::as_slice) {
            Some([place]) => *place,
            Some(places) => return Err(ambiguous(&origin, places)),
            None if is_service_link(&name) => continue,
            None => return Err(unknown(&name, &places)),
        };
        let (table, path) = match place {
            Place::Persistence(key) => (&mut laid.persistence, join("persistence", key)),
            Place::Defaults(key) => (&mut laid.defaults, join("defaults", key)),
            Place::Circuit(circuit, key) => (laid.table_of(circuit, &origin), join(&join("circuits", circuit), key)),
        };
        let (Place::Persistence(key) | Place::Defaults(key) | Place::Circuit(_, key)) = place;
        table.insert(key.to_owned(), Field { value: read_word(&text, &origin)?, origin: origin.into(), path });
    }
    draft.lay(laid);
    Ok(())
}

/// Picks the variables with our prefix that say something.
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

/// Reads `CIRCUIT_BREAKER_CONFIG`: a document if it has what each document has and hardly a path, a path otherwise.
fn configured(config: &str) -> Result<Draft, SettingsError> {
    let origin = origin(CONFIG);
    if config.contains(['=', '\n']) || config.trim_start().starts_with('{') {
        return Draft::read(document::read(config, &origin, false)?, &origin);
    }
    let path = config.trim();
    let origin = format!("{}, named by {origin}", shown(path));
    Draft::read(document::read_file(Path::new(path), &origin)?, &origin)
}

/// Every variable that means something, and what. Two circuits may share one.
fn places(draft: &Draft) -> BTreeMap<String, Vec<Place<'_>>> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for key in persistence::KEYS {
        let name = if key == "enabled" { "PERSISTENCE".to_owned() } else { key.to_ascii_uppercase() };
        places.entry(format!("{PREFIX}{name}")).or_default().push(Place::Persistence(key));
    }
    for key in circuit_keys() {
        let suffix = key.to_ascii_uppercase();
        places.entry(format!("{PREFIX}DEFAULT_{suffix}")).or_default().push(Place::Defaults(key));
        for circuit in draft.circuits.keys() {
            let name = format!("{PREFIX}CIRCUIT_{}_{suffix}", capitals(circuit));
            places.entry(name).or_default().push(Place::Circuit(circuit, key));
        }
    }
    places
}

/// Spells a circuit's name as a variable can: `/users/{id}` is `USERS_ID`.
fn capitals(circuit: &str) -> String {
    let words = circuit.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_uppercase()
}

fn origin(variable: &str) -> String {
    format!("environment variable {}", shown(variable))
}

fn ambiguous(origin: &str, places: &[Place<'_>]) -> SettingsError {
    let meant = places.iter().map(|place| match place {
        Place::Persistence(key) => join("persistence", key),
        Place::Defaults(key) => join("defaults", key),
        Place::Circuit(circuit, key) => join(&join("circuits", circuit), key),
    });
    let meant = meant.collect::<Vec<_>>().join(" or ");
    SettingsError::new(origin, format!("may mean {meant}, allowed is to say it in {CONFIG} or in the file"))
}

fn unknown(name: &str, places: &BTreeMap<String, Vec<Place<'_>>>) -> SettingsError {
    let more = [CONFIG, KILL_SWITCH];
    let meant = meant(name, places.keys().map(String::as_str).chain(more));
    let first: Vec<String> =
        persistence::KEYS[1..].iter().map(|key| format!("{PREFIX}{}", key.to_ascii_uppercase())).collect();
    let says = format!(
        "unknown{meant} allowed are {CONFIG}, {KILL_SWITCH}, {PREFIX}PERSISTENCE, {}, {PREFIX}DEFAULT_<KEY>, and \
         {PREFIX}CIRCUIT_<NAME>_<KEY> for a circuit that the file has",
        first.join(", ")
    );
    SettingsError::new(&origin(name), says)
}

/// Whether Kubernetes or Docker set it, as they do for a service that is called `circuit-breaker…`: nobody's mistake.
fn is_service_link(name: &str) -> bool {
    let word = |word: &str| name.ends_with(&format!("_{word}")) || name.contains(&format!("_{word}_"));
    name.ends_with("_SERVICE_HOST")
        || word("SERVICE_PORT")
        || name.ends_with("_PORT")
        || (name.contains("_PORT_") && (word("TCP") || word("UDP") || word("SCTP")))
}

const PREFIX: &str = "CIRCUIT_BREAKER_";
const CONFIG: &str = "CIRCUIT_BREAKER_CONFIG";
