//! The error for refused settings, which come from a file, a text or the environment.

use std::fmt;

use crate::shown::{masked, one_line};

/// The error of refused settings. If a file or the environment has one mistake, all settings are refused.
///
/// The error names the file or the variable, the key, its value, the allowed values, and the line if the line is known.
/// Passwords in the address of a store are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SettingsError {
    origin: String,
    key: Option<String>,
    line: Option<usize>,
    says: String,
}

impl SettingsError {
    /// Creates an error that concerns a whole file or variable. The text becomes one line of at most 4 000 characters,
    /// because the error of a store can repeat an address of any length.
    pub(super) fn new(origin: &str, says: impl AsRef<str>) -> Self {
        Self { origin: masked(origin), key: None, line: None, says: one_line(says.as_ref(), 4_000) }
    }

    /// Creates an error that concerns one key. `says` must contain the path of the key.
    pub(super) fn of(origin: &str, key: &str, says: impl AsRef<str>) -> Self {
        Self { key: Some(key.to_owned()), ..Self::new(origin, says) }
    }

    /// Adds the line of the key, which `line` looks up.
    pub(super) fn in_line(mut self, line: impl FnOnce(&str) -> Option<usize>) -> Self {
        self.line = self.key.as_deref().and_then(line);
        self
    }

    /// Returns the source of the refused setting, such as the path of a file, `the TOML text`, `the JSON text` or
    /// `environment variable …`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the path of the refused key, such as `circuits.payments.probes`, if the error concerns one key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns the line of the refused key, or of the table around a key that is missing. Returns `None`
    /// unless [`Settings::from_file`](super::Settings::from_file) has read the key from a TOML file.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.origin, self.says),
            None => write!(f, "{}: {}", self.origin, self.says),
        }
    }
}

/// Writes the same sentence as `Display`, because a `main` that returns the error prints its `Debug` form.
impl fmt::Debug for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for SettingsError {}
