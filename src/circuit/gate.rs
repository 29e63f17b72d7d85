//! The gate, a pure function that decides to admit a call, to admit the call as a probe, or to reject the call. The
//! decision depends on state, mode, deadlines and probes of the circuit. A call that can be admitted by the circuit's
//! word alone, or rejected by the word and one deadline, does not reach the gate.
//!
//! The same function decides on the admission of a call, on the readiness of services, and on every answer about the
//! next call. The function gets a [`Scene`], which has all data on which the decision depends. If time has made a
//! change due, [`Scene::gate`] returns the change as an `Err`. An admission makes the change and evaluates the gate
//! again. An answer about the next call applies the change only to its copy of the scene ([`Scene::after`]), so that a
//! question makes no transition.
//!
//! `admit` reads the scene and makes the changes. `peek` answers the questions, and has the two exceptions in which a
//! question makes a transition.

use std::time::Duration;

use super::probes::Occupancy;
use crate::clock::{Tick, nanos};
use crate::config::{Config, Recovery};
use crate::state::{Mode, State};

/// The data on which the gate decides, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    pub(super) now: Tick,
    pub(super) bypassed: bool,
    pub(super) mode: Mode,
    /// The mode after the end of the hold, or the present mode if no hold is in force.
    pub(super) beneath: Mode,
    pub(super) state: State,
    /// True if only a share of the calls of the closed circuit goes through.
    pub(super) is_limited: bool,
    pub(super) open_until: Option<Tick>,
    pub(super) hold_until: Option<Tick>,
    /// The time until which no call may be a probe, because no health probe has succeeded. Zero if calls may probe.
    pub(super) held_back_until: Tick,
    pub(super) round: Round,
}

/// The progress of a half-open era. The default is the progress of an era that has just begun.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    pub(super) half_open_for: Duration,
    /// The time after which the era ends if a probe is overdue and no probe has succeeded.
    pub(super) patience: Duration,
    /// The time until which each probe needs a grant (a permission of the coordinator). Zero if probes need no grant.
    pub(super) leased_until: Tick,
    pub(super) slots: Occupancy,
    /// True if the call is made inside a probe of the era.
    pub(super) in_probe: bool,
}

/// The answer of the gate.
#[derive(Debug)]
pub(super) enum Gate {
    /// The call passes and its outcome is counted.
    Counted,
    /// The call passes and its outcome is counted, if a random draw admits the call. A query such as `would_admit`
    /// makes no draw, and returns that a call may pass.
    Limited,
    /// The call passes, and its outcome counts only for the totals.
    Uncounted,
    /// The call passes as with `Uncounted`, because the call is a part of a probe.
    Nested,
    /// The call passes as with `Uncounted`, because the circuit is in shadow. In automatic mode the call would be
    /// rejected.
    InShadow,
    /// The call is a probe.
    Probe,
    /// The half-open circuit admits no further probe at present. `oldest` is the age of the oldest probe in
    /// nanoseconds. If only a grant (a permission of the coordinator) is missing, `leased_until` is the time from which
    /// a probe needs no grant. Otherwise `leased_until` is `None`.
    Taken { oldest: u64, leased_until: Option<Tick> },
    /// The circuit is due to probe, but no call may be a probe until a health probe succeeds or this time comes,
    /// whichever is first.
    HeldBack(Tick),
    /// The circuit is open or forced open, and no call passes before this time. `None` if the time is not known.
    Closed(Option<Tick>),
}

/// A change that time has made due.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// A hold has ended. If `probes` is true, the circuit begins to probe. Otherwise the state beneath the hold
    /// decides.
    HoldEnded { probes: bool },
    /// The open duration is over, so the circuit begins to probe.
    Probing,
    /// A probe has reached its deadline, so the circuit reclaims the slot of the probe.
    Overdue,
    /// A probe has reached its deadline, and the era has lasted too long without a verdict. The circuit opens again.
    GiveUp { has_success: bool, half_open_for: Duration },
    /// The circuit has been half-open for `quiet_after` with some successes and no failure, so the circuit closes.
    Quiet { successes: u32, half_open_for: Duration },
}

