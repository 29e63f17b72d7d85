//! The layers of a setting and their merge. The layers are the values of one key in all tables that apply to a circuit.
//!
//! A value that is not a table replaces all less specific values. A table changes only the parts that it
//! names. Therefore a circuit can change `max` of `open_for` and keep the other parts.

use std::collections::BTreeMap;

use super::error::SettingsError;
use super::field::Field;
use super::value::Value;

/// The values of one key, the least specific value first. There is at least one value.
pub(super) struct Layers<'a>(Vec<&'a Field>);

/// The parts of a value by name, each part from the most specific table that has the part.
pub(super) type Parts = BTreeMap<String, Field>;

/// The form of a value that can be a duration or a table of parts.
pub(super) struct Shape {
    /// The name of the part that a plain duration sets, such as `time`.
    pub(super) duration: &'static str,
    pub(super) parts: &'static [&'static str],
    /// The list of all allowed forms, which an error shows.
    pub(super) allowed: &'static str,
    /// The allowed forms except a plain duration. The error for a wrong duration appends this text.
    pub(super) others: &'static str,
    /// Two sets of parts. A table must not contain parts of both sets.
    pub(super) alternatives: (&'static [&'static str], &'static [&'static str]),
    /// The function that prepares the merged parts of the less specific tables for the parts of a more specific table.
    /// The function removes or converts merged parts that cannot be used together with the new parts. The arguments are
    /// the merged parts, the new parts, and the field that contains the new parts.
    pub(super) prepare: fn(&mut Parts, &Parts, &Field) -> Result<(), SettingsError>,
}

impl<'a> Layers<'a> {
    /// Creates the layers of a key. Returns `None` if no table has a value of the key.
    pub(super) fn new(fields: impl Iterator<Item = &'a Field>) -> Option<Self> {
        let fields: Vec<_> = fields.collect();
        (!fields.is_empty()).then_some(Self(fields))
    }

    /// Returns the most specific value.
    pub(super) fn top(&self) -> &'a Field {
        self.0[self.0.len() - 1]
    }

    /// Returns the merged parts of the value. Refuses a value that has none of the forms in `shape`, and also refuses a
    /// table whose parts exclude each other.
    pub(super) fn merge(&self, shape: &Shape) -> Result<Parts, SettingsError> {
        // Values that are less specific than a plain value have no effect, so they are not checked.
        let whole = self.0.iter().rposition(|field| !is_table(field)).unwrap_or(0);
        let mut merged = Parts::new();
        for field in &self.0[whole..] {
            if is_table(field) {
                let parts: Parts = field.table(shape.parts)?.into_iter().collect();
                let has_any = |of: &[&str]| of.iter().any(|part| parts.contains_key(*part));
                if parts.is_empty() || has_any(shape.alternatives.0) && has_any(shape.alternatives.1) {
                    return Err(field.refuse(shape.allowed));
                }
                (shape.prepare)(&mut merged, &parts, field)?;
                merged.extend(parts);
            } else {
                if field.text().is_none() {
                    return Err(field.refuse(shape.allowed));
                }
                field.duration_or(shape.others)?;
                merged.insert(shape.duration.to_owned(), (*field).clone());
            }
        }
        Ok(merged)
    }
}

fn is_table(field: &Field) -> bool {
    matches!(field.value, Value::Table(_))
}
