//! What a circuit can be, and how it came to be so: states, modes, transitions and their reasons.
//!
//! These are the words that logs, metrics, records and operators share. A [`Reason`] carries the numbers that decided, for
//! every edge, so that nobody has to guess at night. Nothing here decides or changes anything.

pub(crate) mod admissible;
mod brief;
mod by;
pub(crate) mod order;
mod reason;
pub(crate) mod refused;
mod shed;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use crate::clock::Tick;
use crate::outcome::FailureKind;
use crate::window::Tally;
pub(crate) use brief::{Brief, Percent};
pub use by::{By, InvalidBy};
pub use reason::{Act, Reason, RejectReason};
pub use shed::Shed;

/// The automatic state of a circuit. Open means rejecting, closed means letting calls through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a circuit breaker has these three, and a fourth must break every match")]
pub enum State {
    /// Calls go through and are counted.
    Closed,
    /// Calls are rejected at once, before they happen.
    Open,
    /// A few calls go through as probes; their success closes the circuit, their failure reopens it.
    HalfOpen,
}

impl State {
    /// Returns the state as logs, metrics and records spell it: `closed`, `open` or `half_open`.
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

/// What an operator, or the configuration, laid over the automatic state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a new mode must be looked at in every match")]
pub enum Mode {
    /// Nothing: the state decides.
    Automatic,
    /// Every call is rejected, until a reset or until the hold ends.
    #[doc(alias = "Isolated")]
    ForcedOpen,
    /// Every call goes through and none is counted, until a resume or until the hold ends.
    Disabled,
    /// The state changes as it would, and every call goes through; what would have been rejected is counted.
    #[doc(alias = "METRICS_ONLY")]
    Shadow,
}

impl Mode {
    /// Returns the mode as logs, metrics and records spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::Shadow => "shadow",
        }
    }

    /// Whether it overrules the state, perhaps until a deadline.
    pub(crate) const fn is_hold(self) -> bool {
        matches!(self, Self::ForcedOpen | Self::Disabled)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The durable epoch of a circuit's record across instances; the local one is the era.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub(crate) u64);

impl Generation {
    /// Returns the generation with that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns its number.
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

/// State and mode together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Standing {
    /// The automatic state; under a mode that overrules it, the state beneath.
    pub state: State,
    /// What lies over it.
    pub mode: Mode,
}

impl Standing {
    pub(crate) const fn new(state: State, mode: Mode) -> Self {
        Self { state, mode }
    }

    /// Returns what a caller meets: `forced_open` and `disabled` hide the state, shadow does not.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.mode {
            Mode::Automatic | Mode::Shadow => self.state.as_str(),
            Mode::ForcedOpen | Mode::Disabled => self.mode.as_str(),
        }
    }

    /// Returns whether the circuit has tripped and not closed since: open, half-open or forced open.
    #[must_use]
    pub const fn is_tripped(self) -> bool {
        match self.mode {
            Mode::ForcedOpen => true,
            Mode::Disabled => false,
            Mode::Automatic | Mode::Shadow => !matches!(self.state, State::Closed),
        }
    }

    /// Returns whether it is open: forced, or by its state where no other mode hides it.
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

/// One edge taken, with what decided it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[doc(alias = "StateTransition")]
pub struct Transition {
    /// What the circuit was.
    pub from: Standing,
    /// What it became.
    pub to: Standing,
    /// Why, with the numbers.
    pub reason: Reason,
    /// The local epoch that began with this transition; it grows by one with each.
    pub era: u64,
    /// The generation of the record when it happened.
    pub generation: Generation,
    /// When, by the circuit's clock.
    pub at: Tick,
    /// When, by the wall clock: for people.
    pub wall: SystemTime,
    /// How long it stays so by itself: the open duration, or the rest of a hold. `None`: no end of its own.
    pub lasts: Option<Duration>,
    /// The number of openings in a row, this one included; it decays while closed.
    pub attempt: u32,
    /// The evidence of the era that ended, as it was at the transition.
    pub tally: Tally,
    /// The kind of the failure that completed the evidence, if one did.
    pub failure: Option<FailureKind>,
    /// How many calls were rejected since the circuit last was closed.
    pub rejected: u64,
    /// Whether `CIRCUIT_BREAKER_DISABLED` names the circuit: then calls go through, whatever it became.
    pub bypassed: bool,
    /// The id of the order, if an operator gave one through a registry.
    pub order: Option<Arc<str>>,
}

/// The part of a circuit that outlives a process: what [`Circuit::snapshot`](crate::Circuit::snapshot) gives and
/// [`Circuit::adopt`](crate::Circuit::adopt) takes.
///
/// Durations are what is left at the moment it is taken, so that no wall clock decides anything.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The automatic state.
    pub state: State,
    /// What lies over it.
    pub mode: Mode,
    /// The generation of the record.
    pub generation: Generation,
    /// How long the circuit stays open. `None` where the state is not open, or only a reset ends it.
    pub open_for: Option<Duration>,
    /// How long the mode stays. `None`: until an operator ends it.
    pub held_for: Option<Duration>,
    /// The number of openings in a row.
    pub attempt: u32,
    /// The successes counted while half-open.
    pub probe_successes: u32,
    /// The weight of the run of consecutive failures while closed.
    pub run: f64,
    /// The sums over the window while closed.
    pub tally: Tally,
    /// How long ago it left closed, or was tripped by hand. `None` where it is closed, or it is not known: then, now.
    pub tripped_for: Option<Duration>,
}

impl Snapshot {
    /// Returns the snapshot of a circuit that nothing happened to, to be filled in.
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
        }
    }
}
