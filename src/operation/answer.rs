//! What became of an order.

use std::fmt;

use crate::state::{Generation, Transition};

/// An order was carried out.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Done {
    /// The edge that it made in this process. `None`: it was carried out before, or there is no circuit here.
    pub transition: Option<Transition>,
    /// Where it is kept.
    pub kept: Kept,
}

/// Where an act is kept, beside the circuit itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// There is no store: the act ends with the process.
    Nowhere,
    /// The store has it: it binds every instance, and survives a restart. Its row of the audit follows by itself.
    #[non_exhaustive]
    Stored {
        /// The newest number of the record with it.
        generation: Generation,
    },
    /// It binds here, and waits for the store.
    #[non_exhaustive]
    Here {
        /// How many circuits have something that waits.
        pending: usize,
        /// What it waits for.
        why: String,
    },
    /// The record has it and it binds every instance, but the audit could not be written. Given again with the same id, only
    /// that is done.
    #[non_exhaustive]
    Unaudited {
        /// The newest number of the record with it.
        generation: Generation,
        /// Why not.
        why: String,
    },
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("it binds this process; there is no store"),
            Self::Stored { .. } => f.write_str("it is stored, and binds every instance"),
            Self::Here { pending, why } => {
                let circuits = if *pending == 1 { "circuit waits" } else { "circuits wait" };
                write!(f, "it binds here, and is not stored yet: {why}; {pending} {circuits} for the store")
            }
            Self::Unaudited { why, .. } => {
                write!(f, "it is stored, and binds every instance, but is not in the audit: {why}")
            }
        }
    }
}
