//! Loom models of the circuit's protocols.
