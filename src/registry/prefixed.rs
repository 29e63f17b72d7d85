//! The view of a registry on keyed circuits, by which a store brings back circuits before their first call.
//!
//! A key is known only when its first call comes, so that the registry alone cannot name the circuits that a restart
//! must restore. The store can. This trait lets the coordinator create the circuits of the stored names, and leaves the
//! meaning of keys, the settings and the bounds to the keyed circuits.

use std::fmt;
use std::time::Duration;

use crate::circuit::Circuit;

/// The keyed circuits of one prefix.
pub(crate) trait Prefixed: fmt::Debug + Send + Sync {
    /// Returns the beginning of the names of these circuits. Empty if the names have no common beginning.
    fn prefix(&self) -> &str;

    /// Returns the largest number of keys.
    fn max_keys(&self) -> usize;

    /// Returns the time without a call after which a key is evicted.
    fn idle(&self) -> Duration;

    /// Returns true if the name is that of a key, and the key has no circuit yet. Names come from a store, and are not
    /// trusted.
    fn wants(&self, name: &str) -> bool;

    /// Creates the circuit of a name, so that the companion of the registry restores it.
    fn bring_back(&self, name: &str) -> BroughtBack;

    /// Lets the services wait in `poll_ready` until [`restored`](Self::restored).
    fn await_restore(&self);

    /// Ends the wait of the services, with or without a restore.
    fn restored(&self);
}

/// The result of [`bring_back`](Prefixed::bring_back).
#[derive(Debug)]
pub(crate) enum BroughtBack {
    /// The circuit is new in the registry.
    New(Circuit),
    /// The registry or the key has a circuit already, or the name is not that of a key.
    Present,
    /// There is no room for the circuit, or its settings were refused.
    LeftOut,
}
