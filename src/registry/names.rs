//! The names of the circuits in a registry, and the prefixes that layers of keyed circuits have reserved.
//!
//! One lock protects both lists. With two locks, a circuit could get a name while a layer reserves a prefix of that
//! name.

use std::collections::BTreeMap;
#[cfg(feature = "keyed")]
use std::ops::Bound;

use super::RegistryError;
use crate::circuit::Circuit;
use crate::config::Config;

/// The names of circuits and the reserved prefixes of a registry.
#[derive(Debug, Default)]
pub(super) struct Names {
    // The map is sorted, so that lists of circuits are sorted too.
    pub(super) circuits: BTreeMap<String, Circuit>,
    /// The reserved prefixes, one for each layer of keyed circuits.
    #[cfg(feature = "keyed")]
    pub(super) prefixes: Vec<Box<str>>,
}

impl Names {
    /// Returns the circuit that already has the name in `config`. Returns `None` if the name is free and a circuit can
    /// be added. Returns an error if the settings of the existing circuit differ, or if the name belongs to a layer of
    /// keyed circuits. Also returns an error if the name is free but the registry already has `limit` circuits.
    pub(super) fn taken(&self, config: &Config, limit: usize) -> Option<Result<Circuit, RegistryError>> {
        let name = || config.name().to_owned();
        #[cfg(feature = "keyed")]
        if let Some(prefix) = self.prefixes.iter().find(|prefix| config.name().starts_with(&***prefix)) {
            return Some(Err(RegistryError::Keyed { name: name(), prefix: prefix.to_string() }));
        }
        if let Some(circuit) = self.circuits.get(config.name()) {
            let differences = circuit.config().differences(config);
            return Some(if differences.is_empty() {
                Ok(circuit.clone())
            } else {
                Err(RegistryError::Different { name: name(), differences })
            });
        }
        (self.circuits.len() >= limit).then(|| Err(RegistryError::Full { name: name(), limit }))
    }

    /// Reserves all names that begin with `prefix`. Returns an error with the reason if a circuit has such a name. Also
    /// returns an error if a key of another layer can have such a name.
    #[cfg(feature = "keyed")]
    pub(super) fn reserve(&mut self, prefix: &str) -> Result<(), String> {
        let clashes = |other: &str| other.starts_with(prefix) || prefix.starts_with(other);
        if let Some(other) = self.prefixes.iter().find(|other| clashes(other)) {
            return Err(format!("keys of another layer have names that begin with `{other}`"));
        }
        let first = self.circuits.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next();
        if let Some((name, _)) = first.filter(|(name, _)| name.starts_with(prefix)) {
            return Err(format!("the registry has the circuit `{name}`"));
        }
        self.prefixes.push(prefix.into());
        Ok(())
    }
}
