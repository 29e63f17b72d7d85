//! Eras: what the circuit is, what it was before, and how it becomes something else.

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Act, Mode, Reason, State};

use super::Model;
use super::evidence::tally;
use super::shown::Edge;
use crate::rig::{alice, millis};

#[derive(Debug, Clone, Copy)]
pub(super) struct Era {
    pub(super) number: u64,
    pub(super) state: State,
    pub(super) mode: Mode,
    /// What a hold ends in: automatic or shadow.
    pub(super) beneath: Mode,
    pub(super) began: u64,
    /// The deadline of an open state, under whatever mode. `None` if only a person ends it.
    pub(super) open_until: Option<u64>,
    pub(super) hold_until: Option<u64>,
    pub(super) rejected: u64,
    /// Whether it began closed although the probes before came to no verdict.
    pub(super) on_trust: bool,
}

impl Era {
    fn is_hold(&self) -> bool {
        matches!(self.mode, Mode::ForcedOpen | Mode::Disabled)
    }
}

impl Model {
    pub(in super::super) fn act(&mut self, act: Act, hold: Option<u64>) {
        let Era { mode, beneath, .. } = *self.era();
        let mode = match (act, mode) {
            (Act::Trip, _) => Mode::ForcedOpen,
            (Act::Disable, _) => Mode::Disabled,
            (Act::Shadow, _) => Mode::Shadow,
            // The rest is to resume. Nothing lies over the circuit; a hold; shadow.
            (_, Mode::Automatic) => return,
            (_, Mode::ForcedOpen | Mode::Disabled) => beneath,
            (_, Mode::Shadow) => Mode::Automatic,
        };
        self.lay_over(mode, hold.map(|hold| self.now + hold), by_operator(act));
    }

    pub(in super::super) fn reset(&mut self, to: To) {
        let state = match to {
            To::HalfOpen => State::HalfOpen,
            To::Closed => State::Closed,
        };
        if to == To::Closed {
            self.attempt = 0;
        }
        self.enter(state, self.first_mode(), by_operator(Act::Reset));
    }

    pub(super) fn end_hold(&mut self) {
        let Era { mode, beneath, .. } = *self.era();
        let reason = Reason::HoldEnded { held: self.age() };
        if mode == Mode::ForcedOpen && self.settings.recovery == Recovery::Automatic {
            self.enter(State::HalfOpen, beneath, reason);
        } else {
            self.lay_over(beneath, None, reason);
        }
    }

    /// Opens the circuit by itself.
    pub(super) fn open(&mut self, reason: Reason, failure: Option<FailureKind>) {
        self.take_slot();
        self.attempt = (self.attempt + 1).min(self.settings.open_for.last_attempt());
        let era = *self.era();
        let asked = self.asked.iter().rfind(|(of, _)| *of == era.number);
        let floor = asked.map_or(0, |(_, until)| until.saturating_sub(self.now));
        self.last_open = self.settings.open_for.of(self.attempt).max(floor);
        let until = self.now + self.last_open;
        let open_until = (self.settings.recovery == Recovery::Automatic).then_some(until);
        self.begin(Era { state: State::Open, open_until, ..era }, reason, failure);
        self.opened_in = self.era().number;
    }

    pub(super) fn enter(&mut self, state: State, mode: Mode, reason: Reason) {
        self.begin(Era { state, mode, open_until: None, hold_until: None, ..*self.era() }, reason, None);
    }

    /// Lays a mode over the state that there is.
    fn lay_over(&mut self, mode: Mode, hold_until: Option<u64>, reason: Reason) {
        self.begin(Era { mode, hold_until, ..*self.era() }, reason, None);
    }

