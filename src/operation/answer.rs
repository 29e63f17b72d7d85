//! The result of an order of an operator, with the place where the order is stored.

use std::fmt;

use crate::state::{Generation, Transition};

/// The result of an order that was carried out.
///
/// The `Display` text is one sentence, with the transition and the place where the order is stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Done {
    /// The transition that the order has caused in this process. `None` if the order was carried out before, or if an
    /// `Operator` has written the order to a store.
    pub transition: Option<Transition>,
    /// The place where the order is stored.
    pub kept: Kept,
    /// True if the same order was carried out before. The order was then not carried out again. A later order may have
    /// changed the circuit since.
    pub repeated: bool,
}

/// The place where an order is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// The order is not stored, because the registry has no store. The effect of the order ends with the process.
    Nowhere,
    /// The order is in the record of the circuit in the store, and in the audit. The order survives a restart. The
    /// other instances apply the order at once if the store reports changes. With any other store, they apply the order
    /// at their next poll.
    #[non_exhaustive]
    Stored {
        /// The number of the latest change in the record at the time when the order was found to be stored. Usually the
        /// order itself is this change.
        generation: Generation,
    },
    /// The order is not stored yet. The order already has its effect in this process. The registry stores the order as
    /// soon as the store works again.
    #[non_exhaustive]
    Here {
        /// The number of circuits with changes that are not stored yet.
        pending: usize,
        /// The reason why the order is not stored yet.
        why: String,
    },
    /// The order is in the record of the circuit in the store. The order is not in the audit yet, because the audit
    /// could not be written in time. The order survives a restart, and the other instances apply the order. The
    /// registry or another instance writes the row of the audit later. If the order is given again with the same id,
    /// only the row is written.
    #[non_exhaustive]
    Unaudited {
        /// The number of the latest change in the record at the time when the order was found to be stored. Usually the
        /// order itself is this change.
        generation: Generation,
        /// The reason why the audit could not be written.
        why: String,
    },
    /// The order is in the cache of a [`TieredStore`](../store/struct.TieredStore.html), but the order or its row of
    /// the audit is perhaps missing in the durable tier. Instances that use the cache apply the order. The order and
    /// the row are copied as soon as the durable tier answers. Until then, the order is lost if the cache loses its
    /// data.
    #[non_exhaustive]
    Cached {
        /// The number of the latest change in the record at the time when the order was found to be stored. Usually the
        /// order itself is this change.
        generation: Generation,
        /// The kind of store that is the durable tier, such as `postgres`.
        durable: &'static str,
        /// The reason why the durable tier perhaps lacks the order or its row of the audit.
        why: String,
    },
}

#[cfg(feature = "store")]
impl Kept {
    /// Returns the place where an order is stored, after the record with the order was written. `lacking` is the tier
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
