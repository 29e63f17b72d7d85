//! The commands of an instance to its fleet, which are votes, successes of health probes, leases, and the results of
//! probes.

use std::time::Duration;

use crate::state::Generation;

/// A request of one instance to change the decision of its fleet, or its own vote or lease, in the record of a circuit.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "test-util", expect(clippy::exhaustive_structs, reason = "a command is made of all its parts"))]
pub struct FleetCommand {
    /// The generation of the fleet that the instance knew. If the fleet has another generation, the command is
    /// superseded.
    pub on: Generation,
    /// The highest number that the instance has proposed for this circuit, as a generation of the fleet or as a
    /// sequence of its entry. The command gets a higher number, because an earlier proposal that got no answer can
    /// still reach a store.
    pub after: u64,
    /// The id of the instance that gives the command.
    pub instance: String,
    /// The id of the present start of the instance. If the instance has no entry in the record, its new entry gets this
    /// id.
    pub incarnation: String,
    /// True for an instance with `Sharing::Follow`. For this instance, a state that an instance published after the
    /// last decision of the fleet counts as the decision.
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
        /// The time for which the vote is valid from now on, at most 24 hours.
        lasts: Duration,
        /// The number of votes that open the fleet.
        needed: u32,
        /// The number of live instances, for the text of the reason. `None` if the number is not known.
        live: Option<u32>,
        /// The open duration. `None` if only a reset ends the opening.
        open_for: Option<Duration>,
        /// The number of openings in a row.
        attempt: u32,
        /// The reason of the opening on this instance.
        reason: String,
    },
    /// Opens the fleet without votes. The instance has added up the call counts in the fresh entries of all instances,
    /// and the sums meet a trip rule.
    Merged {
        /// The opening needs at least this number of instances whose fresh entries contain failures.
        needed: u32,
        /// An entry is fresh if less than this time has passed since the entry was written.
        window: Duration,
        /// The open duration. `None` if only a reset ends the opening.
        open_for: Option<Duration>,
        /// The number of openings in a row.
        attempt: u32,
        /// The trip rule that the sums of the call counts meet, as a sentence.
        reason: String,
    },
    /// Ends the vote of the instance.
    Withdraw,
    /// A health probe of the instance succeeded, so that the fleet becomes half-open before its open duration is over.
    Healthy,
    /// Requests the right to make one probe. The first request after the open duration begins a half-open round. A
    /// request after the round has lasted for `quiet_after` ends the round.
    Lease {
        /// The duration of the lease, at most a minute.
        lasts: Duration,
        /// The number of probes that must pass to close the fleet.
        probes: u32,
        /// The largest number of leases that may be pending at the same time.
        in_flight: u32,
        /// The number of probes that may fail without a reopening of the fleet.
        tolerated: u32,
        /// The duration after which a half-open round ends, even if too few probes passed or failed for a verdict.
        quiet_after: Duration,
        /// The longest open duration that the settings of the instance allow. After this time the fleet may become
        /// half-open even if `until` is later, because a damaged `until` in the record must not keep the fleet open.
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
        /// The number of probes that must pass to close the fleet.
        probes: u32,
    },
    /// The probe of the instance failed.
    Failed {
        /// The open duration if the fleet reopens.
        open_for: Option<Duration>,
        /// True if the instance is the only live instance.
        alone: bool,
        /// The number of probes that may fail without a reopening of the fleet.
        tolerated: u32,
    },
    /// The probe of the instance failed, and no probe of another instance passed within the confirmation delay.
    Unopposed {
        /// The open duration of the reopened fleet.
        open_for: Option<Duration>,
        /// The number of probes that may fail without a reopening of the fleet.
        tolerated: u32,
    },
    /// A probe ended without a pending lease, because its lease has expired, or because the probe was overdue and its
    /// lease was given back.
    Late {
        /// True if the probe passed.
        passed: bool,
        /// The number of probes that must pass to close the fleet.
        probes: u32,
        /// The largest number of leases that may be pending at the same time.
        in_flight: u32,
        /// The open duration if the fleet reopens.
        open_for: Option<Duration>,
        /// True if the instance is the only live instance.
        alone: bool,
        /// The number of probes that may fail without a reopening of the fleet.
        tolerated: u32,
    },
    /// Gives the lease back while its probe is still under way. The probe has taken so long that other instances may
    /// now probe, but its result will still count.
    Overdue,
    /// Gives the lease back without a result, because the probe was cancelled, the outcome of the probe was ignored, or
    /// the instance cannot use the lease.
    Returned,
}
