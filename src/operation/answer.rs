//! The result of an order.

use std::fmt;

use crate::state::{Generation, Transition};

/// The answer to an order that was carried out.
///
/// Its `Display` is one sentence, with the transition and the place where the order was recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Done {
    /// The transition that the order made in this process. `None` if the order was carried out before, or if this
    /// process has no circuit of that name.
    pub transition: Option<Transition>,
    /// The place where the order was recorded.
    pub kept: Kept,
}

/// The place where an order was recorded, besides the circuit itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// Only in this process, because the registry has no store. The act ends with the process.
    Nowhere,
    /// In the store. The act applies to every instance and survives a restart. Its row of the audit is written later,
    /// in the background.
    #[non_exhaustive]
    Stored {
        /// The latest number of the record that contains the act.
        generation: Generation,
    },
    /// Only in this process for now. The act already applies in this process, and is written as soon as the store can
    /// take it.
    #[non_exhaustive]
    Here {
        /// The number of circuits with a change that the store does not have yet.
        pending: usize,
        /// The reason why the act is not stored yet.
        why: String,
    },
    /// In the record, but not in the audit, because the audit could not be written. The act applies to every instance.
    /// If the order is given again with the same id, only its row of the audit is written.
    #[non_exhaustive]
    Unaudited {
        /// The latest number of the record that contains the act.
        generation: Generation,
        /// The reason why the audit could not be written.
        why: String,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transition) = &self.transition {
            write!(f, "{transition}; ")?;
        }
        self.kept.fmt(f)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("the act applies to this process only, because there is no store"),
            Self::Stored { .. } => f.write_str("the act is stored and applies to every instance"),
            Self::Here { pending, why } => {
                let circuits = if *pending == 1 { "circuit waits" } else { "circuits wait" };
                write!(
                    f,
                    "the act applies to this process and is not stored yet: {why}; {pending} {circuits} for the store"
                )
            }
            Self::Unaudited { why, .. } => {
                write!(f, "the act is stored and applies to every instance, but is not in the audit: {why}")
            }
        }
    }
}
