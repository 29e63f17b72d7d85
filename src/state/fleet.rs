//! The decision of a fleet about one circuit in a few numbers, and the results of probes for a fleet.
//!
//! Decisions are made by `record`, and reach the circuit by `circuit/in_fleet.rs`. The types of this module only describe
//! them, so that a status, an event and a metric use the same words.

use super::State;

/// The decision of the fleet about one circuit, as this instance knows the decision. A circuit has a brief only under
/// `Sharing::Quorum` and `Sharing::Follow`.
///
/// The numbers can be a moment old, because each instance reads the record of the circuit from time to time.
/// `Registry::fleet` reads the record when the caller asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetBrief {
    /// The state that the fleet has decided. The circuit of this instance can have another state, because an instance whose
    /// own calls succeed declines an opening, and because an instance also opens alone.
    pub state: State,
    /// The number of votes for an opening. While the fleet is not closed, the number of votes that opened the fleet, which is
    /// zero if the counts of several instances opened the fleet together.
    pub votes: u32,
    /// The number of votes that open the fleet. While the fleet is not closed, the number that was needed for the opening.
    pub needed: u32,
    /// The number of live instances. `None` if the number is not known.
    pub live: Option<u32>,
    /// The number of instances that may make a probe, or are making a probe, in the present round.
    pub leases: u32,
    /// The number of probes that passed in the present round. The fleet closes when the number reaches the probes of the
    /// configuration.
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
    /// A lease was given back, because its probe was cancelled or ignored, or because no call came.
    Returned,
    /// A probe ended after its lease, and its result still counted.
    Late,
    /// A probe ended without a lease, because the store was away for longer than 5 s.
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
