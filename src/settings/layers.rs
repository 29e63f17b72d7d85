//! The values of one key in all tables that apply to a circuit, and the merge of values that are tables themselves.
//!
//! A value that is no table replaces all values below it. A table changes only the parts that it names. Therefore a
//! circuit can change the largest open duration and keep the rest.

use std::collections::BTreeMap;

use super::error::SettingsError;
use super::field::Field;
use super::value::Value;

/// The values of one key, the least specific one first. There is at least one.
pub(super) struct Layers<'a>(Vec<&'a Field>);

/// The parts of a value, each from the most specific table that names the part.
pub(super) type Parts = BTreeMap<String, Field>;

/// A value that is written as a duration or as a table of parts.
pub(super) struct Shape {
    /// The part that a duration sets.
    pub(super) duration: &'static str,
    pub(super) parts: &'static [&'static str],
    /// All allowed forms, for errors.
    pub(super) allowed: &'static str,
    /// The forms that are allowed beside a duration, for the error of a text.
    pub(super) others: &'static str,
    /// The parts that cannot stand in one table with others.
    pub(super) alternatives: (&'static [&'static str], &'static [&'static str]),
    /// Makes the merged parts ready for the parts of a more specific table, which is the field.
    pub(super) prepare: fn(&mut Parts, &Parts, &Field) -> Result<(), SettingsError>,
}

impl<'a> Layers<'a> {
    /// Returns `None` if no table has a value.
    pub(super) fn new(fields: impl Iterator<Item = &'a Field>) -> Option<Self> {
        let fields: Vec<_> = fields.collect();
        (!fields.is_empty()).then_some(Self(fields))
    }

    /// Returns the most specific value.
    pub(super) fn top(&self) -> &'a Field {
        self.0[self.0.len() - 1]
    }

    /// Returns the merged parts of the value.
    pub(super) fn merge(&self, shape: &Shape) -> Result<Parts, SettingsError> {
        // Values below one that is no table have no effect, so that they may be wrong.
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
