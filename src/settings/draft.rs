//! The unchecked settings from files and variables. Later values override earlier values.
//!
//! A draft contains only allowed keys, and the origin of each value. A later document or variable may replace a wrong
//! value. Therefore the modules `circuit` and `persistence` check the values only after all layers are merged.
//!
//! The values of a circuit come from the defaults, then from the patterns that cover its name, and then from its own
//! table. Later tables win. The most specific table with the key `group` names the group. The values of the group come
//! directly before the values of the table that has this key, so that this table wins over the group.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::circuit::{self, Setting};
use super::error::SettingsError;
use super::field::{Field, Table, join};
use super::layers::Layers;
use super::persistence;
use super::refused::refused;
use super::unknown::{unknown, unknown_group};
use super::value::Value;
use crate::config::{Config, LONGEST_NAME};
use crate::group::Group;
use crate::pattern::{self, ByName, beginning, misused};
use crate::shown::{cut, masked};

/// The tables of all documents and variables, merged.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) persistence: Table,
    pub(super) defaults: Table,
    pub(super) groups: BTreeMap<String, Entry>,
    /// The tables of circuits and of patterns.
    pub(super) circuits: ByName<Entry>,
}

/// The table of a group, of one circuit or of a pattern. `path` is the path of the table, and `origin` the first
/// document or variable that has the table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) origin: Arc<str>,
    pub(super) path: String,
    pub(super) table: Table,
}

impl Entry {
    pub(super) fn new(origin: &str, path: String) -> Self {
        Self { origin: origin.into(), path, table: Table::default() }
    }

    fn read(field: &Field, known: &[&str]) -> Result<Self, SettingsError> {
        Ok(Self { table: Table::read(field, known)?, ..Self::new(&field.origin, field.path.clone()) })
    }
}

/// Writes the place of the table for the report of tables that no circuit uses.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.path, masked(&self.origin))
    }
}

impl Draft {
    /// Splits a document into its tables.
    pub(super) fn read(value: Value, origin: &str) -> Result<Self, SettingsError> {
        const TABLES: [&str; 4] = ["persistence", "defaults", "groups", "circuits"];
        let top = Field { origin: origin.into(), path: String::new(), value };
        if !matches!(top.value, Value::Table(_)) {
            return Err(SettingsError::new(origin, format!("is {}, allowed is a table", top.value)));
        }
        let (shared, own) = (shared_keys(), own_keys());
        let mut draft = Self::default();
        for (key, field) in top.entries()? {
            match key.as_str() {
                "persistence" => draft.persistence = Table::read(&field, &persistence::KEYS)?,
                "defaults" => draft.defaults = Table::read(&field, &shared)?,
                "groups" => {
                    for (name, field) in field.entries()? {
                        draft.groups.insert(name, Entry::read(&field, &shared)?);
                    }
                }
                "circuits" => {
                    for (name, field) in field.entries()? {
                        check_pattern(&name, &field)?;
                        draft.circuits.insert(&name, Entry::read(&field, &own)?);
                    }
                }
                lost if shared.contains(&lost) => {
                    let says =
                        format!("`{lost}` is outside a table, allowed is defaults.{lost} or a table below circuits");
                    return Err(SettingsError::of(origin, lost, says));
                }
                _ => return Err(unknown(origin, "", &key, &field.path, &TABLES)),
            }
        }
        Ok(draft)
    }

    /// Overrides the values of this draft with the values of the draft `over`.
    pub(super) fn lay(&mut self, over: Self) {
        self.persistence.lay_all(over.persistence);
        self.defaults.lay_all(over.defaults);
        for (name, group) in over.groups {
            self.group(&name, &group.origin).lay_all(group.table);
        }
        for (name, circuit) in over.circuits.entries() {
            self.circuit(&name, &circuit.origin).lay_all(circuit.table.clone());
        }
    }

    /// Returns the table of a group, and creates the table if there is none.
    pub(super) fn group(&mut self, name: &str, origin: &str) -> &mut Table {
        let made = || Entry::new(origin, join("groups", name));
        &mut self.groups.entry(name.to_owned()).or_insert_with(made).table
    }

    /// Returns the table of a circuit or a pattern, and creates the table if there is none.
    pub(super) fn circuit(&mut self, name: &str, origin: &str) -> &mut Table {
        &mut self.circuits.entry(name).or_insert_with(|| Entry::new(origin, join("circuits", name))).table
    }

    /// Checks the defaults, and returns the settings of circuits without a table.
    pub(super) fn checked_defaults(&self, groups: &mut Groups) -> Result<Vec<Setting>, SettingsError> {
        // The defaults must not contain `at_most_open`. The circuits of all services would then be one group. The
        // circuits of a failing service could take all open slots, and the circuit of another failing service would
        // stay closed.
        if let Some(share) = self.defaults.get(circuit::AT_MOST_OPEN).filter(|share| !share.is_off()) {
            return Err(share.refuse("false, because the circuits of all services would be one group. Set the share in [groups.NAME] or for a pattern"));
        }
        let origin = self.defaults.origin().unwrap_or_default();
        let entry = Entry::new(origin, DEFAULTS.to_owned());
        let (settings, _) = checked(DEFAULTS, &entry, &[(DEFAULTS, &self.defaults)], groups)?;
        Ok(settings)
    }

