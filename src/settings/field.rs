//! A value with its path and origin, and the conversions to the types that keys require.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::error::SettingsError;
use super::unknown::unknown;
use super::value::Value;

/// A value, the path of its key, and its origin. The origin is the file or the variable that contained the value.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) origin: Arc<str>,
    pub(super) path: String,
    pub(super) value: Value,
}

/// A table that contains only allowed keys. Each key has one value from each document or variable that sets the key,
/// and the last value wins.
#[derive(Debug, Clone, Default)]
pub(super) struct Table(BTreeMap<String, Vec<Field>>);

impl Table {
    /// Reads a table of a document.
    pub(super) fn read(field: &Field, known: &[&str]) -> Result<Self, SettingsError> {
        let entries = field.table(known)?;
        Ok(Self(entries.into_iter().map(|(key, field)| (key, vec![field])).collect()))
    }

    /// Returns the value of a key from the last document or variable that has the key.
    pub(super) fn get(&self, key: &str) -> Option<&Field> {
        self.all(key).last()
    }

    /// Returns the values of a key from all documents and variables. The last value wins.
    pub(super) fn all(&self, key: &str) -> &[Field] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Returns the origin (a file or a variable) of one of the values. `None` if the table is empty.
    pub(super) fn origin(&self) -> Option<&str> {
        self.0.values().flatten().next().map(|field| &*field.origin)
    }

    /// Adds a value of a key, which overrides the earlier values of the key.
    pub(super) fn lay(&mut self, key: &str, field: Field) {
        self.0.entry(key.to_owned()).or_default().push(field);
    }

    /// Adds all values of a table, which override the earlier values.
    pub(super) fn lay_all(&mut self, over: Self) {
        for (key, fields) in over.0 {
            self.0.entry(key).or_default().extend(fields);
        }
    }
}

impl Field {
    /// Returns the error that refuses the value and names the allowed values.
    pub(super) fn refuse(&self, allowed: &str) -> SettingsError {
        let Self { origin, path, value } = self;
        SettingsError::of(origin, path, format!("{path} is {value}, allowed is {allowed}"))
    }

