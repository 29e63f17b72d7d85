//! The records that list the members of fleets. Only the fast tier has these records.
//!
//! A member matters only while it is live, so the loss of these records does no lasting harm. In the durable tier, the
//! heartbeats of the instances would be most of the writes.
//!
//! If the fast tier fails, an operation on the members fails too, and the number of members is unknown. The durable
//! tier must not answer instead. If only one instance lost its connection to the fast tier, this instance would find no
//! other members in the durable tier, and its own vote would be enough to open a circuit.

use super::Tiers;
use super::settle::fast_limit;
use super::tier::{FAST, tag, tagged, untagged};
use crate::store::{Loaded, Store, StoreError, Write, Written};

impl<Fast: Store, Durable: Store> Tiers<Fast, Durable> {
    /// Loads records of members from the fast tier.
    pub(super) async fn load_members(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.check_fast()?;
        let mut loaded = self.fast.run("load", fast_limit(), self.fast.store.load_many(names)).await?;
        for entry in loaded.entries.iter_mut().flatten() {
            entry.etag = tag(FAST, &entry.etag);
        }
        Ok(loaded)
    }

    /// Writes a record of members to the fast tier.
    pub(super) async fn write_members(&self, write: &Write) -> Result<Written, StoreError> {
        self.check_fast()?;
        let write = Write { expected: write.expected.as_ref().map(|etag| untagged(etag).1), ..write.clone() };
        let writing = self.fast.store.compare_and_set(&write);
        Ok(match self.fast.run("compare_and_set", fast_limit(), writing).await? {
            Written::Applied { etag, now } => Written::Applied { etag: tag(FAST, &etag), now },
            Written::Conflict { current, now } => {
                Written::Conflict { current: current.map(|current| tagged(FAST, current)), now }
            }
        })
    }

    fn check_fast(&self) -> Result<(), StoreError> {
        if self.fast.answers() {
            return Ok(());
        }
        Err(StoreError::unavailable(format!("{} failed a moment ago", self.fast.kind())))
    }
}
