//! A TOML or JSON text as a tree of values, whose keys and types are not checked yet.
//!
//! Both formats use the same tree, so that the same mistake causes the same error.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::quoted::quoted;

/// A value in the tree.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    /// The entries in the order of the text. A repeated key is kept twice, so that a later check can refuse
    /// the key.
    Table(Vec<(String, Self)>),
    Text(String),
    Integer(i128),
    Number(f64),
    Switch(bool),
    /// A value of a type that no key allows, such as a list. The string names the type for errors.
    Other(&'static str),
    /// The value of an environment variable. The key that the variable sets decides how the text is read, as a number,
    /// a switch or a text.
    Word(String),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, switch: bool) -> Result<Value, E> {
        Ok(Value::Switch(switch))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut table = Vec::new();
        while let Some(field) = map.next_entry::<String, Value>()? {
            table.push(field);
        }
        // The toml crate passes a date as a table with this key.
        let date = table.iter().any(|(key, _)| key == "$__toml_private_datetime");
        Ok(if date { Value::Other("a date") } else { Value::Table(table) })
    }
}

/// Writes the value in the form in which an error shows it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(_) => f.write_str("a table"),
            Self::Text(text) | Self::Word(text) => f.write_str(&quoted(text)),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Written by hand, because a derived implementation would show passwords.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Table(table) = self {
            return f.debug_map().entries(table.iter().map(|(key, value)| (key, value))).finish();
        }
        fmt::Display::fmt(self, f)
    }
}
