//! Why settings were refused.

use std::fmt;

use crate::keep::masked;

/// A file or the environment was refused, and with it all settings. It never shows a password of a store's address.
///
/// It says where: the file or the environment variable, the key and its value, and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    origin: String,
    key: Option<String>,
    says: String,
}

impl SettingsError {
    /// Of a file or variable as a whole.
    pub(super) fn new(origin: &str, says: impl Into<String>) -> Self {
        Self { origin: masked(origin), key: None, says: says.into() }
    }

    /// Of one key, whose path `says` spells already.
    pub(super) fn of(origin: &str, key: &str, says: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), ..Self::new(origin, says) }
    }

    /// Returns what was read: the path of a file, `the TOML text`, `the JSON text` or `environment variable …`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the path of the key that was refused, like `circuits.payments.probes`, if it is about one.
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
