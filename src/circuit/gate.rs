//! The gate, a pure function that decides to admit a call, to admit the call as a probe, or to reject the call. The
//! decision depends on the state, the mode, the deadlines and the probes of the circuit. Many calls need no gate: the
//! atomic word of the circuit alone is enough to admit them, or the word and one deadline are enough to reject them.
//!
//! The gate decides on the admission of calls and on the readiness of services, and also answers queries such as
//! `would_admit`. The gate gets a [`Scene`], which has all data for the decision. If the time of a change has come,
//! [`Scene::gate`] returns the change as an `Err`. An admission makes the change and calls the gate again. A query
//! applies the change only to a copy of the scene ([`Scene::after`]), so that a query makes no transition.
//!
//! The module `admit` reads the scene and makes the changes. The module `peek` answers queries, and has the two
//! exceptions in which a query makes a transition.

use std::time::Duration;

use super::probes::Occupancy;
use crate::clock::{Tick, nanos};
use crate::config::{Config, Recovery};
use crate::state::{Mode, State};

/// The state of a circuit at one moment, with all data that the gate needs for a decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    pub(super) now: Tick,
    pub(super) bypassed: bool,
    pub(super) mode: Mode,
    /// The mode that the circuit has after the end of a hold. Without a hold, the present mode.
    pub(super) beneath: Mode,
    pub(super) state: State,
    /// True if the closed circuit admits only a part of the calls, because of a ramp or a throttle.
    pub(super) is_limited: bool,
    pub(super) open_until: Option<Tick>,
    pub(super) hold_until: Option<Tick>,
    /// The time until which the circuit waits for a successful health probe and admits no call as a probe. Zero if
    /// calls may probe.
    pub(super) held_back_until: Tick,
    pub(super) round: Round,
}

/// The progress of a half-open era. The default is the progress of an era that has just begun.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    pub(super) half_open_for: Duration,
    /// The time after which the circuit opens again if a probe is overdue and no probe has succeeded.
    pub(super) patience: Duration,
    /// The time until which each probe needs a grant (a permission of the coordinator). Zero if probes need no grant.
    pub(super) leased_until: Tick,
    pub(super) slots: Occupancy,
    /// True if the call is made inside a probe of the same circuit and the same era.
    pub(super) in_probe: bool,
}

/// The answer of the gate.
#[derive(Debug)]
pub(super) enum Gate {
    /// The call passes and its outcome is counted.
    Counted,
    /// A ramp or a throttle makes a random decision on the call. If the call passes, its outcome is counted. A query
    /// such as `would_admit` makes no random decision, and answers that the call passes.
    Limited,
    /// The call passes, but its outcome counts only in the totals.
    Uncounted,
    /// The call passes because it is a part of a probe. The outcome counts only in the totals.
    Nested,
    /// The call passes because the circuit is in shadow mode. In automatic mode the circuit would reject the call. The
    /// outcome counts only in the totals.
    InShadow,
    /// The call is a probe.
    Probe,
    /// The circuit is half-open and admits no further probe at present. `oldest` is the age of the oldest probe in
    /// nanoseconds. If only a grant (a permission of the coordinator) is missing, `leased_until` is the time from which
    /// probes need no grant. Otherwise `leased_until` is `None`.
    Taken { oldest: u64, leased_until: Option<Tick> },
    /// Calls could be probes now, but the circuit waits for a successful health probe. No call may be a probe until a
    /// health probe succeeds or this time comes, whichever is first.
    HeldBack(Tick),
    /// The gate is closed, because the circuit is open or forced open. No call passes before this time. `None` if the
    /// time is unknown.
    Closed(Option<Tick>),
}

/// A change whose time has come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// The time of a hold has passed. If `probes` is true, the circuit becomes half-open. Otherwise the circuit returns
    /// to the state that it has beneath the hold.
    HoldEnded { probes: bool },
    /// The open duration has passed, so the circuit becomes half-open.
    Probing,
    /// A probe has reached the probe deadline, so the slot of the probe becomes free.
    Overdue,
    /// A probe has reached the probe deadline, and the half-open era has lasted too long without a verdict. The circuit
    /// opens again.
    GiveUp { has_success: bool, half_open_for: Duration },
    /// The circuit has been half-open for `quiet_after`, some probes have succeeded and no probe has failed. The
    /// circuit closes.
    Quiet { successes: u32, half_open_for: Duration },
}

impl Due {
    /// Returns true if the change begins an era in which the circuit probes (half-open, without a hold). `state` is the
    /// state before the change.
    pub(super) fn begins_round(self, state: State) -> bool {
        match self {
            Self::Probing | Self::HoldEnded { probes: true } => true,
            Self::HoldEnded { probes: false } => state == State::HalfOpen,
            Self::Overdue | Self::GiveUp { .. } | Self::Quiet { .. } => false,
        }
    }
}

