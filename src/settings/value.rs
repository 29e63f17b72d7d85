//! What a TOML or JSON text says, as one tree, before anything in it has a meaning.
//!
//! One tree for both, so that what is refused, and in which words, does not depend on the format.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::quoted::quoted;

/// A value as it was written.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    /// In the order of the text, with a key that is there twice.
    Table(Vec<(String, Self)>),
    Text(String),
    Integer(i128),
    Number(f64),
    Switch(bool),
    /// What no key wants, by its name.
    Other(&'static str),
    /// Of an environment variable: a number, a switch or a text, as the key wants it.
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
        // So toml hands a date through serde.
        let date = table.iter().any(|(key, _)| key == "$__toml_private_datetime");
        Ok(if date { Value::Other("a date") } else { Value::Table(table) })
    }
}

/// As an error shows it.
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

/// No derived one: it would show passwords.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Table(table) = self {
            return f.debug_map().entries(table.iter().map(|(key, value)| (key, value))).finish();
        }
        fmt::Display::fmt(self, f)
    }
}
