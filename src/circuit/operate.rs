//! What operators do to a circuit, each act with who and why.
//!
//! An act takes effect here at once and is told to the observers like every transition. It outlives every automatic change:
//! only another act, or the end that it was given, ends it.

use core::time::Duration;
use std::sync::Arc;

use super::Circuit;
use super::change::{Cold, Plan};
use super::word::Word;
use crate::clock::Tick;
use crate::state::{Act, By, Mode, Reason, Standing, State, Transition};

/// Where a reset leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a reset lets the circuit find out, or it knows better")]
pub enum To {
    /// Let it probe: the service has to show that it is back.
    HalfOpen,
    /// Close it: whoever resets knows that the service is back.
    Closed,
}

impl Circuit {
    /// Forces the circuit open, until a reset, or until `hold` has passed.
    ///
    /// Then it is half-open; under manual recovery, what it was before.
    pub fn trip(&self, by: &By, hold: Option<Duration>) -> Transition {
        self.hold(Act::Trip, by, Mode::ForcedOpen, hold)
    }

    /// Lets every call through uncounted, until a resume or reset, or until `hold` has passed.
    ///
    /// Then the state decides that it had before.
    pub fn disable(&self, by: &By, hold: Option<Duration>) -> Transition {
        self.hold(Act::Disable, by, Mode::Disabled, hold)
    }

    /// Lets every call through, while the state changes as it would; what would have been rejected is counted.
    pub fn shadow(&self, by: &By) -> Transition {
        self.hold(Act::Shadow, by, Mode::Shadow, None)
    }

    /// Ends what operators laid over the circuit, and closes it or lets it probe ([`To`]). Its window starts empty.
    ///
    /// A circuit that is configured to be in shadow is so again.
    pub fn reset(&self, by: &By, to: To) -> Transition {
        let mode = self.inner().config.first_mode();
        self.always(Act::Reset, by, |cold, _, reason, now| {
            let state = match to {
                To::HalfOpen => State::HalfOpen,
                To::Closed => State::Closed,
            };
            if to == To::Closed {
                cold.attempt = 0;
            }
            Plan::new(Standing::new(state, mode), reason, now)
        })
    }

    /// Takes a hold away, or else shadow: what is beneath decides again. `None` if nothing lies over the circuit.
    pub fn resume(&self, by: &By) -> Option<Transition> {
        self.act(Act::Resume, by, |cold, word, reason, now| {
            let mode = match word.mode() {
                // With nothing to take away, the era goes on: its evidence is worth more than a line in the history.
                Mode::Automatic => return None,
                Mode::Shadow => Mode::Automatic,
                hold @ (Mode::ForcedOpen | Mode::Disabled) => cold.beneath(hold),
            };
            Some(self.inner().over_the_same_state(word, mode, reason, now))
        })
    }

    fn hold(&self, act: Act, by: &By, mode: Mode, hold: Option<Duration>) -> Transition {
        self.always(act, by, |_, word, reason, now| {
            let mut plan = self.inner().over_the_same_state(word, mode, reason, now);
            plan.hold_until = hold.map_or(Tick::NEVER, |hold| now.saturating_add(hold));
            plan
        })
    }

    fn always(&self, act: Act, by: &By, plan: impl FnOnce(&mut Cold, Word, Reason, Tick) -> Plan) -> Transition {
        let transition = self.act(act, by, |cold, word, reason, now| Some(plan(cold, word, reason, now)));
        transition.expect("there is a plan")
    }

    fn act(
        &self,
        act: Act,
        by: &By,
        plan: impl FnOnce(&mut Cold, Word, Reason, Tick) -> Option<Plan>,
    ) -> Option<Transition> {
        let inner = self.inner();
        let reason = Reason::Operator { act, by: Arc::new(by.clone()) };
        inner.change_any(|cold, word| plan(cold, word, reason, inner.now()))
    }
}
