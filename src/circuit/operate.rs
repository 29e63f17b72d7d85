//! What operators do to a circuit, each act with who and why.
//!
//! An act takes effect here at once and is told to the observers like every transition. It outlives every automatic change:
//! only another act, or the end that it was given, ends it.

use std::sync::Arc;
use std::time::Duration;

use super::Circuit;
use super::change::Plan;
use super::cold::Cold;
use super::inner::Inner;
use super::word::Word;
use crate::clock::Tick;
use crate::state::order::{Order, To};
use crate::state::{Act, By, Generation, Mode, Reason, Standing, State, Transition};

impl Circuit {
    /// Forces the circuit open, until a reset, or until `hold` has passed.
    ///
    /// Then it is half-open; under manual recovery, what it was before.
    pub fn trip(&self, by: &By, hold: Option<Duration>) -> Transition {
        self.always(&Order { hold, ..Order::direct(Act::Trip, by) })
    }

    /// Lets every call through uncounted, until a resume or reset, or until `hold` has passed.
    ///
    /// Then the state decides that it had before.
    pub fn disable(&self, by: &By, hold: Option<Duration>) -> Transition {
        self.always(&Order { hold, ..Order::direct(Act::Disable, by) })
    }

    /// Lets every call through, while the state changes as it would; what would have been rejected is counted.
    pub fn shadow(&self, by: &By) -> Transition {
        self.always(&Order::direct(Act::Shadow, by))
    }

    /// Ends what operators laid over the circuit, and closes it or lets it probe ([`To`]). Its window starts empty.
    ///
    /// A circuit that is configured to be in shadow is so again. No cooldown is asked, as by
    /// [`Registry::reset`](crate::Registry::reset).
    pub fn reset(&self, by: &By, to: To) -> Transition {
        self.always(&Order { to, ..Order::direct(Act::Reset, by) })
    }

    /// Takes a hold away, or else shadow: what is beneath decides again. `None` if nothing lies over the circuit.
    pub fn resume(&self, by: &By) -> Option<Transition> {
        self.act(&Order::direct(Act::Resume, by)).ok()
    }

    fn always(&self, order: &Order) -> Transition {
        self.act(order).expect("a direct act is refused only if it resumes")
    }

    /// Does what was ordered, unless it was done before or must be refused: decided under the lock, so that of two orders on
    /// what was seen only one is carried out.
    pub(crate) fn act(&self, order: &Order) -> Result<Transition, NotDone> {
        let inner = self.inner();
        let mut refused = NotDone::NothingHeld;
        let edge = inner.change_any(|cold, word| {
            let now = inner.now();
            match inner.planned(order, cold, word, now) {
                Ok(plan) => Some(plan),
                Err(why) => {
                    refused = why;
                    None
                }
            }
        });
        edge.ok_or(refused)
    }
}

impl Inner {
    fn planned(&self, order: &Order, cold: &mut Cold, word: Word, now: Tick) -> Result<Plan, NotDone> {
        let Order { act, by, to, hold, id, seen, force, .. } = order;
        if id.as_ref().is_some_and(|id| cold.past().is_some_and(|past| past.has_done(id))) {
            return Err(NotDone::Known);
        }
        if let Some(seen) = seen.filter(|seen| *seen < cold.latest()) {
            return Err(NotDone::Stale { seen, now: cold.latest() });
        }
        if *act == Act::Reset
            && !force
            && let Some(left) = self.cooldown(cold, now)
        {
            return Err(NotDone::Cooldown { left });
        }
        let reason = Reason::Operator { act: *act, by: Arc::new(by.clone()) };
        let over = |mode| self.over_the_same_state(word, mode, reason.clone(), now);
        let anew = |state| Plan::new(Standing::new(state, self.config.first_mode()), reason.clone(), now);
        let mut plan = match act {
            Act::Trip => over(Mode::ForcedOpen),
            Act::Disable => over(Mode::Disabled),
            Act::Shadow => over(Mode::Shadow),
            Act::Resume => match word.mode() {
                // With nothing to take away, the era goes on: its evidence is worth more than a line in the history.
                Mode::Automatic => return Err(NotDone::NothingHeld),
                Mode::Shadow => over(Mode::Automatic),
                hold @ (Mode::ForcedOpen | Mode::Disabled) => over(cold.beneath(hold)),
            },
            Act::Reset if *to == To::HalfOpen => anew(State::HalfOpen),
            Act::Reset | Act::Forget => {
                cold.attempt = 0;
                anew(State::Closed)
            }
        };
        if plan.standing.mode.is_hold() && matches!(act, Act::Trip | Act::Disable) {
            plan.hold_until = hold.map_or(Tick::NEVER, |hold| now.saturating_add(hold));
        }
        plan.order.clone_from(id);
        Ok(plan)
    }

    /// Returns how long a reset must still be refused, by the local clock: this circuit's own time counts, and where it is
    /// closed, the one that was published.
    pub(super) fn cooldown(&self, cold: &Cold, now: Tick) -> Option<Duration> {
        let past = cold.past()?;
        let tripped = past.tripped.or(past.tripped_elsewhere)?;
        let left = self.config.reset_cooldown.saturating_sub(tripped.passed(now));
        (!left.is_zero()).then_some(left)
    }
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// It was done before.
    Known,
    /// Something has happened since.
    Stale { seen: Generation, now: Generation },
    /// The circuit was tripped too short a time ago.
    Cooldown { left: Duration },
    /// There is nothing to resume.
    NothingHeld,
}
