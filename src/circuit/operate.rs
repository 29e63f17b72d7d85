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
        self.act(Act::Trip, by, |this, word, plan| {
            this.hold(plan, Standing::new(word.state(), Mode::ForcedOpen), hold);
        })
    }

    /// Ends every hold and shadow, and closes the circuit or lets it probe. Its window starts empty.
    pub fn reset(&self, by: &By, to: To) -> Transition {
        self.change_by(Act::Reset, by, |_, cold, _, plan| {
            let state = match to {
                To::HalfOpen => State::HalfOpen,
                To::Closed => State::Closed,
            };
            if to == To::Closed {
                cold.attempt = 0;
            }
            plan.standing = Standing::new(state, Mode::Automatic);
        })
    }

    /// Lets every call through uncounted, until a resume or reset, or until `hold` has passed.
    ///
    /// Then the state decides that it had before.
    pub fn disable(&self, by: &By, hold: Option<Duration>) -> Transition {
        self.act(Act::Disable, by, |this, word, plan| {
            this.hold(plan, Standing::new(word.state(), Mode::Disabled), hold);
        })
    }

    /// Lets every call through, while the state changes as it would; what would have been rejected is counted.
    pub fn shadow(&self, by: &By) -> Transition {
        self.act(Act::Shadow, by, |this, word, plan| {
            plan.standing = Standing::new(word.state(), Mode::Shadow);
            plan.open_until = this.inner().open_until();
        })
    }

    /// Takes away what lies over the circuit: the state beneath decides again. `None` if nothing does.
    pub fn resume(&self, by: &By) -> Option<Transition> {
        let reason = Reason::Operator { act: Act::Resume, by: Arc::new(by.clone()) };
        let inner = self.inner();
        // With nothing to take away, the era goes on: its evidence is worth more than a line in the history.
        inner.change_any(|_, word| (word.mode() != Mode::Automatic).then(|| inner.uncovered(word, inner.now(), reason)))
    }

    fn hold(&self, plan: &mut Plan, standing: Standing, hold: Option<Duration>) {
        plan.standing = standing;
        plan.hold_until = hold.map_or(Tick::NEVER, |hold| plan.now.saturating_add(hold));
        // Of the state beneath, for when the hold has ended.
        plan.open_until = self.inner().open_until();
    }

    fn act(&self, act: Act, by: &By, shape: impl FnOnce(&Self, Word, &mut Plan)) -> Transition {
        self.change_by(act, by, |this, _, word, plan| shape(this, word, plan))
    }

    fn change_by(&self, act: Act, by: &By, shape: impl FnOnce(&Self, &mut Cold, Word, &mut Plan)) -> Transition {
        let reason = Reason::Operator { act, by: Arc::new(by.clone()) };
        let transition = self.inner().change_any(|cold, word| {
            let mut plan = Plan::new(word.standing(), reason, self.inner().now());
            shape(self, cold, word, &mut plan);
            Some(plan)
        });
        transition.expect("the plan never gives up")
    }
}
