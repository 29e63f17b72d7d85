//! Why an edge was taken, with the numbers that decided it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Brief, By, Percent};

/// Why a circuit changed.
///
/// `Display` is half a sentence that fits behind "because": `failures weighed 12.0 in 25 calls: 48 %, the limit is 40 %`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the numbers that the variant's first line names")]
pub enum Reason {
    /// The run of consecutive failures reached its limit.
    ConsecutiveFailures { score: f64, limit: f64 },
    /// The share of weighted failures in the window reached its limit.
    FailureRate { rate: f64, limit: f64, score: f64, calls: u64 },
    /// The sum of the weights in the window reached its limit.
    FailureScore { score: f64, limit: f64, calls: u64 },
    /// The share of slow calls in the window reached its limit.
    SlowCallRate { rate: f64, limit: f64, slow: u64, calls: u64, slower_than: Duration },
    /// More probes failed than are tolerated.
    ProbeFailed { failures: u32, tolerated: u32, successes: u32 },
    /// A probe did not end within the probe deadline.
    ProbeOverdue { age: Duration, deadline: Duration },
    /// Half-open for the length of the probe deadline without a verdict: probes were cancelled or ignored.
    NoVerdict { half_open_for: Duration },
    /// Enough probes succeeded.
    ProbesPassed { successes: u32, half_open_for: Duration },
    /// Too quiet a service to fill the probes: some succeeded, none failed, for long enough.
    QuietService { successes: u32, half_open_for: Duration },
    /// The open duration is over.
    WaitElapsed { waited: Duration },
    /// A hold with an end is over.
    HoldEnded { held: Duration },
    /// An operator acted.
    Operator { act: Act, by: Arc<By> },
    /// The state was restored from a store.
    Restored,
    /// Another instance's newer state was followed.
    Followed,
    /// A rule was met whose thresholds were lowered, as another instance opened ([`advise`](crate::Circuit::advise)).
    Advised { rule: Arc<Self> },
    /// The environment's kill switch names this circuit.
    KillSwitch,
}

impl Reason {
    /// Returns the reason as a metric label.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ConsecutiveFailures { .. } => "consecutive_failures",
            Self::FailureRate { .. } => "failure_rate",
            Self::FailureScore { .. } => "failure_score",
            Self::SlowCallRate { .. } => "slow_call_rate",
            Self::ProbeFailed { .. } => "probe_failed",
            Self::ProbeOverdue { .. } => "probe_overdue",
            Self::NoVerdict { .. } => "no_verdict",
            Self::ProbesPassed { .. } => "probes_passed",
            Self::QuietService { .. } => "quiet_service",
            Self::WaitElapsed { .. } => "wait_elapsed",
            Self::HoldEnded { .. } => "hold_ended",
            Self::Operator { .. } => "operator",
            Self::Restored => "restored",
            Self::Followed => "followed",
            Self::Advised { .. } => "advised",
            Self::KillSwitch => "kill_switch",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures { score, limit } => {
                write!(f, "failures in a row weighed {score:.1}, the limit is {limit:.1}")
            }
            Self::FailureRate { rate, limit, score, calls } => {
                let (rate, limit) = (Percent(*rate), Percent(*limit));
                write!(f, "failures weighed {score:.1} in {calls} calls: {rate}, the limit is {limit}")
            }
            Self::FailureScore { score, limit, calls } => {
                write!(f, "failures weighed {score:.1} in {calls} calls, the limit is {limit:.1}")
            }
            Self::SlowCallRate { rate, limit, slow, calls, slower_than } => {
                let (rate, limit, slower_than) = (Percent(*rate), Percent(*limit), Brief(*slower_than));
                write!(f, "{slow} of {calls} calls took {slower_than} or more: {rate}, the limit is {limit}")
            }
            Self::ProbeFailed { failures, tolerated, successes } => match (failures, tolerated) {
                (1, 0) => f.write_str("a probe failed"),
                _ => {
                    let probes = failures.saturating_add(*successes);
                    write!(f, "{failures} of {probes} probes failed, {tolerated} are tolerated")
                }
            },
            Self::ProbeOverdue { age, deadline } => {
                write!(f, "a probe took {} or more, the limit is {}", Brief(*age), Brief(*deadline))
            }
            Self::NoVerdict { half_open_for } => {
                write!(f, "probes came to no verdict in {}: they were cancelled or ignored", Brief(*half_open_for))
            }
            Self::ProbesPassed { successes, half_open_for } => {
                let probes = if *successes == 1 { "probe" } else { "probes" };
                write!(f, "{successes} {probes} succeeded within {}", Brief(*half_open_for))
            }
            Self::QuietService { successes, half_open_for } => {
                write!(f, "no probe failed in {}, {successes} succeeded", Brief(*half_open_for))
            }
            Self::WaitElapsed { waited } => write!(f, "it was open for {}", Brief(*waited)),
            Self::HoldEnded { held } => write!(f, "the hold ended after {}", Brief(*held)),
            Self::Operator { act, by } => write!(f, "{act} by {by}"),
            Self::Restored => f.write_str("restored from the store"),
            Self::Followed => f.write_str("another instance's newer state was followed"),
            Self::Advised { rule } => write!(f, "{rule}, thresholds lowered because another instance opened"),
            Self::KillSwitch => f.write_str("CIRCUIT_BREAKER_DISABLED names it"),
        }
    }
}

/// Why a call was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The circuit is open, or was forced open.
    Tripped,
    /// The circuit is half-open and its probes are taken.
    HalfOpen,
    /// The circuit would have let the call through, but the machine is busy and the operation heavy.
    LoadShed,
}

impl RejectReason {
    /// Returns the reason as a metric label: `tripped`, `half_open` or `load_shed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tripped => "tripped",
            Self::HalfOpen => "half_open",
            Self::LoadShed => "load_shed",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an operator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Act {
    /// Forced the circuit open.
    Trip,
    /// Ended every hold and closed the circuit, or let it probe.
    Reset,
    /// Let every call through, uncounted.
    Disable,
    /// Ended a hold; the state beneath decides again.
    Resume,
    /// Let every call through, and reported what would have been rejected.
    Shadow,
    /// Let it begin anew, and what is kept of it be deleted.
    Forget,
}

impl Act {
    /// Returns the act as records and the audit spell it: `trip`, `reset`, `disable`, `resume`, `shadow` or
    /// `forget`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trip => "trip",
            Self::Reset => "reset",
            Self::Disable => "disable",
            Self::Resume => "resume",
            Self::Shadow => "shadow",
            Self::Forget => "forget",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trip => "tripped",
            Self::Reset => "reset",
            Self::Disable => "disabled",
            Self::Resume => "resumed",
            Self::Shadow => "put in shadow",
            Self::Forget => "forgotten",
        })
    }
}
