//! The acts of operators on a circuit, and the cooldown of a reset. The acts are trip, disable, shadow, reset, resume
//! and forget.
//!
//! An act has a user and a reason. An act takes effect immediately, and observers are notified as for every transition.
//! A hold (forced open or disabled) and a shadow last until another act. A hold with a duration also ends when the
//! duration has passed. Automatic changes do not end a hold or a shadow, because an operator may know more than the
//! counts. A trip or a disable of a held circuit replaces the hold. The duration of the new hold begins with the new
//! act. The effect of an act on a stored record is in `record/apply/operate.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::Circuit;
use super::change::Plan;
use super::cold::Cold;
use super::inner::Inner;
use super::word::Word;
use crate::clock::Tick;
use crate::state::admissible::{Facts, admissible};
use crate::state::order::{Order, To};
use crate::state::order_hash::Earlier;
use crate::state::refused::Refused;
use crate::state::{Act, By, Mode, Reason, Standing, State, Transition};

impl Circuit {
    /// Forces the circuit open until a reset or a resume, or until `hold` has passed.
    ///
    /// After the hold the circuit is half-open. With manual recovery the circuit returns to its earlier state instead.
    pub fn trip(&self, by: &By, hold: Option<Duration>) -> Transition {
        self.always(&Order { hold, ..Order::direct(Act::Trip, by) })
    }

    /// Lets every call through and counts calls only in the totals, until a resume or a reset, or until `hold` has
    /// passed.
    ///
    /// After the hold, the state from before the hold decides about calls again.
    pub fn disable(&self, by: &By, hold: Option<Duration>) -> Transition {
        self.always(&Order { hold, ..Order::direct(Act::Disable, by) })
    }

    /// Lets every call through, while the state changes as always. The totals have the number of calls that would have
    /// been rejected.
    pub fn shadow(&self, by: &By) -> Transition {
        self.always(&Order::direct(Act::Shadow, by))
    }

    /// Removes the hold or the shadow of an operator, and makes the circuit half-open or closed, as `to` says. The
    /// window of the circuit is emptied.
    ///
    /// A circuit that is configured for shadow returns to shadow. The cooldown of
    /// [`Registry::reset`](crate::Registry::reset) does not apply to this method.
    pub fn reset(&self, by: &By, to: To) -> Transition {
        self.always(&Order { to, ..Order::direct(Act::Reset, by) })
    }

    /// Removes the hold, so that the mode and the state beneath the hold decide about calls again. Without a hold,
    /// removes the shadow. A shadow that the configuration has set returns at the next reset or restart. Returns `None`
    /// if the circuit is already in automatic mode.
    pub fn resume(&self, by: &By) -> Option<Transition> {
        self.act(&Order::direct(Act::Resume, by)).ok().flatten()
    }

    fn always(&self, order: &Order) -> Transition {
        self.act(order).ok().flatten().expect("a direct act has no id, and is refused only if it resumes")
    }

    /// Carries out an order, and returns the transition that the order makes. Returns `None` if the same order was
    /// carried out before.
    ///
    /// The order is judged under the cold lock. An order can name the latest change that its operator has seen
    /// (`Order::seen`). If two orders name the same change, at most one of them is carried out, because the transition
    /// of the first order makes the second order stale.
    ///
    /// # Errors
    ///
    /// [`Refused::IdUsed`], [`Refused::Stale`], [`Refused::NothingToReset`], [`Refused::Cooldown`] or
    /// [`Refused::NothingHeld`].
    pub(crate) fn act(&self, order: &Order) -> Result<Option<Transition>, Refused> {
        let inner = self.inner();
        let mut judged = Ok(false);
        let edge = inner.change_any(|cold, word| {
            let now = inner.now();
            judged = admissible(order, &inner.facts(order, cold, word, now));
            (judged == Ok(true)).then(|| inner.planned(order, cold, word, now))
        });
        judged.map(|_| edge)
    }
}

