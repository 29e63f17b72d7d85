//! The reasons for which an order of an operator is refused, each with its sentence for the operator.
//!
//! A circuit, a registry and an `Operator` refuse orders with the same type, so that no layer has to translate a
//! reason.

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
        /// The name of the circuit in the order. A name that is longer than any valid name is cut and ends with `…`.
        name: String,
        /// The most similar name of a circuit.
        nearest: Option<String>,
    },
    /// The store has no record of that name. The name may be mistyped, or the circuit has never failed. A circuit has
    /// no record before its first failure, unless [`create`](super::order::Order::create) creates the record.
    #[non_exhaustive]
    NoRecord {
        /// The name of the circuit in the order. A name that is longer than any valid name is cut and ends with `…`.
        name: String,
        /// The most similar name of a record.
        nearest: Option<String>,
    },
    /// An earlier order on this circuit has the same id, and is a different order, or may be different because its
    /// content is not known. Nothing was done. Two orders are the same if act, target, hold, user and reason are equal.
    #[non_exhaustive]
    IdUsed {
        /// The id of the order.
        id: String,
    },
    /// The circuit was tripped too recently for a reset. [`force`](super::order::Order::force) skips this rule.
    #[non_exhaustive]
    Cooldown {
        /// The remaining cooldown.
        left: Duration,
    },
    /// The circuit has changed since the latest change that the operator knew.
    #[non_exhaustive]
    Stale {
        /// The latest change that the operator has seen.
        seen: Generation,
        /// The latest change of the circuit.
        now: Generation,
    },
    /// Another act replaced this act. Either the act of another operator reached the store first, or this process made
    /// a later act before this act was stored. In the first case, a change that this act had already made in this
    /// process was undone.
    #[non_exhaustive]
    Superseded {
        /// The other act, in words.
        why: String,
    },
    /// The circuit is neither forced open, nor disabled, nor in shadow mode, so a resume has nothing to end.
    #[non_exhaustive]
    NothingHeld {
        /// The name of the circuit.
        name: String,
    },
    /// The circuit is closed on every instance and no operator holds the circuit, so a reset has nothing to
    /// change.
    #[non_exhaustive]
    NothingToReset {
        /// The name of the circuit.
        name: String,
    },
    /// The duration of the order ended before the order could be stored. The order had an effect only in this process.
    Expired,
    /// The store is down, and the outbox (the queue of audit rows for the store) is full of the rows of operators. The
    /// row of this order would displace the row of another order.
    #[non_exhaustive]
    OutboxFull {
        /// The number of audit rows of operators that wait for the store.
        rows: usize,
    },
    /// A later version of this crate wrote the record, and this version must not overwrite the record.
    #[non_exhaustive]
    Unwritable {
        /// The version of the format of the record.
        version: u32,
    },
    /// The instances use a store of two tiers, and the order would reach only one of the tiers. Such an order would
    /// have no effect now, but could affect all instances later.
    #[non_exhaustive]
    OneTier {
        /// The tiers of the instances, such as `redis in front of postgres`.
        tiers: String,
        /// The store that the order would reach.
        store: String,
    },
    /// The stored value under the name of the circuit is not a record.
    #[non_exhaustive]
    Corrupt {
        /// The problem with the value, in words.
        problem: String,
        /// True if an order to forget the circuit would delete the value. False if the store cannot read the value, for
        /// example because a link is in the place of a file.
        can_forget: bool,
    },
    /// The store failed while the order was carried out.
    #[non_exhaustive]
    Store {
        /// The error of the store, in words.
        problem: String,
        /// True if the act may have been carried out nevertheless. The operator can give the order again with
        /// the same id, and the order then takes effect only once.
        maybe_done: bool,
    },
    /// The order contradicts itself or has a value out of range.
    #[non_exhaustive]
    Invalid {
        /// The problem with the order, in words.
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
            Self::IdUsed { id } => write!(
                f,
                "nothing was done, because the id `{}` belongs to an earlier order on this circuit that is not known to have the same act, target, duration, user and reason: give this order an id of its own",
                quoted(id)
            ),
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
                    "the store is down and {rows} rows of operators wait for the audit, so that there is no room for another row"
                )
            }
            Self::Unwritable { version } => write!(
                f,
                "the record is of version {version}, which a later release wrote, and this release must not overwrite it"
            ),
            Self::OneTier { tiers, store } => write!(
                f,
                "the instances use {tiers}, and an order to {store} alone would not reach them: give the addresses of both"
            ),
            Self::Corrupt { problem, can_forget: true } => write!(f, "{problem}; forget the circuit to begin anew"),
            Self::Corrupt { problem, can_forget: false } => write!(f, "nothing was done: {problem}"),
            Self::Store { problem, maybe_done: false } => write!(f, "nothing was done: {problem}"),
            Self::Store { problem, maybe_done: true } => {
                write!(f, "the result of the order is unknown: {problem}; give the order again with the same id")
            }
            Self::Invalid { problem } => f.write_str(problem),
        }
    }
}

impl std::error::Error for Refused {}

/// Returns the name of a circuit for a refusal. A text that is longer than any valid name is cut, because a request can
/// contain a text of any length.
pub(crate) fn bounded(name: &str) -> String {
    if name.len() <= LONGEST_NAME { name.to_owned() } else { format!("{}…", cut(name, LONGEST_NAME)) }
}