    /// Returns the entries of a table. A key that is not in `known` is refused.
    pub(super) fn table(&self, known: &[&str]) -> Result<Vec<(String, Self)>, SettingsError> {
        let entries = self.entries()?;
        match entries.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, field)) => Err(unknown(&self.origin, &self.path, key, &field.path, known)),
            None => Ok(entries),
        }
    }

    /// Returns all entries of a table in which any key is allowed. A key that occurs twice is an error.
    pub(super) fn entries(&self) -> Result<Vec<(String, Self)>, SettingsError> {
        let Value::Table(table) = &self.value else { return Err(self.refuse("a table")) };
        let mut entries: Vec<(String, Self)> = Vec::with_capacity(table.len());
        let mut seen = std::collections::BTreeSet::new();
        for (key, value) in table {
            let path = join(&self.path, key);
            if !seen.insert(key) {
                return Err(SettingsError::of(&self.origin, &path, format!("{path} occurs twice, allowed is once")));
            }
            entries.push((key.clone(), Self { origin: Arc::clone(&self.origin), path, value: value.clone() }));
        }
        Ok(entries)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => Some(text),
            Value::Table(_) | Value::Integer(_) | Value::Number(_) | Value::Switch(_) | Value::Other(_) => None,
        }
    }

    pub(super) fn switch(&self) -> Result<bool, SettingsError> {
        match (&self.value, self.text()) {
            (Value::Switch(switch), _) => Ok(*switch),
            // The texts `true` and `false` are switches only in a variable, because `"false"` in a file is a mistake.
            (Value::Word(_), Some("true")) => Ok(true),
            (Value::Word(_), Some("false")) => Ok(false),
            _ => Err(self.refuse("true or false")),
        }
    }

    /// Returns true if the value is `false`, which switches a rule off.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.switch(), Ok(false))
    }

    pub(super) fn count(&self) -> Result<u32, SettingsError> {
        self.as_count().ok_or_else(|| self.refuse("a whole number that is not negative, up to 4294967295"))
    }

    pub(super) fn number(&self) -> Result<f64, SettingsError> {
        self.number_or("")
    }

    /// Reads a number. The error for any other value lists `others` as further allowed forms.
    pub(super) fn number_or(&self, others: &str) -> Result<f64, SettingsError> {
        self.as_number().ok_or_else(|| self.refuse(&format!("a number{others}")))
    }

    pub(super) fn number_or_off(&self) -> Result<Option<f64>, SettingsError> {
        self.or_off(self.as_number(), "a number, or false for no such rule")
    }

    /// Reads a count. Returns `None` for `false`, which switches a rule off. The error for any other value lists
    /// `others` as further allowed forms.
    pub(super) fn count_or_off_or(&self, others: &str) -> Result<Option<u32>, SettingsError> {
        self.or_off(self.as_count(), &format!("a whole number, or false for no such rule{others}"))
    }

    fn or_off<T>(&self, value: Option<T>, allowed: &str) -> Result<Option<T>, SettingsError> {
        if value.is_none() && !self.is_off() { Err(self.refuse(allowed)) } else { Ok(value) }
    }

    fn as_count(&self) -> Option<u32> {
        match &self.value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::Word(word) => word.parse().ok(),
            Value::Table(_) | Value::Text(_) | Value::Number(_) | Value::Switch(_) | Value::Other(_) => None,
        }
    }

    fn as_number(&self) -> Option<f64> {
        match &self.value {
            Value::Number(number) => Some(*number),
            // The text of the integer is parsed. A large integer is then rounded in the same way as a number with a
            // point.
            Value::Integer(number) => number.to_string().parse().ok(),
            Value::Word(word) => word.parse().ok(),
            Value::Table(_) | Value::Text(_) | Value::Switch(_) | Value::Other(_) => None,
        }
    }

    pub(super) fn duration(&self) -> Result<Duration, SettingsError> {
        self.duration_or("")
    }

    /// Reads a duration. The error for any other value lists `others` as further allowed forms.
    pub(super) fn duration_or(&self, others: &str) -> Result<Duration, SettingsError> {
        let duration = self.text().and_then(parse_duration);
        duration
            .ok_or_else(|| self.refuse(&format!("a number with its unit (ms, s, min, h, d), like \"10 s\"{others}")))
    }

    /// Reads a duration, and refuses a duration below `least` or above `most`. Both limits are texts, because the error
    /// shows them.
    pub(super) fn duration_within(&self, least: &str, most: &str) -> Result<Duration, SettingsError> {
        let duration = self.duration()?;
        let within = parse_duration(least) <= Some(duration) && Some(duration) <= parse_duration(most);
        if within { Ok(duration) } else { Err(self.refuse(&format!("{least} to {most}"))) }
    }

    /// Reads a word that must be one of `choices`.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, SettingsError> {
        let chosen = choices.iter().find(|(word, _)| self.text() == Some(word));
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.refuse(&words.join(" or "))
        })
    }
}

/// Appends a key to a path in the spelling of TOML, as in `circuits."/users/{id}".probes`.
pub(super) fn join(table: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let key = if bare && key.len() <= 200 { key.to_owned() } else { super::quoted::quoted(key) };
    if table.is_empty() { key } else { format!("{table}.{key}") }
}

/// Parses `250 ms`, `1.5 s` or `10min`. A number without a unit is refused, because any assumed unit could be
/// wrong.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
    let millis: u32 = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(millis.into()).map(Duration::from_millis),
        // The result is rounded to the nearest nanosecond, so that `0.1 s` is 100 ms.
        Err(_) => Duration::try_from_secs_f64(number.parse::<f64>().ok()? * f64::from(millis) / 1_000.0).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in [
            ("250 ms", 250),
            ("250ms", 250),
            (" 5  s ", 5_000),
            ("0 ms", 0),
            ("1.5 s", 1_500),
            ("0.1 s", 100),
            ("1.1 min", 66_000),
            ("10 min", 600_000),
            ("24 h", 86_400_000),
            ("365 d", 31_536_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", " ", "5", "s", "-5 s", "+5 s", "5 m", "5 S", "5 seconds", "1 h 30 min", "1e3 s", "1.2.3 s", ". s"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for text in ["99999999999999999999 d", "18446744073709551615 s", "99999999999999999999.9 d", "NaN s", "inf s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
