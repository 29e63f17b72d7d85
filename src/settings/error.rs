//! The error of refused settings.

use std::fmt;

use crate::keep::masked;

/// A file or the environment was refused, and with it all settings.
///
/// The error names the file or the variable, the key, its value and the allowed values. Passwords in the address of a
/// store are never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    origin: String,
    key: Option<String>,
    says: String,
}

impl SettingsError {
    /// Creates the error of a file or a variable as a whole.
    pub(super) fn new(origin: &str, says: impl Into<String>) -> Self {
        Self { origin: masked(origin), key: None, says: says.into() }
    }

    /// Creates the error of one key. `says` contains the path of the key already.
    pub(super) fn of(origin: &str, key: &str, says: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), ..Self::new(origin, says) }
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
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.says)
    }
}

impl std::error::Error for SettingsError {}
