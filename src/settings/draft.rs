//! What files and variables say, laid over each other key by key, before it is judged.
//!
//! It knows which keys there are and where each value is from. What the values must be is said by `circuit` and
//! `persistence`, once all layers lie on each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::circuit::{self, Setting};
use super::error::SettingsError;
use super::field::{Field, Table, join};
use super::persistence;
use super::unknown::unknown;
use super::value::Value;
use crate::config::{Config, ConfigError};

#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) persistence: Table,
    pub(super) defaults: Table,
    pub(super) circuits: BTreeMap<String, Circuit>,
}

#[derive(Debug, Clone)]
pub(super) struct Circuit {
    origin: Arc<str>,
    path: String,
    pub(super) table: Table,
}

impl Draft {
    /// Takes a document apart.
    pub(super) fn read(value: Value, origin: &str) -> Result<Self, SettingsError> {
        const TABLES: [&str; 3] = ["persistence", "defaults", "circuits"];
        let top = Field { origin: origin.into(), path: String::new(), value };
        if !matches!(top.value, Value::Table(_)) {
            return Err(SettingsError::new(origin, format!("is {}, allowed is a table", top.value)));
        }
        let circuit_keys = circuit_keys();
        let mut draft = Self::default();
        for (key, field) in top.entries()? {
            match key.as_str() {
                "persistence" => draft.persistence = table(&field, &persistence::KEYS)?,
                "defaults" => draft.defaults = table(&field, &circuit_keys)?,
                "circuits" => {
                    for (name, field) in field.entries()? {
                        let table = table(&field, &circuit_keys)?;
                        draft.circuits.insert(name, Circuit { origin: field.origin, path: field.path, table });
                    }
                }
                lost if circuit_keys.contains(&lost) => {
                    let says =
                        format!("`{lost}` stands outside of a table, allowed is defaults.{lost} or below circuits");
                    return Err(SettingsError::of(origin, lost, says));
                }
                _ => return Err(unknown(origin, "", &key, &field.path, &TABLES)),
            }
        }
        Ok(draft)
    }

    /// Lays another over this one.
    pub(super) fn lay(&mut self, over: Self) {
        self.persistence.extend(over.persistence);
        self.defaults.extend(over.defaults);
        for (name, circuit) in over.circuits {
            match self.circuits.get_mut(&name) {
                Some(below) => below.table.extend(circuit.table),
                None => drop(self.circuits.insert(name, circuit)),
            }
        }
    }

    /// The table of a circuit, made if there is none.
    pub(super) fn table_of(&mut self, name: &str, origin: &str) -> &mut Table {
        let made = || Circuit { origin: origin.into(), path: join("circuits", name), table: Table::new() };
        &mut self.circuits.entry(name.to_owned()).or_insert_with(made).table
    }

    /// The settings of the circuits that have none of their own.
    pub(super) fn defaults(&self) -> Result<Vec<Setting>, SettingsError> {
        let settings = settings([&self.defaults])?;
        let built = circuit::build(&settings, Config::builder("defaults")).build();
        let origin = self.defaults.values().next().map_or("", |field| &*field.origin);
        built.map_err(|error| refuse(&error, "defaults", origin, &[&self.defaults]))?;
        Ok(settings)
    }

    /// The settings of a circuit, and the configuration that they make.
    pub(super) fn circuit(&self, name: &str, circuit: &Circuit) -> Result<(Vec<Setting>, Config), SettingsError> {
        let tables = [&self.defaults, &circuit.table];
        let settings = settings(tables)?;
        let built = circuit::build(&settings, Config::builder(name)).build();
        let config = built.map_err(|error| refuse(&error, &circuit.path, &circuit.origin, &tables))?;
        Ok((settings, config))
    }
}

fn table(field: &Field, known: &[&str]) -> Result<Table, SettingsError> {
    Ok(field.table(known)?.into_iter().collect())
}

/// Reads each key from the last of the tables that has it.
fn settings<const N: usize>(tables: [&Table; N]) -> Result<Vec<Setting>, SettingsError> {
    let found = circuit::KEYS.iter().filter_map(|(key, read)| Some((read, find(&tables, key)?)));
    found.map(|(read, field)| read(field)).collect()
}

fn find<'a>(tables: &[&'a Table], key: &str) -> Option<&'a Field> {
    tables.iter().rev().find_map(|table| table.get(key))
}

/// Says the builder's error with the path of the key, and where the value is from if the circuit's table has none.
fn refuse(error: &ConfigError, path: &str, origin: &str, tables: &[&Table]) -> SettingsError {
    let says = error.to_string();
    if error.field() == "name" {
        let allowed = says.rsplit_once("allowed is ").map_or("", |(_, allowed)| allowed);
        return SettingsError::of(origin, path, format!("{path} is no name of a circuit, allowed is {allowed}"));
    }
    // The builder names a part of `window` and `open_for` as `window.calls`.
    let key = error.field().split('.').next().unwrap_or_default();
    let own = join(path, key);
    match find(tables, key) {
        Some(field) if field.path == own => SettingsError::of(&field.origin, &own, format!("{path}.{says}")),
        Some(field) => {
            let source = if *field.origin == *origin { String::new() } else { format!(", {}", field.origin) };
            SettingsError::of(origin, &own, format!("{path}.{says}; it comes from {}{source}", field.path))
        }
        // Two keys that have no default: each asks for the other.
        None if key.starts_with("slow") => SettingsError::of(origin, &own, format!("{path}.{says}")),
        None => SettingsError::of(origin, &own, format!("{path}.{says}; it is the default, as nothing sets it")),
    }
}

pub(super) fn circuit_keys() -> [&'static str; circuit::KEYS.len()] {
    circuit::KEYS.map(|(key, _)| key)
}
