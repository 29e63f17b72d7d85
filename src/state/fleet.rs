//! The summary of a fleet's decision about one circuit, and the results of probes in a fleet. The summary has the
//! state, and the numbers of votes and probes.
//!
//! The module `record` makes the decisions. The coordinator writes the summary (`coordinator/desk/fleet/shown.rs`), and
//! `circuit/in_fleet.rs` keeps the summary for the status and reports each change of the summary. The types of this
//! module only describe decisions and results. A status, an event and a metric use the same types.

use super::State;

/// The decision of the fleet about one circuit, as this instance knows the decision. A circuit has this summary only
/// under `Sharing::Quorum` and `Sharing::Follow`.
///
/// The numbers can be a moment old, because this instance reads the record of the circuit only at intervals.
/// `Registry::fleet` reads the record at each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetBrief {
    /// The state that the fleet has decided. The circuit of this instance can have another state. For example, an
    /// instance whose own calls succeed can stay closed while the fleet is open. An instance can also open without the
    /// fleet.
    pub state: State,
    /// The number of votes for an opening. While the fleet is not closed, this is the number of votes that opened the
    /// fleet. The number is zero if the merged evidence of several instances opened the fleet without votes.
    pub votes: u32,
    /// The number of votes that are needed to open the fleet. While the fleet is not closed, this is the number that
    /// was needed for the opening.
    pub needed: u32,
    /// The number of live instances. `None` if the number is not known.
    pub live: Option<u32>,
    /// The number of instances that may make a probe or are making a probe in the present round of probes.
    pub leases: u32,
    /// The number of probes that passed in the present round of probes. The fleet closes when this number reaches the
    /// configured number of [`probes`](crate::config::ConfigBuilder::probes).
    pub passed: u32,
}

/// The result of a probe, as the metrics of a fleet count the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FleetProbe {
    /// A probe with a lease succeeded.
    Passed,
    /// A probe with a lease failed.
    Failed,
    /// This instance gave back a lease (the right to make one probe). Either the probe was cancelled or ignored, or the
    /// instance could not use the lease.
    Returned,
    /// A probe ended after the end of its lease, and the fleet still accepted the result.
    Late,
    /// A probe that had no lease ended. For example, a half-open circuit probes without leases after more than 5 s
    /// without an answer of the store.
    Unleased,
}

impl FleetProbe {
    /// Returns the result in the spelling of a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Returned => "returned",
            Self::Late => "late",
            Self::Unleased => "unleased",
        }
    }

    /// All results.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 5] = [Self::Passed, Self::Failed, Self::Returned, Self::Late, Self::Unleased];
}