impl Due {
    /// Returns true if the change begins a half-open era without a hold. `state` is the state before the change.
    pub(super) fn begins_round(self, state: State) -> bool {
        match self {
            Self::Probing | Self::HoldEnded { probes: true } => true,
            Self::HoldEnded { probes: false } => state == State::HalfOpen,
            Self::Overdue | Self::GiveUp { .. } | Self::Quiet { .. } => false,
        }
    }
}

impl Scene<'_> {
    /// Returns the answer to a call, or the change after which the gate must be evaluated again.
    // Always inlined, as are the reading of the scene and the parts of this function, because a scene in memory costs a
    // rejected call 4 ns.
    #[inline(always)]
    pub(super) fn gate(&self) -> Result<Gate, Due> {
        if self.bypassed {
            return Ok(Gate::Uncounted);
        }
        let gate = match self.mode {
            // A circuit that was forced open probes first, because the service may still be down. With manual recovery
            // the circuit must not probe by itself, so the state beneath decides.
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
        // In shadow every call passes.
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

    /// Decides for a half-open circuit. The check for an overdue probe comes first, because such a probe keeps its slot
    /// until the circuit reclaims the slot.
    #[inline(always)]
    fn half_open(&self) -> Result<Gate, Due> {
        let probing = &self.config.probes;
        let Round { half_open_for, patience, leased_until, slots, in_probe } = self.round;
        let (successes, failures) = (slots.verdict.successes, slots.verdict.failures);
        // While each probe needs a lease of the fleet, the fleet decides when the era ends. The age of the era is no
        // reason to end the era, because the age includes the waits for leases.
        let is_leased = self.now < leased_until;
        if slots.overdue > 0 {
            return Err(match (successes, failures) {
                _ if is_leased => Due::Overdue,
                (0, _) if half_open_for >= patience => Due::GiveUp { has_success: false, half_open_for },
                // This arm needs a failure, because a circuit with successes and without a failure closes after
                // `quiet_after`.
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

    /// Returns the scene as it would be after the change. `leased_until` takes a mode, and returns the time until which
    /// each probe in this mode needs a grant (a permission of the coordinator).
    fn after(self, due: Due, leased_until: impl Fn(Mode) -> Tick) -> Self {
        let next = Self { mode: self.beneath, round: Round::default(), ..self };
        match due {
            Due::HoldEnded { .. } | Due::Probing if due.begins_round(self.state) => {
                let round = Round { leased_until: leased_until(next.mode), ..next.round };
                // After the end of an opening calls may probe, because the gate reports `Probing` only if no health
                // probe is awaited any more. The end of a hold does not replace a health probe, so the circuit may
                // still hold calls back.
                let held_back_until = if let Due::Probing = due { Tick::ZERO } else { self.held_back_until };
                Self { state: State::HalfOpen, held_back_until, round, ..next }
            }
            Due::HoldEnded { .. } | Due::Probing => next,
            Due::Overdue => Self { round: Round { slots: self.round.slots.reclaimed(), ..self.round }, ..self },
            // The end of the opening is not known yet. The circuit chooses the end when the circuit opens.
            Due::GiveUp { .. } => Self { state: State::Open, open_until: None, ..next },
            Due::Quiet { .. } => Self { state: State::Closed, ..next },
        }
    }

    /// Returns the answer that a call would get after every change that is due. `leased_until` takes a mode, and
    /// returns the time until which each probe in this mode needs a grant (a permission of the coordinator).
    pub(super) fn settled(mut self, leased_until: impl Fn(Mode) -> Tick) -> Gate {
        loop {
            match self.gate() {
                Ok(gate) => return gate,
                Err(due) => self = self.after(due, &leased_until),
            }
        }
    }

    /// Returns the time until the oldest probe is overdue, or until a probe needs no grant (a permission of the
    /// coordinator) if that is earlier. `oldest` is the age of the oldest probe in nanoseconds.
    pub(super) fn until_slot(&self, oldest: u64, leased_until: Option<Tick>) -> Duration {
        let until_overdue = Duration::from_nanos(nanos(self.config.probes.deadline).saturating_sub(oldest));
        leased_until.map_or(until_overdue, |until| until_overdue.min(until.saturating_since(self.now)))
    }
}
