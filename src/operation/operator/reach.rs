//! The reach of an order, which is the number of instances that have applied the order.
//!
//! A stored order has perhaps not reached every instance. An instance perhaps uses another store, or has not polled the
//! store yet. Each instance that applies an order writes the number of the order into its entry in the record.

use std::fmt;
use std::time::Duration;

use super::Operator;
use crate::operation::Order;
use crate::record::CircuitRecord;
use crate::store::{StoreError, StoreErrorKind};

/// The number of instances that have applied an order, and the number of known instances. Returned by
/// [`Operator::reach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reach {
    /// The number of instances that have applied the latest order in the record. This is the order that was passed to
    /// [`Operator::reach`], or a later order.
    pub have: usize,
    /// The number of instances with an entry in the record, without instances that have stopped or are gone. The fleet
    /// may have more instances. An instance without failures writes its first entry when it applies an order.
    pub known: usize,
}

impl Operator {
    /// Waits until all known instances have applied an order, at most for `patience`. Returns the numbers of the last
    /// query. Returns `None` if the order is not in the record. One cause is that the record was deleted, or that later
    /// orders have removed the order from the record.
    ///
    /// If the store reports changes, the instances apply the order within a fraction of a second. With any other store,
    /// the instances apply the order at their next poll, by default up to 12 s later.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time, or if the record cannot be read
    /// ([`Corrupt`](StoreErrorKind::Corrupt)).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn reach(&self, name: &str, order: &Order, patience: Duration) -> Result<Option<Reach>, StoreError> {
        let mut seen = self.reach_now(name, order).await?;
        let complete = async {
            // An instance without an entry becomes known when it applies the order. Therefore the number of known
            // instances is complete only after a short time.
            tokio::time::sleep(SETTLES).await;
            loop {
                seen = self.reach_now(name, order).await?;
                if seen.is_none_or(|reach| reach.have == reach.known) {
                    return Ok(());
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        // After a timeout, `seen` has the numbers of the last query.
        let ended: Result<Result<(), StoreError>, _> = tokio::time::timeout(patience, complete).await;
        ended.unwrap_or(Ok(())).map(|()| seen)
    }

    async fn reach_now(&self, name: &str, order: &Order) -> Result<Option<Reach>, StoreError> {
        let (entry, now) = self.load(name).await?;
        let Some(entry) = entry else { return Ok(None) };
        let record = CircuitRecord::decode(name, &entry.bytes, now)
            .map_err(|problem| StoreError::new(StoreErrorKind::Corrupt, problem.to_string()))?;
        let has_order = |id: &String| id == order.command_id();
        let Some(operated) = record.operator.as_ref().filter(|last| last.commands.iter().any(has_order)) else {
            return Ok(None);
        };
        let living = record.instances.values().filter(|entry| !entry.is_gone(now));
        let have = living.clone().filter(|entry| entry.acts >= operated.sequence).count();
        Ok(Some(Reach { have, known: living.count() }))
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { have, known } = self;
        match (have, known) {
            (0, 0) => f.write_str("no instance was seen to have it yet"),
            (0, _) => write!(f, "none of the {known} known instances was seen to have it yet"),
            (1, 1) => f.write_str("the only known instance has it"),
            (have, known) if have == known => write!(f, "all {known} known instances have it"),
            (have, known) => {
                write!(f, "{have} of {known} known instances have it, and the others take it over with their next poll")
            }
        }
    }
}

/// The shortest time to wait for the entries of instances that have no entry yet.
const SETTLES: Duration = Duration::from_millis(500);
/// The time between two queries for the record.
const AGAIN: Duration = Duration::from_millis(50);
