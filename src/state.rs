//! The states and modes of a circuit, and the transitions between them with their reasons.
//!
//! Logs, metrics, records and operators use the names of these types. A [`Reason`] has the numbers that led to the
//! transition, so that the person on call sees the cause. The module `circuit` decides about transitions and makes
//! them.

pub(crate) mod admissible;
mod because;
mod brief;
mod by;
mod criticality;
mod earlier;
mod fleet;
mod health;
pub(crate) mod order;
pub(crate) mod order_hash;
mod reason;
pub(crate) mod refused;
mod shed;
mod suppressed;
pub(crate) mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use crate::clock::Tick;
use crate::outcome::FailureKind;
use crate::window::Tally;
pub(crate) use because::opening;
pub(crate) use brief::{Brief, Exact, Percent};
pub use by::{By, InvalidBy};
pub use criticality::Criticality;
pub use earlier::EarlierReason;
pub use fleet::{FleetBrief, FleetProbe};
pub use health::{HealthResult, HealthStatus};
pub use reason::{Act, Reason, RejectReason};
pub use shed::Shed;
pub use suppressed::Suppressed;

/// The automatic state of a circuit. An open circuit rejects calls, and a closed circuit lets calls through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a circuit breaker has these three, and a fourth must break every match")]
pub enum State {
    /// Calls go through and are counted.
    Closed,
    /// Calls are rejected immediately, and the service is not called.
    Open,
    /// A few calls go through as probes. Successful probes close the circuit, and failed probes reopen the circuit.
    HalfOpen,
}

impl State {
    /// Returns the state in the spelling of logs, metrics and records, which is `closed`, `open` or
    /// `half_open`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The mode that an operator or the configuration has set. The mode can override the automatic state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a new mode must be looked at in every match")]
pub enum Mode {
    /// No mode overrides the state, so the state decides.
    Automatic,
    /// Every call is rejected. A reset or a resume ends this mode. If the operator's order has a duration, the mode
    /// also ends after this duration.
    #[doc(alias = "Isolated")]
    ForcedOpen,
    /// Every call goes through. The circuit adds the calls to its totals, but not to its window. A reset or a resume
    /// ends this mode. If the operator's order has a duration, the mode also ends after this duration.
    Disabled,
    /// The state changes as in automatic mode, but every call goes through. The circuit counts the calls that the state
    /// would have rejected.
    #[doc(alias = "METRICS_ONLY")]
    Shadow,
}

impl Mode {
    /// Returns the mode in the spelling of logs, metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::Shadow => "shadow",
        }
    }

    /// Returns true if the mode overrides the state, so that the state does not decide about calls.
    pub(crate) const fn is_hold(self) -> bool {
        matches!(self, Self::ForcedOpen | Self::Disabled)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The version of the state in a stored record. The version increases with every state that an instance publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub(crate) u64);

impl Generation {
    /// Returns the generation with the given number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number of the generation.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of a circuit combined with its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Standing {
    /// The automatic state. A forced-open or disabled mode overrides this state.
    pub state: State,
    /// The mode that an operator or the configuration set.
    pub mode: Mode,
}

impl Standing {
    pub(crate) const fn new(state: State, mode: Mode) -> Self {
        Self { state, mode }
    }

    /// Returns one word for the state and the mode. The word is `forced_open` or `disabled` in these two modes, and the
    /// word of the state in the other modes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.mode {
            Mode::Automatic | Mode::Shadow => self.state.as_str(),
            Mode::ForcedOpen | Mode::Disabled => self.mode.as_str(),
        }
    }

    /// Returns true if the circuit is open, half-open or forced open. Such a circuit has tripped and has not closed
    /// since. Returns false for a disabled circuit.
    #[must_use]
    pub const fn is_tripped(self) -> bool {
        match self.mode {
            Mode::ForcedOpen => true,
            Mode::Disabled => false,
            Mode::Automatic | Mode::Shadow => !matches!(self.state, State::Closed),
        }
    }

    /// Returns true if the circuit is forced open, or if its state is open and the circuit is not disabled.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self.mode {
            Mode::ForcedOpen => true,
            Mode::Disabled => false,
            Mode::Automatic | Mode::Shadow => matches!(self.state, State::Open),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        if self.mode == Mode::Shadow { f.write_str(" (shadow)") } else { Ok(()) }
    }
}

