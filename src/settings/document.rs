//! The reader of settings documents, which checks size and encoding, recognises TOML or JSON, and returns a tree of
//! values.
//!
//! The `Display` of a parser's error can quote the line with the mistake, and that line can contain a password.
//! Therefore a `SettingsError` contains only the message of the parser's error.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::SettingsError;
use super::quoted::shown as shown_key;
use super::value::Value;
use crate::shown;

/// Reads a file into a tree of values.
pub(super) fn read_file(path: &Path, origin: &str) -> Result<Value, SettingsError> {
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    read(&read_text(path, origin)?, origin, json)
}

/// Returns the line of a key in a TOML file. If the file does not have the key, returns the line of the innermost table
/// in the file that would contain the key. Returns `None` for JSON, because the JSON parser reports no places.
pub(super) fn line_of_key(path: &Path, key: &str) -> Option<usize> {
    let text = read_text(path, "").ok()?;
    // The path of the key is in the spelling of TOML, so the TOML parser can split the path.
    let key = format!("{key} = 0");
    let (wanted, document) = (DeTable::parse(&key).ok()?, DeTable::parse(&text).ok()?);
    let (mut wanted, mut table, mut line) = (wanted.get_ref(), document.get_ref(), None);
    while let Some((name, rest)) = wanted.iter().next()
        && let Some((found, value)) = table.iter().find(|(key, _)| key.get_ref() == name.get_ref())
    {
        line = Some(line_of(&text, found.span().start));
        let (DeValue::Table(rest), DeValue::Table(below)) = (rest.get_ref(), value.get_ref()) else { break };
        (wanted, table) = (rest, below);
    }
    line
}

fn read_text(path: &Path, origin: &str) -> Result<String, SettingsError> {
    let mut bytes = Vec::new();
    // At most one byte more than the limit is read. This byte shows that a file is too large, even if the file is
    // endless.
    let done = File::open(path).and_then(|file| file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes));
    done.map_err(|error| SettingsError::new(origin, format!("cannot be read: {error}")))?;
    if bytes.len() > MOST_BYTES {
        return Err(too_large(origin));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        SettingsError::new(origin, format!("is not valid UTF-8 from byte {at} on"))
    })
}

/// Reads a document. The format is JSON if `json` is true or the text begins with a brace, because no TOML document
/// begins with a brace. Otherwise the format is TOML.
pub(super) fn read(text: &str, origin: &str, json: bool) -> Result<Value, SettingsError> {
    if text.len() > MOST_BYTES {
        return Err(too_large(origin));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if json || text.trim_start().starts_with('{') {
        let says = |error: serde_json::Error| SettingsError::new(origin, format!("is not valid JSON: {error}"));
        return serde_json::from_str(text).map_err(says);
    }
    toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let (line, says) = (line_of(text, span.start), one_line(&error));
        // For a duplicate key, the message of the TOML parser does not name the key, so the key is added.
        let what = match text.get(span) {
            Some(key) if says == "duplicate key" => format!(" `{}`", shown_key(key)),
            _ => String::new(),
        };
        SettingsError::new(origin, format!("is not valid TOML in line {line}: {says}{what}"))
    })
}

/// Reads the value of an environment variable. A value in braces is read as an inline table of TOML.
pub(super) fn read_word(text: &str, origin: &str) -> Result<Value, SettingsError> {
    let text = text.trim();
    if !text.starts_with('{') {
        return Ok(Value::Word(text.to_owned()));
    }
    let refuse = |says: &str| SettingsError::new(origin, format!("is not a valid inline table of TOML: {says}"));
    let value = toml::from_str(&format!("table = {text}")).map_err(|error| refuse(&one_line(&error)))?;
    // The document must contain only this table. A text such as `{ } \n other = 1` would add another key.
    if let Value::Table(mut only) = value
        && only.len() == 1
    {
        return Ok(only.remove(0).1);
    }
    Err(refuse("more text follows the table"))
}

pub(super) fn too_large(origin: &str) -> SettingsError {
    SettingsError::new(origin, "is too large, allowed are up to 1 MiB")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Returns the message of the error in one line of bounded length, because the message can repeat a long key. The
/// `Display` of the error would also show the line with the mistake, which can contain a password.
fn one_line(error: &toml::de::Error) -> String {
    shown::one_line(&error.message().lines().collect::<Vec<_>>().join(", "), 300)
}

/// The largest size of a document in bytes, which is far above the size of any document written by hand.
pub(super) const MOST_BYTES: usize = 1 << 20;
