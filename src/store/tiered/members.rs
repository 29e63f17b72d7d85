//! The records of the members of fleets, which are in the fast tier only.
//!
//! The members matter only while they are live, so the durable tier need not keep them. Otherwise the heartbeats of the
//! instances would be most of the writes of the durable tier.
//!
//! The durable tier does not replace a fast tier that fails. Otherwise, if one instance alone lost the fast tier, this
//! instance would find no other members in the durable tier, and its own vote would be enough to open a circuit.
//! Therefore the operation fails, and the number of members is unknown.

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
