//! The reasons for which an order is not carried out.
//!
//! A circuit, a registry and a store refuse with one type, so that no layer translates the reason of another one.

use std::fmt;
use std::time::Duration;

use super::{Brief, Generation};
use crate::pattern::LONGEST_NAME;
use crate::shown::{cut, quoted};

/// The reason why an order was not carried out. `Display` is one sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The registry has no circuit of that name.
    #[non_exhaustive]
    NoSuchCircuit {
        /// The name. Of a text that is longer than any name, only the beginning.
        name: String,
        /// The most similar name of a circuit.
        nearest: Option<String>,
    },
    /// The store has no record of that name. The name may be mistyped, or the circuit has never failed, because a
    /// circuit has no record before its first failure. [`create`](super::order::Order::create) creates the record.
    #[non_exhaustive]
    NoRecord {
        /// The name. Of a text that is longer than any name, only the beginning.
        name: String,
        /// The most similar name of a record.
        nearest: Option<String>,
    },
    /// The circuit was tripped too recently for a reset. [`force`](super::order::Order::force) skips this rule.
    #[non_exhaustive]
    Cooldown {
        /// The rest of the cooldown.
        left: Duration,
    },
    /// The circuit has changed since the operator looked.
    #[non_exhaustive]
    Stale {
        /// The latest change that the operator has seen.
        seen: Generation,
        /// The latest change.
        now: Generation,
    },
    /// The act of another operator came first. The act was undone if it had already changed the circuit in this
    /// process.
    #[non_exhaustive]
    Superseded {
        /// The act that came first.
        why: String,
    },
    /// The circuit has no override that a resume could remove.
    #[non_exhaustive]
    NothingHeld {
        /// The name of the circuit.
        name: String,
    },
    /// The circuit is closed everywhere and no operator holds it, so that a reset has nothing to change.
    #[non_exhaustive]
    NothingToReset {
        /// The name of the circuit.
        name: String,
    },
    /// The hold ended before the store could be reached. The hold applied in this process only.
    Expired,
    /// The store is down, and the outbox for rows of the audit is full. The row of the order would push out another
    /// row.
    #[non_exhaustive]
    OutboxFull {
        /// The number of waiting rows.
        rows: usize,
    },
    /// A later version of this crate wrote the record, and this version must not overwrite the record.
    #[non_exhaustive]
    Unwritable {
        /// The version of the record.
        version: u32,
    },
    /// The stored value under that name is not a record. A forget order deletes the value.
    #[non_exhaustive]
    Corrupt {
        /// The fault of the value.
        problem: String,
    },
    /// The store failed.
    #[non_exhaustive]
    Store {
        /// The error of the store.
        problem: String,
        /// True if the act may have been carried out nevertheless. The order can be given again with the same id, and
        /// is then carried out once.
        maybe_done: bool,
    },
    /// The order contradicts itself or has a value out of range.
    #[non_exhaustive]
    Invalid {
        /// The fault of the order.
        problem: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCircuit { name, nearest } => {
                write!(f, "there is no circuit `{}`", quoted(name))?;
                nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; did you mean `{}`?", quoted(nearest)))
            }
            Self::NoRecord { name, nearest } => {
                write!(f, "the store has no record of `{}`", quoted(name))?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean `{}`? A", quoted(nearest))?,
                    None => f.write_str(": a")?,
                }
                f.write_str(" circuit that has never failed has none until it is created")
            }
            Self::Cooldown { left } => write!(
                f,
                "the circuit was tripped too recently to be reset: wait {}, or force the reset if you know that the service is back",
                Brief(*left)
            ),
            Self::Stale { seen, now } => {
                write!(f, "the circuit has changed since you looked ({seen} then, {now} now): look again")
            }
            Self::Superseded { why } => write!(f, "the order was superseded: {why}"),
            Self::NothingHeld { name } => {
                write!(f, "circuit `{}` has no override, so that there is nothing to resume", quoted(name))
            }
            Self::NothingToReset { name } => {
                write!(
                    f,
                    "circuit `{}` is closed and no operator holds it, so that a reset changes nothing",
                    quoted(name)
                )
            }
            Self::Expired => {
                f.write_str("the hold ended before the store could be reached, and applied to this process only")
            }
            Self::OutboxFull { rows } => {
                write!(
                    f,
                    "the store is down and {rows} rows of the audit wait for it, so that there is no room for another row"
                )
            }
            Self::Unwritable { version } => write!(
                f,
                "the record is of version {version}, which a later release wrote, and this release must not overwrite it"
            ),
            Self::Corrupt { problem } => write!(f, "{problem}; forget the circuit to begin anew"),
            Self::Store { problem, maybe_done: false } => write!(f, "nothing was done: {problem}"),
            Self::Store { problem, maybe_done: true } => {
                write!(f, "the result of the order is unknown: {problem}; give the order again with the same id")
            }
            Self::Invalid { problem } => f.write_str(problem),
        }
    }
}

impl std::error::Error for Refused {}

/// Returns the name for a refusal. A text that is longer than any name is cut, because a request can be as long as its
/// sender wants.
pub(crate) fn bounded(name: &str) -> String {
    if name.len() <= LONGEST_NAME { name.to_owned() } else { format!("{}…", cut(name, LONGEST_NAME)) }
}
