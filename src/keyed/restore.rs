//! The restore of keyed circuits from a store, which creates a circuit for each stored name that begins with the
//! prefix.
//!
//! The name of a keyed circuit is the prefix followed by a stem. A store can contain names that no key can produce,
//! because other services may write to the store. Therefore a stored name is checked in the same way as a key.

use std::time::Duration;

use super::Parts;
use super::circuits::{Circuits, GRAIN, Why};
use super::name::is_stem;
use super::slot::Cause;
use crate::config::LONGEST_NAME;
use crate::registry::{BroughtBack, Prefixed};

impl<F: Send + Sync> Prefixed for Parts<F> {
    fn prefix(&self) -> &str {
        &self.circuits.prefix
    }

    fn max_keys(&self) -> usize {
        self.circuits.room.lock().max
    }

    fn idle(&self) -> Duration {
        Duration::from_nanos(self.circuits.room.lock().idle << GRAIN)
    }

    fn wants(&self, name: &str) -> bool {
        self.circuits.stem(name).is_some()
    }

    fn bring_back(&self, name: &str) -> BroughtBack {
        let circuits = &self.circuits;
        let Some(stem) = circuits.stem(name) else { return BroughtBack::Present };
        match circuits.add(stem, circuits.clock.now().as_nanos() >> GRAIN, Cause::Restore) {
            Ok((circuit, true)) => BroughtBack::New(circuit),
            Ok((_, false)) => BroughtBack::Present,
            Err(Why::Full | Why::RegistryFull | Why::Config) => BroughtBack::LeftOut,
        }
    }

    fn await_restore(&self) {
        if let Some(gate) = &self.circuits.gate {
            gate.await_restore();
        }
    }

    fn restored(&self) {
        if let Some(gate) = &self.circuits.gate {
            gate.restored();
        }
    }
}

impl<F> std::fmt::Debug for Parts<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyed").field("prefix", &self.circuits.prefix).finish_non_exhaustive()
    }
}

impl Circuits {
    /// Returns the stem of a name, which is the name without the prefix. Returns `None` if no key can produce this
    /// name, or if the name already has a circuit.
    fn stem<'a>(&self, name: &'a str) -> Option<&'a str> {
        let stem = name.strip_prefix(&*self.prefix)?;
        let is_free = || !self.known.pin().contains_key(stem);
        (is_stem(stem, LONGEST_NAME - self.prefix.len()) && is_free()).then_some(stem)
    }
}
