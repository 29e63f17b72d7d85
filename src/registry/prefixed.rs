//! The interface by which the coordinator restores keyed circuits from a store before their first call.
//!
//! The registry learns of a key only at the first call of the key. Therefore, after a restart, only the store contains
//! the names of the keyed circuits that must be restored. This trait lets the coordinator create a circuit for a stored
//! name. The layer checks if the circuit of a key can have the name, and if there is room for the circuit. The layer
//! also chooses the settings of the circuit.

use std::fmt;
use std::time::Duration;

use crate::circuit::Circuit;

/// The keyed circuits of one layer, whose names begin with the same prefix.
pub(crate) trait Prefixed: fmt::Debug + Send + Sync {
    /// Returns the prefix with which the names of these circuits begin. No other name in the registry begins with this
    /// prefix.
    fn prefix(&self) -> &str;

    /// Returns the largest number of keys of the layer.
    fn max_keys(&self) -> usize;

    /// Returns the time without a call after which a key is evicted.
    fn idle(&self) -> Duration;

    /// Returns true if the circuit of a key can have the name and the name has no circuit yet. The name is not trusted,
    /// because it comes from a store.
    fn wants(&self, name: &str) -> bool;

    /// Creates the circuit of a stored name, and adds the circuit to the registry. The companion of the registry then
    /// restores the state of the circuit from the store.
    fn bring_back(&self, name: &str) -> BroughtBack;

    /// Makes the services of the layer wait in `poll_ready` until [`restored`](Self::restored) is called.
    fn await_restore(&self);

    /// Ends the wait of the services, even if some circuits could not be restored.
    fn restored(&self);
}

/// The result of [`bring_back`](Prefixed::bring_back).
#[derive(Debug)]
pub(crate) enum BroughtBack {
    /// The circuit was created and added to the registry.
    New(Circuit),
    /// A circuit with this name exists already, or no key leads to this name.
    Present,
    /// There is no room for the circuit, or its settings were refused.
    LeftOut,
}
