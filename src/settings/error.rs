//! The error of refused settings.

use std::fmt;

use crate::shown::{masked, one_line};

/// A file or the environment was refused, and with it all settings.
///
/// The error names the file or the variable, the line if it is known, the key, its value and the allowed values. Passwords in the address of a
/// store are never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    origin: String,
    key: Option<String>,
    line: Option<usize>,
    says: String,
}

impl SettingsError {
    /// Creates the error of a file or a variable as a whole. The text is one bounded line, because the error of a store
    /// can repeat an address of any length.
    pub(super) fn new(origin: &str, says: impl AsRef<str>) -> Self {
        Self { origin: masked(origin), key: None, line: None, says: one_line(says.as_ref(), 4_000) }
    }

    /// Creates the error of one key. `says` contains the path of the key already.
    pub(super) fn of(origin: &str, key: &str, says: impl AsRef<str>) -> Self {
        Self { key: Some(key.to_owned()), ..Self::new(origin, says) }
    }

    /// Adds the line of the key.
    pub(super) fn in_line(mut self, line: impl FnOnce(&str) -> Option<usize>) -> Self {
        self.line = self.key.as_deref().and_then(line);
        self
    }

    /// Returns the source of the setting: the path of a file, `the TOML text`, `the JSON text` or
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

    /// Returns the line of the refused key, or of the table around a key that is missing. `None` unless
    /// [`Settings::from_file`](super::Settings::from_file) has read the key in a TOML file.
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

impl std::error::Error for SettingsError {}
