//! The state of a circuit and its changes: states, modes, transitions and their reasons.
//!
//! Logs, metrics, records and operators share these words. A [`Reason`] has the numbers that led to the transition, so
//! that the person on call sees the cause. Decisions and changes are left to `circuit`.

pub(crate) mod admissible;
mod because;
mod brief;
mod by;
mod earlier;
pub(crate) mod order;
mod reason;
pub(crate) mod refused;
mod shed;
pub(crate) mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use crate::clock::Tick;
use crate::outcome::FailureKind;
use crate::window::Tally;
pub(crate) use brief::{Brief, Exact, Percent};
pub use by::{By, InvalidBy};
pub use earlier::EarlierReason;
pub use reason::{Act, Reason, RejectReason};
pub use shed::Shed;

/// The automatic state of a circuit. Open means rejecting, and closed means letting calls through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a circuit breaker has these three, and a fourth must break every match")]
pub enum State {
    /// Calls go through and are counted.
    Closed,
    /// Calls are rejected immediately, before they happen.
    Open,
    /// A few calls go through as probes. Successful probes close the circuit, and failed probes reopen the circuit.
    HalfOpen,
}

impl State {
    /// Returns the state in the spelling of logs, metrics and records: `closed`, `open` or `half_open`.
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

/// The mode that an operator or the configuration laid over the automatic state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a new mode must be looked at in every match")]
pub enum Mode {
    /// No mode lies over the state, so the state decides.
    Automatic,
    /// Every call is rejected, until a reset or a resume, or until the hold ends.
    #[doc(alias = "Isolated")]
    ForcedOpen,
    /// Every call goes through and no call is counted, until a resume or a reset, or until the hold ends.
    Disabled,
    /// The state changes as always, but every call goes through. The calls that the state
    /// would have rejected are counted.
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

    /// Returns true if the mode overrules the state, with or without an end.
    pub(crate) const fn is_hold(self) -> bool {
        matches!(self, Self::ForcedOpen | Self::Disabled)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The version of a stored record, which increases with every change that any instance stores. The version of the
/// state in one process is the era.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub(crate) u64);

impl Generation {
    /// Returns the generation with that number.
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

/// The state of a circuit combined with the mode that lies over the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Standing {
    /// The automatic state. Under a mode that overrules the state, the state beneath.
    pub state: State,
    /// The mode that an operator or the configuration laid over the state.
    pub mode: Mode,
}

impl Standing {
    pub(crate) const fn new(state: State, mode: Mode) -> Self {
        Self { state, mode }
    }

    /// Returns the name of the standing for a caller. `forced_open` and `disabled` hide the state, and shadow does not.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.mode {
            Mode::Automatic | Mode::Shadow => self.state.as_str(),
            Mode::ForcedOpen | Mode::Disabled => self.mode.as_str(),
        }
    }

    /// Returns true if the circuit has tripped and not closed since, so that it is open, half-open or forced
    /// open. False for a disabled circuit.
    #[must_use]
    pub const fn is_tripped(self) -> bool {
        match self.mode {
            Mode::ForcedOpen => true,
            Mode::Disabled => false,
            Mode::Automatic | Mode::Shadow => !matches!(self.state, State::Closed),
        }
    }

    /// Returns true if the circuit is forced open, or if its state is open and it is not disabled.
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
    /// The cause of the transition, with its numbers. [`because`](Self::because) has the cause in words.
    pub reason: Reason,
    /// The reason of a state that was taken over from a store, with its time and the instance that entered it. `None` for
    /// a transition that this process has made itself, and if the store does not have the reason.
    pub earlier: Option<Arc<EarlierReason>>,
    /// The era that began with this transition. Increases by one with each transition of the circuit in this process.
    pub era: u64,
    /// The generation of the stored record at the time of the transition.
    pub generation: Generation,
    /// The time of the transition by the clock of the circuit.
    pub at: Tick,
    /// The time of the transition by the wall clock, for people.
    pub wall: SystemTime,
    /// The time until the new standing ends by itself, which is the open duration or the rest of a hold. `None`
    /// if the standing has no such end.
    pub lasts: Option<Duration>,
    /// The number of openings in a row with this one, as [`Status::attempt`](crate::Status::attempt) counts them.
    pub attempt: u32,
    /// The sums of the window at the end of the last era.
    pub tally: Tally,
    /// The kind of the failure that completed the evidence. `None` if no failure did.
    pub failure: Option<FailureKind>,
    /// The text of that failure: one line of at most 200 characters, in which an address has only its scheme and host.
    /// `None` if the failure has no text, such as a dropped call. Not for strangers, and not for metrics.
    pub failure_text: Option<Arc<str>>,
    /// The number of calls that were rejected since the circuit last was closed.
    pub rejected: u64,
    /// True if `CIRCUIT_BREAKER_DISABLED` names the circuit, so that calls go through in every standing.
    pub bypassed: bool,
    /// The id of the order, if an operator acted through a registry.
    pub order: Option<Arc<str>>,
    /// The target of a reset, which other instances follow. A healthy circuit stays closed itself.
    pub(crate) resets_to: Option<order::To>,
}

/// The state of a circuit that a restart should restore. [`Circuit::snapshot`](crate::Circuit::snapshot) returns a
/// snapshot, and [`Circuit::adopt`](crate::Circuit::adopt) takes over a snapshot.
///
/// The durations count from the moment of the snapshot, so that no wall clock decides anything.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The automatic state.
    pub state: State,
    /// The mode that lies over the state.
    pub mode: Mode,
    /// The generation of the stored record.
    pub generation: Generation,
    /// The time for which the circuit stays open. `None` if the state is not open, or if only a reset ends the opening.
    pub open_for: Option<Duration>,
    /// The time for which the hold lasts. `None` if only an operator ends the hold, or if there is none.
    pub held_for: Option<Duration>,
    /// The number of openings in a row, as [`Status::attempt`](crate::Status::attempt) counts them.
    pub attempt: u32,
    /// The number of successful probes in half-open.
    pub probe_successes: u32,
    /// The weight of the run of consecutive failures in closed.
    pub run: f64,
    /// The sums over the window in closed.
    pub tally: Tally,
    /// The time since the circuit left closed or was tripped by an operator. `None` if the circuit is closed, or if the
    /// time is not known, so that the time of the adoption counts.
    pub tripped_for: Option<Duration>,
    /// The reason of the state in words. A circuit that is not closed gives the reason for which it opened.
    pub earlier: Option<Arc<EarlierReason>>,
    /// The time since the state of the `earlier` reason began. `None` if the time is not known.
    pub earlier_for: Option<Duration>,
}

impl Snapshot {
    /// Returns the snapshot of a new circuit, as a basis whose fields can be set.
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
        }
    }
}
