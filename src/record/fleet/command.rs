//! The commands of an instance to its fleet: votes, reports of successful health probes, requests for leases, and the
//! results of probes.

use std::time::Duration;

use crate::state::Generation;

/// A request of one instance to change the record of a circuit. The request changes the decision of the fleet, or the
/// vote or the lease of the instance.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "test-util", expect(clippy::exhaustive_structs, reason = "a command is made of all its parts"))]
pub struct FleetCommand {
    /// The generation of the fleet that the instance knew when it gave the command. If the fleet in the record has a
    /// different generation, the command is refused as superseded.
    pub on: Generation,
    /// The highest generation or sequence that the instance has proposed for this circuit so far. The command uses
    /// higher numbers, because an earlier proposal without an answer can still reach the store, and two changes must
    /// not have the same number.
    pub after: u64,
    /// The id of the instance that gives the command.
    pub instance: String,
    /// The id that the instance got when it last started. If the instance has no entry in the record, its new entry
    /// gets this id.
    pub incarnation: String,
    /// True if the instance has `Sharing::Follow`. If one instance has published a state after the last decision of the
    /// fleet, a command with `follows` treats this state as the decision.
    pub follows: bool,
    /// The requested change.
    pub change: FleetChange,
}

/// The change that a [`FleetCommand`] requests. Its guards and effects are in `fleet/rules.rs`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FleetChange {
    /// Votes for an opening of the fleet, after the instance's own calls have opened its circuit. Enough votes open the
    /// fleet.
    Vote {
        /// The duration of the vote from now on, at most 24 hours.
        lasts: Duration,
        /// The number of votes that open the fleet.
        needed: u32,
        /// The number of live instances, for the text of the reason. `None` if the number is unknown.
        live: Option<u32>,
        /// The open duration of the fleet. `None` if the fleet stays open until a reset.
        open_for: Option<Duration>,
        /// The number of openings in a row, including this opening. The open duration can grow with this number.
        attempt: u32,
        /// The reason of the opening on this instance.
        reason: String,
    },
    /// Opens the fleet without votes. The instance has added up the call counts in the fresh entries of all instances,
    /// and the sums meet a trip rule.
    Merged {
        /// The fleet opens only if at least this number of fresh entries have failures.
        needed: u32,
        /// An entry is fresh if the instance wrote the entry less than this time ago.
        window: Duration,
        /// The open duration of the fleet. `None` if the fleet stays open until a reset.
        open_for: Option<Duration>,
        /// The number of openings in a row, including this opening. The open duration can grow with this number.
        attempt: u32,
        /// The trip rule that is met by the sums of the call counts in the fresh entries, as a sentence.
        reason: String,
    },
    /// Ends the vote of the instance.
    Withdraw,
    /// Reports that a health probe of the instance succeeded. The fleet becomes half-open before its open duration is
    /// over.
    Healthy,
    /// Requests the right to make one probe. When the open duration is over, the first request begins a half-open
    /// round. When the round has lasted for `quiet_after`, the next request ends the round.
    Lease {
        /// The duration of the lease, at most a minute.
        lasts: Duration,
        /// The fleet closes after this number of passed probes.
        probes: u32,
        /// The largest number of leases that may be pending at the same time.
        in_flight: u32,
        /// The number of failed probes in a round that the settings tolerate. An instance whose probe failed gets a
        /// further lease in the round only if no more than this number of probes have failed in the round.
        tolerated: u32,
        /// The duration after which a half-open round ends, even if too few probes passed or failed for a verdict.
        quiet_after: Duration,
        /// The longest open duration that the settings of the instance allow. After this time the fleet may become
        /// half-open even if its `until` is later. Otherwise a damaged `until` in the record could keep the fleet open.
        longest: Duration,
        /// The open duration if this request reopens the fleet at the end of a round.
        open_for: Option<Duration>,
    },
    /// Extends the lease of the instance while its probe is under way.
    Renew {
        /// The duration of the lease from now on, at most a minute.
        lasts: Duration,
    },
    /// The probe of the instance passed.
    Passed {
        /// The fleet closes after this number of passed probes.
        probes: u32,
    },
    /// The probe of the instance failed.
    Failed {
        /// The open duration if the fleet reopens.
        open_for: Option<Duration>,
        /// True if the instance is the only live instance of the fleet. Then its failed probes alone can reopen the
        /// fleet.
        alone: bool,
        /// A failed probe can reopen the fleet only if more than this number of probes have failed in the round.
        tolerated: u32,
    },
    /// Reopens the fleet. The probe of the instance failed at least a second ago, and no probe of another instance has
    /// passed in the round.
    Unopposed {
        /// The open duration of the reopened fleet.
        open_for: Option<Duration>,
        /// A failed probe can reopen the fleet only if more than this number of probes have failed in the round.
        tolerated: u32,
    },
    /// The probe of the instance ended after its lease had expired, or after the instance had given the lease back as
    /// overdue.
    Late {
        /// True if the probe passed.
        passed: bool,
        /// The fleet closes after this number of passed probes.
        probes: u32,
        /// The largest number of leases that may be pending at the same time.
        in_flight: u32,
        /// The open duration if the fleet reopens.
        open_for: Option<Duration>,
        /// True if the instance is the only live instance of the fleet. Then its failed probes alone can reopen the
        /// fleet.
        alone: bool,
        /// A failed probe can reopen the fleet only if more than this number of probes have failed in the round.
        tolerated: u32,
    },
    /// Gives the lease back, because the probe takes too long. Other instances may now probe, but the result of this
    /// probe will still count.
    Overdue,
    /// Gives the lease back without a result. The probe was cancelled, its outcome was ignored, or the instance cannot
    /// use the lease.
    Returned,
}
