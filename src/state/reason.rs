//! The reasons of transitions and of rejections, and the kinds of operators' acts ([`Act`]). A reason has its numbers
//! and its sentence.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Brief, By, Percent};

/// The cause of a transition.
///
/// `Display` prints words that can follow "because", as in `failures weighed 12.0 in 25 calls: 48 %, the
/// limit is 40 %`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the numbers that the variant's first line names")]
pub enum Reason {
    /// The weight of the failures since the last success reached `limit`. `set` is the configured limit. `limit` is
    /// higher than `set` if the limit was raised to `min_calls`. By default, the limit is raised while the window has
    /// at least `min_calls` calls, because a few failures among many calls can be chance. `limit` is lower than `set`
    /// if advice or a ramp lowered the limit.
    ConsecutiveFailures { score: f64, limit: f64, set: f64 },
    /// The weight of the failures, as a share of the calls in the window, reached its limit.
    FailureRate { rate: f64, limit: f64, score: f64, calls: u64 },
    /// The sum of the weights of the failures in the window reached its limit.
    FailureScore { score: f64, limit: f64, calls: u64 },
    /// The share of slow calls in the window reached its limit. `slow` and `calls` include the `hanging` calls, which
    /// had been under way for `slower_than` or longer and had not ended.
    SlowCallRate { rate: f64, limit: f64, slow: u64, calls: u64, slower_than: Duration, hanging: u32 },
    /// The circuit had closed without a verdict of its probes. Then failures reached a total weight of at least 0.5
    /// before any call succeeded.
    Unproven { score: f64 },
    /// One failure opened the circuit or made an opening longer, because the failure was marked
    /// with [`trips_at_once`](crate::Failure::trips_at_once).
    AtOnce,
    /// More probes failed than the settings tolerate, or one probe failed with a failure that [trips at
    /// once](crate::Failure::trips_at_once).
    ProbeFailed { failures: u32, tolerated: u32, successes: u32 },
    /// A half-open circuit opened again, because no probe succeeded in time and a probe is overdue.
    NoSuccess { half_open_for: Duration },
    /// The probes gave no verdict in time, because probes were cancelled, ignored or overdue. The circuit closes if no
    /// probe failed. Otherwise the circuit opens again.
    NoVerdict { half_open_for: Duration },
    /// Enough probes succeeded to close the circuit.
    ProbesPassed { successes: u32, half_open_for: Duration },
    /// The circuit was half-open for `quiet_after`. At least one probe succeeded and no probe failed, but the
    /// service has too few calls for more probes.
    QuietService { successes: u32, half_open_for: Duration },
    /// The open duration has passed, so the circuit begins to probe.
    WaitElapsed { waited: Duration },
    /// A health probe succeeded while the circuit was open, so the circuit begins to probe.
    HealthProbe { waited: Duration },
    /// The time of a hold has passed.
    HoldEnded { held: Duration },
    /// An operator changed the circuit.
    Operator { act: Act, by: Arc<By> },
    /// The state was restored from a store.
    Restored,
    /// Under `Sharing::Follow`, this instance took over a newer state that an instance without a fleet published.
    Followed,
    /// This instance adopted a decision of its fleet. The transition has the text of the decision in
    /// [`earlier`](super::Transition::earlier).
    Fleet,
    /// The calls met a trip rule with lowered limits, so the circuit opened. The limits were lowered because another
    /// instance opened its circuit ([`advise`](crate::Circuit::advise)).
    Advised { rule: Arc<Self> },
    /// The calls met a trip rule with lowered limits, so the circuit opened. The limits were lowered because the
    /// circuit had closed a moment ago and was still in its [ramp](crate::config::ConfigBuilder::ramp).
    Relapsed { rule: Arc<Self> },
    /// The kill switch `CIRCUIT_BREAKER_DISABLED` names this circuit.
    KillSwitch,
}

