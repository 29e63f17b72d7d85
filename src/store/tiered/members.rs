//! The records of the members of fleets, which are in the fast tier only.
//!
//! Members are of the present, so that the durable tier need not keep them, and a heartbeat of each instance would be most of
//! its writes. The durable tier does not stand in for a fast tier that fails. If only some of the instances reached the fast
//! tier, each part of the fleet would find itself alone, and would need one vote. An error makes the members unknown instead.

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
