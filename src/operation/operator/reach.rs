//! The reach of an order, which is the number of instances that have applied its act, according to their entries in the
//! record.
//!
//! A stored act says nothing about the instances, because an instance may use another store, or may not have polled
//! yet. Each instance that applies an act writes the number of the act into its entry.

use std::fmt;
use std::time::Duration;

use super::Operator;
use crate::operation::Order;
use crate::record::CircuitRecord;
use crate::store::{StoreError, StoreErrorKind};

/// The number of instances that have applied the act of an order, and the number of known instances. Returned by
/// [`Operator::reach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reach {
    /// The number of instances whose entry names the last act of the record, which is the act of the order or a later
    /// act.
    pub have: usize,
    /// The number of instances with an entry in the record, except instances that are gone. An instance whose circuit
    /// never failed has no entry before it applies an act, so the fleet may be larger.
    pub known: usize,
}

impl Operator {
    /// Waits until the known instances have applied the act of an order, at most for `patience`, and returns the last
    /// loaded reach. Returns `None` if the record does not have the order, for example because later acts or a deletion
    /// have removed the order.
    ///
    /// If the store reports changes, the instances apply the act within a fraction of a second. Otherwise the instances
    /// apply the act at their next poll, which is up to 12 s later by default.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time, and of the kind
    /// [`Corrupt`](StoreErrorKind::Corrupt) if the record cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn reach(&self, name: &str, order: &Order, patience: Duration) -> Result<Option<Reach>, StoreError> {
        let mut seen = self.reach_now(name, order).await?;
        let complete = async {
            // An instance without an entry is known only after it has applied the act. Therefore the count is complete
            // only after a short time.
            tokio::time::sleep(SETTLES).await;
            loop {
                seen = self.reach_now(name, order).await?;
                if seen.is_none_or(|reach| reach.have == reach.known) {
                    return Ok(());
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        // If `patience` has passed, the last loaded reach is returned.
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

/// The shortest wait for instances that have no entry yet.
const SETTLES: Duration = Duration::from_millis(500);
/// The time between two loads of the record.
const AGAIN: Duration = Duration::from_millis(50);
