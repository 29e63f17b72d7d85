//! The settings of files and variables, merged key by key and not checked yet.
//!
//! A draft knows the allowed keys and the origin of each value. The modules `circuit` and `persistence` check the
//! values after all layers are merged, because a later layer may replace a wrong value.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::circuit::{self, Setting};
use super::error::SettingsError;
use super::field::{Field, Table, join};
use super::persistence;
use super::unknown::unknown;
use super::value::Value;
use crate::config::{Config, ConfigError};

/// The merged tables of all documents and variables.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) persistence: Table,
    pub(super) defaults: Table,
    pub(super) circuits: BTreeMap<String, Circuit>,
}

/// The table of one circuit, with the origin and the path of the first document that has it.
#[derive(Debug, Clone)]
pub(super) struct Circuit {
    origin: Arc<str>,
    path: String,
    pub(super) table: Table,
}

impl Draft {
    /// Splits a document into its tables.
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
                        format!("`{lost}` is outside a table, allowed is defaults.{lost} or a table below circuits");
                    return Err(SettingsError::of(origin, lost, says));
                }
                _ => return Err(unknown(origin, "", &key, &field.path, &TABLES)),
            }
        }
        Ok(draft)
    }

    /// Overrides this draft with another one.
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

    /// Returns the table of a circuit, and creates it if there is none.
    pub(super) fn table_of(&mut self, name: &str, origin: &str) -> &mut Table {
        let made = || Circuit { origin: origin.into(), path: join("circuits", name), table: Table::new() };
        &mut self.circuits.entry(name.to_owned()).or_insert_with(made).table
    }

    /// Checks and returns the settings of circuits without a table.
    pub(super) fn defaults(&self) -> Result<Vec<Setting>, SettingsError> {
        let settings = settings([&self.defaults])?;
        let built = circuit::build(&settings, Config::builder("defaults")).build();
        let origin = self.defaults.values().next().map_or("", |field| &*field.origin);
        built.map_err(|error| refuse(&error, "defaults", origin, &[&self.defaults]))?;
        Ok(settings)
    }

    /// Checks and returns the settings of a circuit, with its configuration.
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

/// Reads each key from the last table that has it.
fn settings<const N: usize>(tables: [&Table; N]) -> Result<Vec<Setting>, SettingsError> {
    let found = circuit::KEYS.iter().filter_map(|(key, read)| Some((read, find(&tables, key)?)));
    found.map(|(read, field)| read(field)).collect()
}

/// Returns the field of the key from the last table that has it.
fn find<'a>(tables: &[&'a Table], key: &str) -> Option<&'a Field> {
    tables.iter().rev().find_map(|table| table.get(key))
}

/// Adds the path of the key to the error of the builder. If the value is not from the circuit's own table, its origin
/// is added.
fn refuse(error: &ConfigError, path: &str, origin: &str, tables: &[&Table]) -> SettingsError {
    let says = error.to_string();
    if error.field() == "name" {
        let allowed = says.rsplit_once("allowed is ").map_or("", |(_, allowed)| allowed);
        return SettingsError::of(origin, path, format!("{path} is not a valid circuit name, allowed is {allowed}"));
    }
    // The builder names a part of `window` or `open_for` with a point, as in `window.calls`.
    let key = error.field().split('.').next().unwrap_or_default();
    let own = join(path, key);
    match find(tables, key) {
        Some(field) if field.path == own => SettingsError::of(&field.origin, &own, format!("{path}.{says}")),
        Some(field) => {
            let source = if *field.origin == *origin { String::new() } else { format!(", {}", field.origin) };
            SettingsError::of(origin, &own, format!("{path}.{says}; the value comes from {}{source}", field.path))
        }
        // `slow_call_rate` and `slower_than` have no default, and the error of each asks for the other.
        None if key.starts_with("slow") => SettingsError::of(origin, &own, format!("{path}.{says}")),
        None => SettingsError::of(origin, &own, format!("{path}.{says}; the value is the default")),
    }
}

pub(super) fn circuit_keys() -> [&'static str; circuit::KEYS.len()] {
    circuit::KEYS.map(|(key, _)| key)
}