impl Scene<'_> {
    /// Decides on a call, and returns the answer. Returns an `Err` if the time of a change has come. The caller must
    /// make the change, and then call this function again.
    // Always inlined, so that the scene stays in registers. A scene in memory costs a rejected call 4 ns. Therefore the
    // parts of this function and the reading of the scene are inlined too.
    #[inline(always)]
    pub(super) fn gate(&self) -> Result<Gate, Due> {
        if self.bypassed {
            return Ok(Gate::Uncounted);
        }
        let gate = match self.mode {
            // After a forced opening the circuit probes first, because the service may still be down. With manual
            // recovery the circuit must not probe without an operator, so the circuit returns to the state beneath the
            // hold.
            Mode::ForcedOpen if self.is_over(self.hold_until) => {
                return Err(Due::HoldEnded { probes: self.config.recovery == Recovery::Automatic });
            }
            Mode::Disabled if self.is_over(self.hold_until) => return Err(Due::HoldEnded { probes: false }),
            Mode::Disabled => Gate::Uncounted,
            Mode::ForcedOpen => Gate::Closed(self.hold_until),
            Mode::Automatic | Mode::Shadow => match self.state {
                State::Closed if self.is_limited => Gate::Limited,
                State::Closed => Gate::Counted,
                State::Open if self.is_over(self.open_until) && self.is_held_back() => {
                    Gate::HeldBack(self.held_back_until)
                }
                State::Open if self.is_over(self.open_until) => return Err(Due::Probing),
                State::Open => Gate::Closed(self.open_until),
                State::HalfOpen => self.half_open()?,
            },
        };
        // In shadow mode every call passes.
        let in_shadow =
            self.mode == Mode::Shadow && matches!(gate, Gate::Closed(_) | Gate::Taken { .. } | Gate::HeldBack(_));
        Ok(if in_shadow { Gate::InShadow } else { gate })
    }

    #[inline(always)]
    fn is_held_back(&self) -> bool {
        self.now < self.held_back_until
    }

    #[inline(always)]
    fn is_over(&self, until: Option<Tick>) -> bool {
        until.is_some_and(|until| self.now >= until)
    }

    /// Decides on a call of a half-open circuit. The check for an overdue probe comes first, because an overdue probe
    /// must first lose its slot.
    #[inline(always)]
    fn half_open(&self) -> Result<Gate, Due> {
        let probing = &self.config.probes;
        let Round { half_open_for, patience, leased_until, slots, in_probe } = self.round;
        let (successes, failures) = (slots.verdict.successes, slots.verdict.failures);
        // While each probe needs a grant (a permission of the coordinator), the fleet decides when the half-open era
        // ends. The duration of the era does not matter then, because the duration includes the waits for grants.
        let is_leased = self.now < leased_until;
        if slots.overdue > 0 {
            return Err(match (successes, failures) {
                _ if is_leased => Due::Overdue,
                (0, _) if half_open_for >= patience => Due::GiveUp { has_success: false, half_open_for },
                // The next arm requires a success and also a failure. With successes and without a failure, the circuit
                // does not open but closes after `quiet_after`.
                (1.., 1..) if half_open_for >= patience.max(probing.quiet_after) => {
                    Due::GiveUp { has_success: true, half_open_for }
                }
                _ => Due::Overdue,
            });
        }
        if successes > 0 && failures == 0 && half_open_for >= probing.quiet_after && !is_leased {
            return Err(Due::Quiet { successes, half_open_for });
        }
        let needs_grant = is_leased && !slots.has_grant;
        Ok(match slots.verdict.can_use_another(probing) {
            _ if in_probe => Gate::Nested,
            true if self.is_held_back() => Gate::HeldBack(self.held_back_until),
            true if needs_grant => Gate::Taken { oldest: slots.oldest, leased_until: Some(leased_until) },
            true => Gate::Probe,
            false => Gate::Taken { oldest: slots.oldest, leased_until: None },
        })
    }

    /// Returns the scene as it would be after the change `due`. `leased_until` takes a mode, and returns the time until
    /// which each probe in this mode needs a grant (a permission of the coordinator).
    fn after(self, due: Due, leased_until: impl Fn(Mode) -> Tick) -> Self {
        let next = Self { mode: self.beneath, round: Round::default(), ..self };
        match due {
            Due::HoldEnded { .. } | Due::Probing if due.begins_round(self.state) => {
                let round = Round { leased_until: leased_until(next.mode), ..next.round };
                // The gate returns `Probing` only if the circuit does not wait for a health probe, so calls may probe.
                // After the end of a hold, the circuit may still have to wait for a health probe.
                let held_back_until = if let Due::Probing = due { Tick::ZERO } else { self.held_back_until };
                Self { state: State::HalfOpen, held_back_until, round, ..next }
            }
            Due::HoldEnded { .. } | Due::Probing => next,
            Due::Overdue => Self { round: Round { slots: self.round.slots.reclaimed(), ..self.round }, ..self },
            // The open duration is unknown here, because the circuit chooses the open duration when the circuit opens.
            Due::GiveUp { .. } => Self { state: State::Open, open_until: None, ..next },
            Due::Quiet { .. } => Self { state: State::Closed, ..next },
        }
    }

    /// Returns the answer that a call would get now, after all changes whose time has come. No change is made.
    /// `leased_until` takes a mode, and returns the time until which each probe in this mode needs a grant (a
    /// permission of the coordinator).
    pub(super) fn settled(mut self, leased_until: impl Fn(Mode) -> Tick) -> Gate {
        loop {
            match self.gate() {
                Ok(gate) => return gate,
                Err(due) => self = self.after(due, &leased_until),
            }
        }
    }

    /// Returns the time after which a probe slot may become free. By then, the oldest probe is overdue, or probes need
    /// no grant (a permission of the coordinator) any more. `oldest` is the age of the oldest probe in nanoseconds.
    pub(super) fn until_slot(&self, oldest: u64, leased_until: Option<Tick>) -> Duration {
        let until_overdue = Duration::from_nanos(nanos(self.config.probes.deadline).saturating_sub(oldest));
        leased_until.map_or(until_overdue, |until| until_overdue.min(until.saturating_since(self.now)))
    }
}