impl Inner {
    /// Returns the facts that decide if the order is carried out.
    fn facts(&self, order: &Order, cold: &Cold, word: Word, now: Tick) -> Facts<'_> {
        Facts {
            name: &self.config.name,
            earlier: order.id.as_ref().zip(cold.past()).map_or(Earlier::None, |(id, past)| past.earlier(id)),
            latest: cold.latest(),
            cooldown: self.cooldown(cold, now).unwrap_or_default(),
            held: word.mode() != Mode::Automatic,
            undisturbed: self.is_at_rest(word) && cold.past().is_none_or(|past| past.tripped_elsewhere.is_none()),
        }
    }

    /// Returns true if the circuit is closed in its configured mode.
    pub(super) fn is_at_rest(&self, word: Word) -> bool {
        word.standing() == Standing::new(State::Closed, self.config.first_mode())
    }

    /// Plans the transition that an admissible order makes.
    fn planned(&self, order: &Order, cold: &mut Cold, word: Word, now: Tick) -> Plan {
        let Order { act, by, to, hold, id, age, is_restored, .. } = order;
        let reason = Reason::Operator { act: *act, by: Arc::new(by.clone()) };
        let over = |mode| self.over_the_same_state(word, mode, reason.clone(), now);
        let anew = |state| Plan::new(Standing::new(state, self.config.first_mode()), reason.clone(), now);
        let mut plan = match act {
            Act::Trip => Plan { tripped_for: Some(*age), ..over(Mode::ForcedOpen) },
            Act::Disable => over(Mode::Disabled),
            Act::Shadow => over(Mode::Shadow),
            Act::Resume => match word.mode() {
                Mode::Automatic | Mode::Shadow => over(Mode::Automatic),
                Mode::ForcedOpen | Mode::Disabled => over(word.beneath()),
            },
            // An order with an id goes to every instance, but is meant for circuits that are tripped. This circuit is
            // healthy and therefore stays closed.
            Act::Reset if id.is_some() && self.is_at_rest(word) => anew(State::Closed),
            Act::Reset if *to == To::HalfOpen => anew(State::HalfOpen),
            Act::Reset | Act::Forget => {
                cold.attempt = 0;
                anew(State::Closed)
            }
        };
        if plan.standing.mode.is_hold() && matches!(act, Act::Trip | Act::Disable) {
            plan.hold_until = hold.and_then(|hold| now.saturating_add(hold).known());
            plan.hold_for = Some(*age);
        }
        plan.is_logged = *is_restored;
        plan.order = id.as_ref().map(|id| (Arc::clone(id), order.order_hash()));
        plan.resets_to = (*act == Act::Reset).then_some(*to);
        plan
    }

    /// Returns the rest of the cooldown, in which a reset is refused. The cooldown begins when this circuit leaves the
    /// closed state, or when an operator trips the circuit. If this circuit is closed, but another instance has
    /// tripped, the cooldown begins at the time at which the stored record was tripped. `None` if the cooldown is over,
    /// or if no such time is known.
    pub(super) fn cooldown(&self, cold: &Cold, now: Tick) -> Option<Duration> {
        let past = cold.past()?;
        let tripped = past.tripped.or(past.tripped_elsewhere)?;
        let left = self.config.reset_cooldown.saturating_sub(tripped.passed(now));
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;
    use crate::clock::MockClock;
    use crate::config::Config;

    fn circuit() -> Circuit {
        let config = Config::builder("payments").clock(MockClock::new());
        Circuit::new(config.reset_cooldown(Duration::from_secs(60)).build().expect("it is valid"))
    }

    fn aged(act: Act) -> Order {
        let by = By::new("alice", "a test").expect("it is valid");
        Order { age: Duration::from_secs(20), ..Order::direct(act, &by) }
    }

    #[test]
    fn the_cooldown_counts_from_when_a_trip_was_carried_out_elsewhere() {
        let circuit = circuit();
        circuit.act(&aged(Act::Trip)).expect("nothing refuses it");
        let (tripped_for, reset_in) = (circuit.status().tripped_for, circuit.status().reset_in);
        assert_eq!((tripped_for, reset_in), (Some(Duration::from_secs(20)), Some(Duration::from_secs(40))));
    }

    #[test]
    fn the_age_of_another_act_dates_nothing() {
        let circuit = circuit();
        circuit.act(&aged(Act::Reset)).expect("nothing refuses it");
        assert_eq!(circuit.status().tripped_for, Some(Duration::ZERO), "it is half-open since now");
    }

    #[test]
    fn an_order_that_was_carried_out_before_makes_no_edge() {
        let (circuit, order) = (circuit(), Order { id: Some("click-1".into()), ..aged(Act::Trip) });
        assert!(circuit.act(&order).expect("nothing refuses it").is_some());
        assert_eq!(circuit.act(&order), Ok(None));
    }
}
