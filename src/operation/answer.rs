//! The answer to an order of an operator, and the place where the order was recorded.

use std::fmt;

use crate::state::{Generation, Transition};

/// The answer to an order that was carried out.
///
/// Its `Display` is one sentence, with the transition and the place where the order was recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Done {
    /// The transition that the order made in this process. `None` if the order was carried out before, or if an
    /// `Operator` has written the order to a store.
    pub transition: Option<Transition>,
    /// The place where the order was recorded.
    pub kept: Kept,
    /// True if the same order was carried out before, so that nothing was done now. Since then, another act may have
    /// changed the circuit.
    pub repeated: bool,
}

/// The place where an order was recorded, besides the circuit itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// The order is recorded only in this process, because the registry has no store. The effect of the order ends with
    /// the process.
    Nowhere,
    /// The order is in the record of the store, and has a row in the audit. Both survive a restart. The other instances
    /// apply the act at once if the store reports changes, and at their next poll otherwise.
    #[non_exhaustive]
    Stored {
        /// The number of the latest change in the record, after the act was recorded.
        generation: Generation,
    },
    /// The order is recorded only in this process for now. The act already applies in this process, and is written as
    /// soon as the store can take it.
    #[non_exhaustive]
    Here {
        /// The number of circuits with a change that the store does not have yet.
        pending: usize,
        /// The reason why the act is not stored yet.
        why: String,
    },
    /// The order is in the record of the store, but not in the audit yet, because the audit could not be written in
    /// time. The record survives a restart, and the other instances apply the act. The registry writes the row of the
    /// audit later, and so does an instance that applies the act. If the order is given again with the same id, only
    /// the row is written.
    #[non_exhaustive]
    Unaudited {
        /// The number of the latest change in the record, after the act was recorded.
        generation: Generation,
        /// The reason why the audit could not be written.
        why: String,
    },
    /// The order is only in the cache of a [`TieredStore`](../store/struct.TieredStore.html). Instances that use the
    /// cache apply the act, but the durable tier has perhaps neither the act nor its row of the audit. Both are copied
    /// when the durable tier answers. Until then a loss of the cache loses the act.
    #[non_exhaustive]
    Cached {
        /// The number of the latest change in the record, after the act was recorded.
        generation: Generation,
        /// The kind of the store that is the durable tier.
        durable: &'static str,
        /// The reason why the durable tier does not have the act.
        why: String,
    },
}

#[cfg(feature = "store")]
impl Kept {
    /// Returns the place where an act was recorded, for an act that is in a record of the store. `lacking` is the tier
    /// that does not have the record, or `None` if every tier has the record. `row` is the result of writing the row of
    /// the audit.
    pub(super) fn of(generation: Generation, lacking: Option<&'static str>, row: Result<(), String>) -> Self {
        match (lacking, row) {
            (None, Ok(())) => Self::Stored { generation },
            (None, Err(why)) => Self::Unaudited { generation, why },
            (Some(durable), row) => {
                let why = row.err().unwrap_or_else(|| "the record could not be copied yet".to_owned());
                Self::Cached { generation, durable, why }
            }
        }
    }
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
            Self::Stored { .. } => f.write_str("the act is stored, with its row of the audit"),
            Self::Here { pending, why } => {
                let circuits = if *pending == 1 { "circuit waits" } else { "circuits wait" };
                write!(
                    f,
                    "the act applies to this process and is not stored yet: {why}; {pending} {circuits} for the store"
                )
            }
            Self::Unaudited { why, .. } => {
                write!(f, "the act is stored, but its row of the audit is not: {why}")
            }
            Self::Cached { durable, why, .. } => {
                write!(
                    f,
                    "the act is in the cache only, and {durable} may lack the act and its row of the audit: {why}"
                )
            }
        }
    }
}