    /// Checks each group, so that a mistake is found even if no circuit uses the group yet. The check assumes a circuit
    /// without settings of its own.
    pub(super) fn check_groups(&self, groups: &mut Groups) -> Result<(), SettingsError> {
        self.groups.iter().try_for_each(|(name, group)| {
            checked(name, group, &[(DEFAULTS, &self.defaults), (&group.path, &group.table)], groups)?;
            Ok(())
        })
    }

    /// Checks the settings of a circuit or a pattern. Returns the settings, and the configuration of a
    /// circuit of this name.
    pub(super) fn checked(
        &self,
        name: &str,
        entry: &Entry,
        groups: &mut Groups,
    ) -> Result<(Vec<Setting>, Config), SettingsError> {
        // A pattern covers itself, so its own entry is already in the list and is not added again.
        let own = beginning(name).is_none().then_some(entry);
        let entries: Vec<_> = self.circuits.covering(beginning(name).unwrap_or(name)).chain(own).collect();
        let mut tables: Vec<_> = entries.iter().map(|entry| (&*entry.path, &entry.table)).collect();
        let named = tables.iter().rposition(|(_, table)| table.get(GROUP).is_some());
        if let Some((at, field)) = named.and_then(|at| Some((at, tables[at].1.get(GROUP)?)))
            && let Some(group) = self.named_group(field)?
        {
            tables.insert(at, (&group.path, &group.table));
        }
        tables.insert(0, (DEFAULTS, &self.defaults));
        checked(name, entry, &tables, groups)
    }

    /// Returns the group that the field names, or `None` if the field is `false`.
    fn named_group(&self, field: &Field) -> Result<Option<&Entry>, SettingsError> {
        if field.is_off() {
            return Ok(None);
        }
        let name = field.text().ok_or_else(|| field.refuse("the name of a group, or false for none"))?;
        let unknown = || unknown_group(field, name, self.groups.keys().map(String::as_str));
        self.groups.get(name).map(Some).ok_or_else(unknown)
    }
}

/// Checks the settings of an entry and returns them. `tables` are the tables that apply to the entry, each with its
/// path, the least specific table first.
fn checked(
    name: &str,
    entry: &Entry,
    tables: &[(&str, &Table)],
    groups: &mut Groups,
) -> Result<(Vec<Setting>, Config), SettingsError> {
    let layers = |key: &str| Layers::new(tables.iter().flat_map(|(_, table)| table.all(key)));
    let found = circuit::KEYS.iter().filter_map(|(key, read)| Some(read(&layers(key)?)));
    let mut settings = found.collect::<Result<Vec<_>, _>>()?;
    for setting in &mut settings {
        let with_share = tables.iter().rfind(|(_, table)| table.get(circuit::AT_MOST_OPEN).is_some());
        if let (Setting::AtMostOpen(Some(share)), Some((path, _))) = (&setting, with_share) {
            *setting = Setting::Group(groups.of(path, *share));
        }
    }
    let built = circuit::build(&settings, Config::builder(name)).build();
    let config = built.map_err(|error| refused(&error, &entry.path, &entry.origin, layers))?;
    Ok((settings, config))
}

/// The groups that the setting `at_most_open` makes, by the path of the table with the setting. All circuits that get
/// `at_most_open` from the same table are one group. The value limits the share of the group that is open.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, Group>);

impl Groups {
    fn of(&mut self, path: &str, share: f64) -> Group {
        // The group is named after its table, without the prefix: `endpoints` for `groups.endpoints`, and `host:*` for
        // `circuits."host:*"`.
        let name = path.split_once('.').map_or("", |(_, name)| name.trim_matches('"'));
        // A table can have a name that no group can have. An empty name is replaced by the path, and a long name is
        // cut.
        let name = if name.is_empty() { path } else { name };
        let name = if name.len() > LONGEST_NAME { cut(name, LONGEST_NAME / 4) } else { name };
        self.0.entry(path.to_owned()).or_insert_with(|| Group::new(name).at_most_open(share)).clone()
    }
}

/// Refuses a table of circuits whose name contains a sign of shell patterns other than a `*` at the end. Also refuses
/// the pattern `*` for all circuits, because `[defaults]` is the table for all circuits.
fn check_pattern(name: &str, field: &Field) -> Result<(), SettingsError> {
    let Field { origin, path, .. } = field;
    let says = match misused(name) {
        Some(sign) => format!("{path} has a `{sign}`, allowed is {}", pattern::ALLOWED),
        None if name == "*" => format!("{path} would be every circuit, and the table of every circuit is [defaults]"),
        None => return Ok(()),
    };
    Err(SettingsError::of(origin, path, says))
}

/// The keys that defaults, groups and circuits share.
pub(super) fn shared_keys() -> [&'static str; circuit::KEYS.len()] {
    circuit::KEYS.map(|(key, _)| key)
}

/// The keys of circuits and patterns, which are the shared keys and `group`.
pub(super) fn own_keys() -> [&'static str; circuit::KEYS.len() + 1] {
    let mut keys = [GROUP; circuit::KEYS.len() + 1];
    keys[1..].copy_from_slice(&shared_keys());
    keys
}

const GROUP: &str = "group";
const DEFAULTS: &str = "defaults";
