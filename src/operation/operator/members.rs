//! The query for the members of a fleet. The members are the instances with the same store and the same fleet name.

use super::{Operator, Shown};
use crate::pattern::{RESERVED, is_reserved};
use crate::record::{CorruptRecord, Member, Timestamp, record_of};
use crate::store::StoreError;

/// The stored members of one fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// The name of the fleet.
    pub fleet: String,
    /// The instances with an entry in the record of members, sorted by id, or an error if the stored value cannot be
    /// read. When a member writes its entry, entries that are an hour old are removed.
    pub members: Result<Vec<Member>, CorruptRecord>,
    /// The time at which the members were loaded, by the clock of the store.
    pub now: Timestamp,
}

impl Operator {
    /// Loads the members of the given fleet, or of all fleets in the store if `fleet` is `None`. The result is sorted
    /// by fleet name. The result is empty if the given fleet has no members.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn members(&self, fleet: Option<&str>) -> Result<Vec<Membership>, StoreError> {
        let names = match fleet {
            Some(fleet) => vec![record_of(fleet)],
            None => self.names().await?.into_iter().filter(|name| is_reserved(name)).collect(),
        };
        Ok(self.load_all(names).await?.into_iter().map(Membership::of).collect())
    }
}

impl Membership {
    fn of(shown: Shown) -> Self {
        let Shown { name, record, now, .. } = shown;
        let members = match record {
            Ok(record) if !record.is_writable() => Err(CorruptRecord::later(&name, record.version)),
            Ok(record) => Ok(record.members(|_, entry| entry.is_live(now))),
            Err(error) => Err(error),
        };
        Self { fleet: name.strip_prefix(RESERVED).unwrap_or(&name).to_owned(), members, now }
    }
}
