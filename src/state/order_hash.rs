//! The hash of an order, by which a repeated order is distinguished from another order with the same id.
//!
//! The id alone is not enough, because an operator may use one ticket number for a trip and for the later resume. By
//! the id alone, the resume would look like a repetition of the trip, and would be reported as done.
//!
//! A circuit without a store compares orders too, and the default build has no SHA-256. Therefore the hash is FNV-1a
//! with 64 bits, and not the SHA-256 of `digest.rs`. FNV-1a protects operators from a mistake, but not from an attack.
//! Suppose that operator A knows in advance the id and the text of an order of operator B. Before B gives this order, A
//! can give a different order with the same id and hash. The order of B is then reported as carried out, although only
//! the order of A was carried out. This attack is accepted, because each operator may act on the circuit anyway. The
//! history names the user of the order that was carried out. The ids of audit rows use SHA-256, because two orders with
//! equal row ids would share one row.

use std::fmt;
use std::time::Duration;

use super::{Act, By, State};

/// The hash of an act with the target, the hold, the user and the reason of the act. Every version and every host
/// computes the same hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrderHash(u64);

impl OrderHash {
    /// Returns the hash of an act. The target `to` is a part of the hash only for a reset.
    pub(crate) fn new(act: Act, to: State, hold: Option<Duration>, by: &By) -> Self {
        let to = if act == Act::Reset { to.as_str() } else { "" };
        let hold = hold.map(|hold| hold.as_millis().to_string()).unwrap_or_default();
        let mut hash = OFFSET;
        for part in [act.as_str(), to, &hold, by.user(), by.reason()] {
            // A user and a reason contain no line break. Therefore a line break can separate the parts.
            for byte in part.bytes().chain([b'\n']) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
            }
        }
        Self(hash)
    }

    /// Returns the hash from its text in a record. `None` if the text is not a hash.
    #[cfg(feature = "store")]
    pub(crate) fn read(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for OrderHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The earlier order with a given id, if the circuit or the record remembers such an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// No order of this id is known.
    None,
    /// An order of this id was carried out. `None` if its hash is not known, because a release without hashes wrote the
    /// record.
    Done(Option<OrderHash>),
}

/// The result of comparing an order with the earlier order of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// No order of this id is known.
    New,
    /// The order is a repetition of the earlier order.
    Same,
    /// An earlier order has the id and another hash. Or the hash of the earlier order is not known, so that the two
    /// orders may be different.
    Other,
}

impl Earlier {
    /// Compares the order that has the hash `hash` with the earlier order of the same id.
    pub(crate) fn of(self, hash: OrderHash) -> Repetition {
        match self {
            Self::None => Repetition::New,
            Self::Done(Some(earlier)) if earlier == hash => Repetition::Same,
            Self::Done(_) => Repetition::Other,
        }
    }
}

/// The parameters of FNV-1a with 64 bits.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_order_stays_the_same_in_every_release() {
        let by = By::new("alice", "maintenance").expect("it is valid");
        let trip = OrderHash::new(Act::Trip, State::HalfOpen, Some(Duration::from_secs(600)), &by);
        assert_eq!(trip, OrderHash::new(Act::Trip, State::Closed, Some(Duration::from_secs(600)), &by));
        assert_eq!(trip.to_string(), "e0e41fbefdd7179b");
    }
}
