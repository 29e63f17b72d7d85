//! The settings of a registry with a store, as the builder collects them.

use std::time::Duration;

use super::Sharing;
use super::membership::Quorum;
pub(super) use crate::keep::Ttl;
use crate::pattern::ByName;

/// The settings of a registry with a store.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) sharing: Sharing,
    pub(super) quorum: Quorum,
    pub(super) instance: String,
    /// The name of the fleet.
    pub(super) fleet: String,
    pub(super) first_call_waits: Duration,
    pub(super) timeout: Duration,
    pub(super) poll: Polls,
    pub(super) ttl: Ttl,
    pub(super) ttl_of: ByName<Ttl>,
    pub(super) outbox: usize,
    /// The largest number of health checks at the same time, over all health probes.
    pub(super) health_probes: u16,
    /// The retention of audit rows. `None` leaves the retention to the store.
    pub(super) audit_kept: Option<Duration>,
    pub(super) seed: Option<u64>,
}

impl Terms {
    /// Returns the times to live of a circuit's record, from the setting whose name or pattern is the most specific.
    pub(super) fn ttl(&self, circuit: &str) -> Ttl {
        self.ttl_of.get(circuit).copied().unwrap_or(self.ttl)
    }
}

/// The mean times between two polls of the record of a circuit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Polls {
    /// The interval for a circuit that is tripped or held by an operator, while no watch of the store reports changes.
    pub(super) tripped: Duration,
    /// The interval for every other circuit, while no watch of the store reports changes.
    pub(super) closed: Duration,
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use crate::coordinator::hub::Coordinator;
    use crate::registry::Registry;
    use crate::store::MemoryStore;

    use super::*;

    #[test]
    fn the_nearest_ttl_applies_name_first_then_the_longest_prefix() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let builder = Registry::builder().store(MemoryStore::new()).ttl(hours(1), hours(1));
        let builder = builder.ttl_of("host:*", hours(2), hours(2)).ttl_of("host:eu.*", hours(3), hours(3));
        let registry = builder.ttl_of("host:eu.a", hours(4), hours(4)).build().unwrap();
        let Coordinator(hub) = registry.companion().unwrap();
        for (name, expected) in [("payments", 1), ("host:us.a", 2), ("host:eu.b", 3), ("host:eu.a", 4), ("hosts", 1)] {
            assert_eq!(hub.terms.ttl(name).open, hours(expected), "{name}");
        }
    }
}
