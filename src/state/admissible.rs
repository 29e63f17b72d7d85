//! The rules by which an order of an operator is carried out or refused, such as the cooldown of a reset.
//!
//! A circuit judges an order by its own facts, and an `Operator` judges an order by the facts in the record. Circuit
//! and `Operator` use the same pure function, so that they refuse the same orders. The facts must not change until the
//! order is carried out. Until then a circuit holds its lock. An `Operator` writes the record by compare-and-set.

use std::time::Duration;

use super::order::Order;
use super::order_hash::{Earlier, Repetition};
use super::refused::Refused;
use super::{Act, Generation};

/// The facts by which an order is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The name of the circuit.
    pub(crate) name: &'a str,
    /// The order with the same id that was carried out earlier, if any.
    pub(crate) earlier: Earlier,
    /// The generation of the latest change of the circuit.
    pub(crate) latest: Generation,
    /// The remaining time in which a reset is refused. Zero after the cooldown.
    pub(crate) cooldown: Duration,
    /// True if the circuit is held (forced open or disabled) or in shadow mode, so that a resume has an effect.
    pub(crate) held: bool,
    /// True if a reset would change nothing, because the circuit is known to be closed and in its configured mode on
    /// every instance.
    pub(crate) undisturbed: bool,
}

/// Returns true if the order must be carried out, and false if the same order was already carried out.
///
/// The first row that matches the order and the facts decides.
///
/// | rule | order | facts | result |
/// |---|---|---|---|
/// | known | any | The same order was already carried out, with this id. | `Ok(false)` |
/// | id used | any | An order of the same id was already carried out, and its hash is different or not known. | [`Refused::IdUsed`] |
/// | stale | names the change that its operator [has seen](Order::seen) | The latest change is newer. | [`Refused::Stale`] |
/// | nothing to reset | a reset with an id | The circuit is closed and not held anywhere. | [`Refused::NothingToReset`] |
/// | cooldown | a reset without [`force`](Order::force) | The cooldown has not ended. | [`Refused::Cooldown`] |
/// | nothing held | a resume | The circuit is neither held nor in shadow. | [`Refused::NothingHeld`] |
/// | otherwise | any | any | `Ok(true)` |
///
/// # Errors
///
/// [`Refused`] with the variant in the table.
pub(crate) fn admissible(order: &Order, facts: &Facts<'_>) -> Result<bool, Refused> {
    let Facts { name, earlier, latest, cooldown, held, undisturbed } = *facts;
    match earlier.of(order.order_hash()) {
        Repetition::New => {}
        Repetition::Same => return Ok(false),
        Repetition::Other => return Err(Refused::IdUsed { id: order.command_id().to_owned() }),
    }
    if let Some(seen) = order.seen.filter(|seen| *seen < latest) {
        return Err(Refused::Stale { seen, now: latest });
    }
    // This rule is only for orders with an id. An order without an id comes from the program, which gives the order
    // directly to a circuit and knows the state of the circuit.
    if order.act == Act::Reset && undisturbed && order.id.is_some() {
        // The circuit is healthy. After a reset to half-open the circuit would reject most calls.
        return Err(Refused::NothingToReset { name: name.to_owned() });
    }
    if order.act == Act::Reset && !order.force && !cooldown.is_zero() {
        return Err(Refused::Cooldown { left: cooldown });
    }
    if order.act == Act::Resume && !held {
        // A transition without a change would still discard the evidence of the circuit. Therefore the resume is
        // refused.
        return Err(Refused::NothingHeld { name: name.to_owned() });
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::By;
    use crate::state::order::To;

    /// Facts with which the rules `stale`, `cooldown` and `nothing held` refuse an order.
    const WORST: Facts<'_> = Facts {
        name: "payments",
        earlier: Earlier::None,
        latest: Generation::new(7),
        cooldown: LEFT,
        held: false,
        undisturbed: false,
    };
    const LEFT: Duration = Duration::from_secs(40);
    const OLD: Generation = Generation::new(6);

    fn orders() -> [Order; 5] {
        let by = By::new("alice", "a test").expect("it is valid");
        let disable = Order::disable(&by).indefinitely();
        [Order::trip(&by), disable, Order::reset(&by, To::Closed), Order::resume(&by), Order::forget(&by)]
    }

    fn reset() -> Order {
        let [_, _, reset, ..] = orders();
        reset
    }

    fn resume() -> Order {
        let [.., resume, _] = orders();
        resume
    }

    #[test]
    fn a_known_order_is_not_carried_out_again_whatever_would_refuse_it() {
        for order in orders().map(|order| order.seen(OLD)) {
            let earlier = Earlier::Done(Some(order.order_hash()));
            assert_eq!(admissible(&order, &Facts { earlier, ..WORST }), Ok(false), "{order:?}");
        }
    }

    #[test]
    fn an_order_whose_id_belongs_to_another_order_is_refused() {
        let all = orders().map(|order| order.id("OPS-12"));
        for (order, other) in all.iter().flat_map(|order| all.iter().map(move |other| (order, other))) {
            let facts = Facts { earlier: Earlier::Done(Some(other.order_hash())), held: true, ..WORST };
            let refused = Err(Refused::IdUsed { id: "OPS-12".to_owned() });
            assert_eq!(admissible(order, &facts), if order == other { Ok(false) } else { refused.clone() });
            assert_eq!(admissible(order, &Facts { earlier: Earlier::Done(None), ..facts }), refused, "it is not known");
        }
    }

    #[test]
    fn an_order_on_something_older_is_refused_before_cooldown_and_missing_hold() {
        for order in orders().map(|order| order.seen(OLD).force()) {
            assert_eq!(admissible(&order, &WORST), Err(Refused::Stale { seen: OLD, now: WORST.latest }), "{order:?}");
        }
        assert_eq!(admissible(&reset().seen(OLD), &WORST), Err(Refused::Stale { seen: OLD, now: WORST.latest }));
        for seen in [WORST.latest, Generation::new(8)] {
            assert_eq!(admissible(&reset().seen(seen), &WORST), Err(Refused::Cooldown { left: LEFT }));
        }
    }

    #[test]
    fn only_a_reset_waits_for_the_cooldown_unless_it_is_forced() {
        for order in orders() {
            let expected = if order.act == Act::Reset { Err(Refused::Cooldown { left: LEFT }) } else { Ok(true) };
            assert_eq!(admissible(&order, &Facts { held: true, ..WORST }), expected, "{order:?}");
        }
        assert_eq!(admissible(&reset().force(), &WORST), Ok(true));
        assert_eq!(admissible(&reset(), &Facts { cooldown: Duration::ZERO, ..WORST }), Ok(true));
    }

    #[test]
    fn only_a_reset_needs_a_circuit_that_is_disturbed() {
        let resting = Facts { undisturbed: true, held: true, ..WORST };
        for order in orders().map(Order::force) {
            let nothing = || Err(Refused::NothingToReset { name: "payments".to_owned() });
            let expected = if order.act == Act::Reset { nothing() } else { Ok(true) };
            assert_eq!(admissible(&order, &resting), expected, "{order:?}");
        }
        let by = By::new("alice", "a test").expect("it is valid");
        assert_eq!(admissible(&Order { force: true, ..Order::direct(Act::Reset, &by) }, &resting), Ok(true));
    }

    #[test]
    fn only_a_resume_needs_something_that_is_held() {
        let nothing_held = Err(Refused::NothingHeld { name: "payments".to_owned() });
        assert_eq!(admissible(&resume(), &WORST), nothing_held);
        assert_eq!(admissible(&resume().force(), &WORST), nothing_held, "force skips the cooldown and nothing else");
        assert_eq!(admissible(&resume(), &Facts { held: true, ..WORST }), Ok(true));
        for order in orders().into_iter().filter(|order| order.act != Act::Resume) {
            assert_eq!(admissible(&order.force(), &WORST), Ok(true));
        }
    }
}
