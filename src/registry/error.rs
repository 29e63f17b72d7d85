//! The error of a registry that could not return a circuit.

use std::fmt;

/// The error of a registry that could not return a circuit.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// A circuit with the name exists and has other settings.
    #[non_exhaustive]
    Different {
        /// The name of the circuit.
        name: String,
        /// The settings that differ, such as `probes is 3, requested is 7`. Each text has the name of the setting and
        /// both values, spelled as in a settings file.
        differences: Vec<String>,
    },
    /// The name begins with the prefix of a layer of keyed circuits. Only keys of that layer can have such names.
    /// Otherwise a key could have the name of an unrelated circuit of the application, and its calls would use that
    /// circuit.
    #[cfg(feature = "keyed")]
    #[non_exhaustive]
    Keyed {
        /// The name of the requested circuit.
        name: String,
        /// The prefix of the layer.
        prefix: String,
    },
    /// The registry is full.
    #[non_exhaustive]
    Full {
        /// The name of the requested circuit.
        name: String,
        /// The largest number of circuits.
        limit: usize,
    },
}

/// Writes the same sentence as `Display`, because a `main` that returns the error prints its `Debug` form.
impl fmt::Debug for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Different { name, differences } => {
                write!(f, "circuit `{name}` exists with other settings: {}", differences.join("; "))
            }
            #[cfg(feature = "keyed")]
            Self::Keyed { name, prefix } => {
                write!(
                    f,
                    "circuit `{name}` needs another name: names that begin with `{prefix}` belong to keyed circuits"
                )
            }
            Self::Full { name, limit } => {
                write!(f, "no room for circuit `{name}`: the registry holds its limit of {limit}")
            }
        }
    }
}

impl std::error::Error for RegistryError {}