/// A change of state or mode, with the evidence that caused the change.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[doc(alias = "StateTransition")]
pub struct Transition {
    /// The standing before the transition.
    pub from: Standing,
    /// The standing after the transition.
    pub to: Standing,
    /// The cause of the transition, with its numbers. [`because`](Self::because) returns the cause in words.
    pub reason: Reason,
    /// The stored reason of the new state or of the fleet's decision, if this process took the state or the decision
    /// over from a store. The reason has a time and the name of another instance, if they are known. If this instance
    /// was half-open before a restart and this process has restored that state, this is the reason and the time of the
    /// opening. `None` if this process made the transition by itself, or if the store does not contain the reason.
    pub earlier: Option<Arc<EarlierReason>>,
    /// The era that began with this transition. The era is the version of the circuit's state in this process, and
    /// increases by one with each transition.
    pub era: u64,
    /// The generation of the stored record at the time of the transition.
    pub generation: Generation,
    /// The time of the transition by the clock of the circuit.
    pub at: Tick,
    /// The time of the transition by the wall clock, for people.
    pub wall: SystemTime,
    /// The time until the new state or mode ends by itself. For an open circuit, this is the open duration. For a
    /// forced-open or disabled mode, this is the remaining time of the mode. `None` if neither the state nor the mode
    /// ends by itself.
    pub lasts: Option<Duration>,
    /// The number of openings in a row, as [`Status::attempt`](crate::Status::attempt) counts them.
    /// If this transition opens the circuit, the number includes this opening.
    pub attempt: u32,
    /// The sums over the window of outcomes, as they were immediately before the transition.
    pub tally: Tally,
    /// The kind of the failure that caused the transition. If several failures caused the transition, this is the kind
    /// of the last failure. `None` if no failure caused the transition.
    pub failure: Option<FailureKind>,
    /// The text of the failure that caused the transition. The text is one line of at most 200 characters, in which an
    /// address with `://` has only its scheme and host. `None` if the failure has no text, such as a dropped call. The
    /// text must not be shown to strangers or in metrics.
    pub failure_text: Option<Arc<str>>,
    /// The number of calls that the circuit has rejected since it was last closed or disabled.
    pub rejected: u64,
    /// True if `CIRCUIT_BREAKER_DISABLED` names the circuit, so that the circuit lets every call through in
    /// every state and mode.
    pub bypassed: bool,
    /// The id of the order that caused the transition. `None` if no order with an id caused the transition.
    pub order: Option<Arc<str>>,
    /// The state that a reset requests. `None` if the transition is no reset. Other instances enter this state, even if
    /// the circuit in this process was healthy and stayed closed.
    pub(crate) resets_to: Option<order::To>,
    /// True if the coordinator logs the transition, with the name of the store. The observer for logs then skips the
    /// transition, so that the log has only one line for the transition.
    pub(crate) is_logged: bool,
}

/// The state of a circuit that a restart should restore. [`Circuit::snapshot`](crate::Circuit::snapshot) returns a
/// snapshot, and [`Circuit::adopt`](crate::Circuit::adopt) takes over a snapshot.
///
/// Times are durations before or after the moment of the snapshot, so that differences between wall clocks do not
/// matter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state of the circuit. A forced-open or disabled mode overrides this state.
    pub state: State,
    /// The mode of the circuit.
    pub mode: Mode,
    /// The generation of the stored record.
    pub generation: Generation,
    /// The time until the open circuit may probe. `None` if the state is not open, or if only a reset ends the opening.
    pub open_for: Option<Duration>,
    /// The time until a forced-open or disabled mode ends by itself. `None` if only an operator can end the mode, or if
    /// the circuit is in another mode.
    pub held_for: Option<Duration>,
    /// The number of openings in a row. The longer the circuit has been closed since the last opening, the lower is the
    /// number. [`Status::attempt`](crate::Status::attempt) is reduced only at the next trip. Until that trip,
    /// `Status::attempt` can be higher than this field.
    pub attempt: u32,
    /// The number of successful probes of a half-open circuit.
    pub probe_successes: u32,
    /// The sum of the weights of the failures in a row, if the circuit is closed.
    pub run: f64,
    /// The sums over the window of outcomes, if the circuit is closed.
    pub tally: Tally,
    /// The time since the circuit left the closed state or an operator tripped the circuit. `None` if the circuit is
    /// closed, or if the time is not known. In the second case, the process that adopts the snapshot measures the time
    /// from the adoption on.
    pub tripped_for: Option<Duration>,
    /// The reason of the state in words. If the circuit is not closed, this is the reason of its opening.
    pub earlier: Option<Arc<EarlierReason>>,
    /// The time since the beginning of the state that `earlier` explains. `None` if the time is not known. Later
    /// reasons of an open circuit, such as [`Reason::WaitElapsed`], measure their durations from that beginning.
    pub earlier_for: Option<Duration>,
    /// The time since the circuit closed, while its [ramp](crate::config::ConfigBuilder::ramp) lasts. `None` if the
    /// circuit is not closed or is not in a ramp, or if the time is not known.
    pub closed_for: Option<Duration>,
    /// The time since a half-open circuit began to probe. Reasons such as [`Reason::ProbesPassed`] measure their
    /// durations from that beginning. `None` if the circuit is not half-open, or if the time is not known.
    pub half_open_for: Option<Duration>,
}

impl Snapshot {
    /// Returns the snapshot of a new circuit. The caller can then set the fields of the snapshot.
    #[must_use]
    pub const fn closed() -> Self {
        Self {
            state: State::Closed,
            mode: Mode::Automatic,
            generation: Generation(0),
            open_for: None,
            held_for: None,
            attempt: 0,
            probe_successes: 0,
            run: 0.0,
            tally: Tally::EMPTY,
            tripped_for: None,
            earlier: None,
            earlier_for: None,
            closed_for: None,
            half_open_for: None,
        }
    }
}
