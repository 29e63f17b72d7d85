//! The reasons for which an order is not carried out.
//!
//! A circuit, a registry and a store refuse with one type, so that no layer translates the reason of another one.

use std::fmt;
use std::time::Duration;

use super::{Brief, Generation};

/// An order was not carried out. Each is one sentence for a person, in `Display`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// There is no circuit of that name.
    #[non_exhaustive]
    NoSuchCircuit {
        /// The name.
        name: String,
        /// The one that was perhaps meant.
        nearest: Option<String>,
    },
    /// The store has no record of that name, so nobody knows whether there is such a circuit: one that has never failed has
    /// none. [`create`](super::order::Order::create) makes it.
    #[non_exhaustive]
    NoRecord {
        /// The name.
        name: String,
        /// The one that was perhaps meant.
        nearest: Option<String>,
    },
    /// It is too early to reset: [`force`](super::order::Order::force) would.
    #[non_exhaustive]
    Cooldown {
        /// How long it is still refused.
        left: Duration,
    },
    /// Something has happened since what the operator has seen.
    #[non_exhaustive]
    Stale {
        /// What was the latest then.
        seen: Generation,
        /// What is now.
        now: Generation,
    },
    /// Another operator's act was there first. What was done here until that was known is undone.
    #[non_exhaustive]
    Superseded {
        /// By which.
        why: String,
    },
    /// There is no override to take away.
    #[non_exhaustive]
    NothingHeld {
        /// The circuit.
        name: String,
    },
    /// The circuit is closed everywhere and no operator holds it, so that a reset has nothing to change.
    #[non_exhaustive]
    NothingToReset {
        /// The circuit.
        name: String,
    },
    /// The hold was over before the store could be reached; it bound here.
    Expired,
    /// The store is away, and so many rows of the audit wait for it that this one would push out another.
    #[non_exhaustive]
    OutboxFull {
        /// How many rows wait.
        rows: usize,
    },
    /// The record is of a later version of this crate, and is not written over.
    #[non_exhaustive]
    Unwritable {
        /// The version.
        version: u32,
    },
    /// What the store holds under that name is no record. It can be forgotten.
    #[non_exhaustive]
    Corrupt {
        /// What is wrong with it.
        problem: String,
    },
    /// The store did not do it.
    #[non_exhaustive]
    Store {
        /// Why.
        problem: String,
        /// Whether it may have been done all the same: given again with the same id, it is done once.
        maybe_done: bool,
    },
    /// The order makes no sense as it was said.
    #[non_exhaustive]
    Invalid {
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCircuit { name, nearest } => {
                write!(f, "there is no circuit `{}`", name.escape_debug())?;
                nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; did you mean `{}`?", nearest.escape_debug()))
            }
            Self::NoRecord { name, nearest } => {
                write!(f, "the store has no record of `{}`", name.escape_debug())?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean `{}`? A", nearest.escape_debug())?,
                    None => f.write_str(": a")?,
                }
                f.write_str(" circuit that has never failed has none until it is created")
            }
            Self::Cooldown { left } => write!(
                f,
                "it was tripped too short a time ago to be reset: wait {}, or force it if you know that the service is back",
                Brief(*left)
            ),
            Self::Stale { seen, now } => {
                write!(f, "the circuit has changed since you looked ({seen} then, {now} now): look again")
            }
            Self::Superseded { why } => write!(f, "it was overtaken: {why}"),
            Self::NothingHeld { name } => {
                write!(f, "no override lies over `{}`: there is nothing to resume", name.escape_debug())
            }
            Self::NothingToReset { name } => {
                write!(
                    f,
                    "circuit `{}` is closed and no operator holds it, so that a reset changes nothing",
                    name.escape_debug()
                )
            }
            Self::Expired => {
                f.write_str("its time was over before the store could be reached; it bound here meanwhile")
            }
            Self::OutboxFull { rows } => {
                write!(f, "the store is away and {rows} rows of the audit wait for it: there is no room for another")
            }
            Self::Unwritable { version } => write!(
                f,
                "the record is of version {version}, which a later release wrote: this one must not write over it"
            ),
            Self::Corrupt { problem } => write!(f, "{problem}; forget it to begin anew"),
            Self::Store { problem, maybe_done: false } => write!(f, "nothing was done: {problem}"),
            Self::Store { problem, maybe_done: true } => {
                write!(f, "nobody knows whether it was done: {problem}; give it again with the same id")
            }
            Self::Invalid { problem } => f.write_str(problem),
        }
    }
}

impl std::error::Error for Refused {}
