//! From a file or a text to a tree of values: sizes, encodings, and which format it is.
//!
//! The parsers' own messages may quote the line they stumbled over, and with it a password: only what they say about it is
//! passed on.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::error::SettingsError;
use super::quoted::shown;
use super::value::Value;

/// Reads a file.
pub(super) fn read_file(path: &Path, origin: &str) -> Result<Value, SettingsError> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells; an endless file ends there.
    let done = File::open(path).and_then(|file| file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes));
    done.map_err(|error| SettingsError::new(origin, format!("cannot be read: {error}")))?;
    if bytes.len() > MOST_BYTES {
        return Err(too_large(origin));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        SettingsError::new(origin, format!("is not valid UTF-8 from byte {at} on"))
    })?;
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    read(&text, origin, json)
}

/// Reads a document, as JSON if it is told so or sees so: no TOML starts with a brace.
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
        // The one message that is no use without what it is about, which is a key then.
        let what = match text.get(span) {
            Some(key) if says == "duplicate key" => format!(" `{}`", shown(key)),
            _ => String::new(),
        };
        SettingsError::new(origin, format!("is not valid TOML in line {line}: {says}{what}"))
    })
}

/// Reads the value of an environment variable, where `{ … }` is an inline table of TOML.
pub(super) fn read_word(text: &str, origin: &str) -> Result<Value, SettingsError> {
    let text = text.trim();
    if !text.starts_with('{') {
        return Ok(Value::Word(text.to_owned()));
    }
    let refuse = |says: &str| SettingsError::new(origin, format!("is not a valid inline table of TOML: {says}"));
    let value = toml::from_str(&format!("table = {text}")).map_err(|error| refuse(&one_line(&error)))?;
    // One key: `{ } \n other = 1` has smuggled in another.
    if let Value::Table(mut only) = value
        && only.len() == 1
    {
        return Ok(only.remove(0).1);
    }
    Err(refuse("something follows it"))
}

pub(super) fn too_large(origin: &str) -> SettingsError {
    SettingsError::new(origin, "is too large, allowed are up to 1 MiB")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The message alone: the error's `Display` shows the line of the text as well.
fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(", ")
}

/// More than anyone writes by hand, and nothing to a machine.
pub(super) const MOST_BYTES: usize = 1 << 20;