impl Reason {
    /// Returns the reason in the spelling of a metric label.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ConsecutiveFailures { .. } => "consecutive_failures",
            Self::FailureRate { .. } => "failure_rate",
            Self::FailureScore { .. } => "failure_score",
            Self::SlowCallRate { .. } => "slow_call_rate",
            Self::Unproven { .. } => "unproven",
            Self::AtOnce => "at_once",
            Self::ProbeFailed { .. } => "probe_failed",
            Self::NoSuccess { .. } => "no_success",
            Self::NoVerdict { .. } => "no_verdict",
            Self::ProbesPassed { .. } => "probes_passed",
            Self::QuietService { .. } => "quiet_service",
            Self::WaitElapsed { .. } => "wait_elapsed",
            Self::HealthProbe { .. } => "health_probe",
            Self::HoldEnded { .. } => "hold_ended",
            Self::Operator { .. } => "operator",
            Self::Restored => "restored",
            Self::Followed => "followed",
            Self::Fleet => "fleet",
            Self::Advised { .. } => "advised",
            Self::Relapsed { .. } => "relapsed",
            Self::KillSwitch => "kill_switch",
        }
    }
}

impl Reason {
    /// Adds the time before the last transition to the durations of the reason, because the present state or the
    /// present hold (a forced-open or disabled mode) may have begun before that transition. The durations then begin
    /// with the state or with the hold. `state` is the time for which the present state had already lasted at the last
    /// transition, and `hold` is the time for which the present hold had already lasted.
    pub(crate) fn counted_from_the_begin(mut self, state: Duration, hold: Duration) -> Self {
        match &mut self {
            Self::NoSuccess { half_open_for: lasted }
            | Self::NoVerdict { half_open_for: lasted }
            | Self::ProbesPassed { half_open_for: lasted, .. }
            | Self::QuietService { half_open_for: lasted, .. }
            | Self::WaitElapsed { waited: lasted }
            | Self::HealthProbe { waited: lasted } => *lasted = lasted.saturating_add(state),
            Self::HoldEnded { held } => *held = held.saturating_add(hold),
            Self::ConsecutiveFailures { .. }
            | Self::FailureRate { .. }
            | Self::FailureScore { .. }
            | Self::SlowCallRate { .. }
            | Self::Unproven { .. }
            | Self::AtOnce
            | Self::ProbeFailed { .. }
            | Self::Operator { .. }
            | Self::Restored
            | Self::Followed
            | Self::Fleet
            | Self::Advised { .. }
            | Self::Relapsed { .. }
            | Self::KillSwitch => {}
        }
        self
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures { score, limit, set } => {
                write!(f, "failures in a row weighed {score:.1}, the limit is {limit:.1}")?;
                match limit.total_cmp(set) {
                    Ordering::Greater => write!(f, " while the window has min_calls or more, and otherwise {set:.1}"),
                    Ordering::Less => write!(f, ", lowered from {set:.1}"),
                    // The weight is over the limit by 1.0 or more, and one failure weighs at most 1.0. Therefore the
                    // circuit did not open when the weight first reached this limit. Either the limit was higher then,
                    // or a group suppressed the opening.
                    Ordering::Equal if *score >= *limit + 1.0 => f.write_str(" now"),
                    Ordering::Equal => Ok(()),
                }
            }
            Self::FailureRate { rate, limit, score, calls } => {
                let (rate, limit) = (Percent(*rate), Percent(*limit));
                write!(f, "failures weighed {score:.1} in {calls} calls: {rate}, the limit is {limit}")
            }
            Self::FailureScore { score, limit, calls } => {
                write!(f, "failures weighed {score:.1} in {calls} calls, the limit is {limit:.1}")
            }
            Self::SlowCallRate { rate, limit, slow, calls, slower_than, hanging } => {
                let (rate, limit, slower_than) = (Percent(*rate), Percent(*limit), Brief(*slower_than));
                write!(f, "{slow} of {calls} calls took {slower_than} or more")?;
                match hanging {
                    0 => {}
                    1 => f.write_str(", 1 of them is still under way")?,
                    _ => write!(f, ", {hanging} of them are still under way")?,
                }
                write!(f, ": {rate}, the limit is {limit}")
            }
            Self::Unproven { score } => write!(
                f,
                "failures weighed {score:.1} before any success, and the circuit had closed without a verdict of its probes"
            ),
            Self::AtOnce => f.write_str("a failure asked for no more calls"),
            Self::ProbeFailed { failures, tolerated, successes } => match (failures, tolerated) {
                (1, 0) => f.write_str("a probe failed"),
                // The settings tolerate this number of failed probes. Therefore a failure that trips at once has opened
                // the circuit.
                _ if failures <= tolerated => f.write_str("a probe failed and asked for no more calls"),
                _ => {
                    let probes = failures.saturating_add(*successes);
                    let are = if *tolerated == 1 { "is" } else { "are" };
                    write!(f, "{failures} of {probes} probes failed, {tolerated} {are} tolerated")
                }
            },
            Self::NoSuccess { half_open_for } => {
                write!(f, "no probe succeeded in {}, and one takes too long", Brief(*half_open_for))
            }
            Self::NoVerdict { half_open_for } => {
                write!(
                    f,
                    "the probes reached no verdict in {}, because they were cancelled, ignored or overdue",
                    Brief(*half_open_for)
                )
            }
            Self::ProbesPassed { successes, half_open_for } => {
                let probes = if *successes == 1 { "probe" } else { "probes" };
                write!(f, "{successes} {probes} succeeded within {}", Brief(*half_open_for))
            }
            Self::QuietService { successes, half_open_for } => {
                write!(f, "no probe failed in {}, {successes} succeeded", Brief(*half_open_for))
            }
            Self::WaitElapsed { waited } => write!(f, "it was open for {}", Brief(*waited)),
            Self::HealthProbe { waited } => write!(f, "a health probe succeeded after {}", Brief(*waited)),
            Self::HoldEnded { held } => write!(f, "the hold ended after {}", Brief(*held)),
            Self::Operator { act, by } => write!(f, "{act} by {by}"),
            Self::Restored => f.write_str("restored from the store"),
            Self::Followed => f.write_str("another instance's newer state was followed"),
            Self::Fleet => f.write_str("the fleet decided so"),
            Self::Advised { rule } => write!(f, "{rule}, thresholds lowered because another instance opened"),
            Self::Relapsed { rule } => write!(f, "{rule}, thresholds lowered because the circuit had just closed"),
            Self::KillSwitch => f.write_str("CIRCUIT_BREAKER_DISABLED names the circuit"),
        }
    }
}