    /// Begins the next era, of which all is said but its number.
    fn begin(&mut self, next: Era, reason: Reason, failure: Option<FailureKind>) {
        if let Reason::NoSuccess { .. } = reason {
            self.rounds_in_vain += 1;
        } else if !matches!(reason, Reason::WaitElapsed { .. } | Reason::NoVerdict { .. }) {
            self.rounds_in_vain = 0;
        }
        let from = *self.era();
        let beneath = if next.is_hold() { from.beneath } else { next.mode };
        let has_gap = matches!(reason, Reason::NoVerdict { .. })
            || matches!(reason, Reason::QuietService { .. }) && self.gaps() > 0;
        let on_trust = has_gap && next.state == State::Closed;
        let next = Era { number: from.number + 1, beneath, began: self.now, rejected: 0, on_trust, ..next };
        let by_probes =
            matches!(reason, Reason::ProbesPassed { .. } | Reason::QuietService { .. } | Reason::NoVerdict { .. });
        if next.state != State::Closed || matches!(reason, Reason::Operator { act: Act::Reset, .. }) {
            self.ramp_until = 0;
        } else if by_probes {
            self.ramp_until = self.now + self.settings.ramp.unwrap_or(0);
        }
        if next.state == State::Closed {
            self.give_slot_back();
        }
        let ends = if next.is_hold() { next.hold_until } else { next.open_until };
        self.edges.push(Edge {
            from: (from.state, from.mode),
            to: (next.state, next.mode),
            reason,
            era: next.number,
            generation: self.generation,
            at: self.now,
            lasts: ends.map(|ends| millis(ends.saturating_sub(self.now))),
            attempt: self.attempt,
            tally: tally(&self.settings, &self.seen, from.number, self.now).into(),
            failure,
            rejected: self
                .eras
                .iter()
                .rev()
                .take_while(|era| is_tripped((era.state, era.mode)))
                .map(|era| era.rejected)
                .sum(),
        });
        self.eras.push(next);
    }

    pub(super) fn first_mode(&self) -> Mode {
        if self.settings.shadow { Mode::Shadow } else { Mode::Automatic }
    }

    pub(super) fn era(&self) -> &Era {
        self.eras.last().expect("there is always an era")
    }

    pub(super) fn age(&self) -> Duration {
        millis(self.now - self.era().began)
    }

    /// Returns the time since the circuit opened, over all changes of the mode and of the end of the opening.
    pub(super) fn open_for(&self) -> Duration {
        let opening = self.eras.iter().rev().take_while(|era| era.state == State::Open).last();
        opening.map_or(Duration::ZERO, |era| millis(self.now - era.began))
    }

    pub(super) fn is_over(&self, until: Option<u64>) -> bool {
        until.is_some_and(|until| self.now >= until)
    }

    /// Returns how long the circuit has been closed since it opened last, over all eras and without holds.
    pub(super) fn closed_for(&self) -> u64 {
        let ends = self.eras.iter().skip(1).map(|era| era.began).chain([self.now]);
        let since = self.eras.iter().zip(ends).filter(|(era, _)| era.number > self.opened_in);
        let closed = since.filter(|(era, _)| era.state == State::Closed && !era.is_hold());
        closed.map(|(era, end)| end - era.began).sum()
    }

    /// Until when a forced opening rejects, if that is known: over an opening that only a reset ends, it is not.
    pub(super) fn rejects_until(&self) -> Option<u64> {
        let era = self.era();
        let manual = self.settings.recovery == Recovery::Manual && era.state == State::Open;
        era.hold_until.filter(|_| !manual)
    }

    /// Returns the rest of the ramp, unless a hold decides.
    pub(super) fn ramp_left(&self) -> Option<Duration> {
        let era = self.era();
        let ramps = era.state == State::Closed && !era.is_hold() && self.ramps();
        ramps.then(|| millis(self.ramp_until - self.now))
    }

    /// Returns how long calls will be rejected, if they are and it is known.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let era = self.era();
        let until = match (era.mode, era.state) {
            (Mode::ForcedOpen, _) if self.is_over(era.hold_until) && self.settings.recovery == Recovery::Automatic => {
                None
            }
            (Mode::ForcedOpen | Mode::Disabled, State::Open) if self.is_over(era.hold_until) => {
                era.open_until.filter(|_| era.beneath == Mode::Automatic)
            }
            (Mode::ForcedOpen, _) => self.rejects_until(),
            (Mode::Automatic, State::Open) => era.open_until,
            _ => None,
        };
        until.filter(|until| *until > self.now).map(|until| millis(until - self.now))
    }
}

fn by_operator(act: Act) -> Reason {
    Reason::Operator { act, by: alice().into() }
}

/// Whether it has tripped and not closed since.
pub(super) fn is_tripped((state, mode): (State, Mode)) -> bool {
    match mode {
        Mode::ForcedOpen => true,
        Mode::Disabled => false,
        Mode::Automatic | Mode::Shadow => state != State::Closed,
    }
}