/// The cause of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The circuit is open, or an operator forced the circuit open. A closed circuit also rejects with this reason a
    /// call whose service was not polled ready, because no other variant describes such a call.
    Tripped,
    /// The circuit is half-open and admits no further probe at present. Either all probes are under way, or the fleet
    /// has leased no probe to this instance, or a required health probe has not succeeded.
    HalfOpen,
    /// The circuit would have let the call through, but the machine is busy and the operation is heavy.
    LoadShed,
    /// The circuit has closed a moment ago and admits only a growing share of the calls. This call was not chosen to be
    /// admitted, see [`ConfigBuilder::ramp`](crate::config::ConfigBuilder::ramp).
    Ramp,
    /// The circuit is closed but rejects a share of the calls, because the service fails too many calls, see
    /// [`ConfigBuilder::throttle`](crate::config::ConfigBuilder::throttle).
    Throttled,
}

impl RejectReason {
    /// Returns the reason in the spelling of a metric label, which is `tripped`, `half_open`, `load_shed`,
    /// `ramp` or `throttled`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tripped => "tripped",
            Self::HalfOpen => "half_open",
            Self::LoadShed => "load_shed",
            Self::Ramp => "ramp",
            Self::Throttled => "throttled",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The act of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Act {
    /// Forces the circuit open.
    Trip,
    /// Ends a forced-open, disabled or shadow mode. The circuit then closes or begins to probe, as the order says.
    Reset,
    /// Lets every call through. The circuit adds the calls to its totals, but not to its window.
    Disable,
    /// Ends a forced-open, disabled or shadow mode, so that the automatic state decides again.
    Resume,
    /// Lets every call through, and counts the calls that would have been rejected.
    Shadow,
    /// Deletes the stored record, and lets the circuit start again without evidence.
    Forget,
}

impl Act {
    /// Returns the act in the spelling of records and the audit, which is `trip`, `reset`, `disable`,
    /// `resume`, `shadow` or `forget`.
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
