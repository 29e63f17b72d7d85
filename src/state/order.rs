//! An order, which is the request of an operator to trip, reset, disable, resume or forget one circuit.
//!
//! A circuit, a registry, the coordinator and an `Operator` use the same type, so that no layer has to translate
//! orders. The type is in this module and not in `operation`, because circuits carry orders out and cannot import
//! `operation`.

use std::sync::Arc;
use std::time::Duration;

use super::order_hash::OrderHash;
use super::refused::Refused;
use super::{Act, By, Exact, Generation, State};
use crate::random;

/// A request of an operator for one act on one circuit, with the user and the reason.
///
/// ```
/// use std::time::Duration;
/// use tower_circuit_breaker::{By, circuit::To, operation::Order};
///
/// let by = By::new("alice", "the provider announced a maintenance")?;
/// let trip = Order::trip(&by).hold(Duration::from_secs(600)).id("click-7");
/// let reset = Order::reset(&by, To::HalfOpen).force();
/// let disable = Order::disable(&by).indefinitely();
/// # let _: [Order; 3] = [trip, reset, disable];
/// # Ok::<(), tower_circuit_breaker::state::InvalidBy>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an order does nothing until it is given to a registry or an operator"]
pub struct Order {
    pub(crate) act: Act,
    pub(crate) by: By,
    pub(crate) to: To,
    pub(crate) hold: Option<Duration>,
    /// The id of the order. `None` for an act that the program gives directly to a circuit.
    pub(crate) id: Option<Arc<str>>,
    pub(crate) seen: Option<Generation>,
    pub(crate) force: bool,
    pub(crate) create: bool,
    /// The time since another instance carried out the act. Zero for a new order.
    pub(crate) age: Duration,
    /// True for a hold (a forced-open or disabled mode) that began before the start of this process. The coordinator
    /// logs the restored state with its hold, so the transition to the hold is not logged again.
    pub(crate) is_restored: bool,
}

impl Order {
    /// Creates an order that forces the circuit open. The circuit stays forced open until a reset or a resume, or until
    /// the duration that [`hold`](Self::hold) sets has passed. After that duration the circuit is half-open. With
    /// manual recovery the circuit returns to its earlier state instead.
    pub fn trip(by: &By) -> Self {
        Self::new(Act::Trip, by)
    }

    /// Creates an order that ends a forced-open, disabled or shadow mode. The circuit then closes or begins to probe,
    /// depending on `to`.
    pub fn reset(by: &By, to: To) -> Self {
        Self { to, ..Self::new(Act::Reset, by) }
    }

    /// Begins an order that lets every call through. The circuit adds the calls to its totals, but not to its window. A
    /// disabled circuit protects nothing and is easily forgotten. Therefore the returned value becomes an order only
    /// with a duration ([`hold`](Disable::hold)) or with [`indefinitely`](Disable::indefinitely).
    pub fn disable(by: &By) -> Disable {
        Disable(Self::new(Act::Disable, by))
    }

    /// Creates an order that ends a forced-open, disabled or shadow mode, so that the circuit decides by itself again.
    /// A resume has no cooldown, so use a resume to undo a trip that was a mistake.
    pub fn resume(by: &By) -> Self {
        Self::new(Act::Resume, by)
    }

    /// Creates an order that deletes the stored record of the circuit. If this process has the circuit, the circuit
    /// becomes closed and starts without evidence.
    ///
    /// Use this order only for names that are no longer in use. An instance that still has the circuit writes the
    /// record again.
    pub fn forget(by: &By) -> Self {
        Self::new(Act::Forget, by)
    }

    /// Sets the duration of a trip, which then ends by itself. Range: 1 ms to 365 days.
    pub const fn hold(mut self, hold: Duration) -> Self {
        self.hold = Some(hold);
        self
    }

    /// Allows a reset within the cooldown. All other rules still apply.
    pub const fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Sets the id of the order, for a caller that may have to repeat the order and cannot keep the `Order`.
    /// An id has 1 to 64 bytes of printable ASCII without spaces. Default: 128 random bits, which clones of
    /// the order share.
    ///
    /// An id belongs to one order on a circuit. An order with the same id, but with another act, target, hold, user or
    /// reason, is refused with [`Refused::IdUsed`]. For each circuit, an instance remembers the ids of the last
    /// 16 orders. The store remembers the ids of the last 8 orders. An order with an older id is carried out like a new
    /// order.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the latest change that the operator knew when giving the order
    /// ([`Status::latest`](crate::Status::latest),
    /// [`CircuitRecord::latest`](../record/struct.CircuitRecord.html#method.latest)). The order is refused if
    /// the circuit has changed since.
    pub const fn seen(mut self, latest: Generation) -> Self {
        self.seen = Some(latest);
        self
    }

    /// Lets an [`Operator`](../operation/struct.Operator.html) create the record of an unknown circuit. The act takes
    /// effect as soon as a circuit of that name is created. A registry ignores this setting, because a registry knows
    /// its circuits.
    pub const fn create(mut self) -> Self {
        self.create = true;
        self
    }

    /// Returns the act that the order requests.
    #[must_use]
    pub const fn act(&self) -> Act {
        self.act
    }

    /// Returns the id of the order. The id is empty for an act that the program gives directly to a circuit.
    #[must_use]
    pub fn command_id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// Returns the user and the reason of the order.
    #[must_use]
    pub const fn by(&self) -> &By {
        &self.by
    }

    /// Returns the hash of the order. Orders with different hashes are different orders and must not share an id.
    pub(crate) fn order_hash(&self) -> OrderHash {
        OrderHash::new(self.act, self.to.into(), self.hold, &self.by)
    }

    fn new(act: Act, by: &By) -> Self {
        Self { id: Some(random::id().into()), force: false, ..Self::direct(act, by) }
    }

    /// Creates an order that the program gives directly to a circuit. The order has no id, and can reset a circuit
    /// without waiting for the cooldown of resets.
    pub(crate) fn direct(act: Act, by: &By) -> Self {
        let by = by.clone();
        Self {
            act,
            by,
            to: To::HalfOpen,
            hold: None,
            id: None,
            seen: None,
            force: true,
            create: false,
            age: Duration::ZERO,
            is_restored: false,
        }
    }

    /// Checks the hold and the id of the order, and returns an error if one of them is not allowed.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        let invalid = |problem: String| Err(Refused::Invalid { problem });
        if let Some(hold) = self.hold {
            if !matches!(self.act, Act::Trip | Act::Disable) {
                return invalid(format!("a {} cannot have a hold, only a trip and a disable can", self.act.as_str()));
            }
            if !(SHORTEST..=LONGEST).contains(&hold) {
                return invalid(format!("a hold of {} is out of range, allowed is 1 ms to 365 days", Exact(hold)));
            }
        }
        let id = self.command_id();
        if !(1..=64).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return invalid("the id of an order is 1 to 64 bytes of printable ASCII without spaces".to_owned());
        }
        Ok(())
    }
}

/// The state to which a reset leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a reset lets the circuit probe or closes it")]
pub enum To {
    /// Half-open, so that probes find out whether the service has recovered.
    HalfOpen,
    /// Closed, for an operator who knows that the service has recovered.
    Closed,
}

impl From<To> for State {
    fn from(to: To) -> Self {
        match to {
            To::HalfOpen => Self::HalfOpen,
            To::Closed => Self::Closed,
        }
    }
}

/// A disable order without a duration yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a disable becomes an order with `hold` or `indefinitely`"]
pub struct Disable(Order);

impl Disable {
    /// Sets the duration of the disabling. After this duration the circuit decides by itself again. Range: 1 ms to 365
    /// days.
    pub fn hold(self, hold: Duration) -> Order {
        self.0.hold(hold)
    }

    /// Keeps the circuit disabled until an operator resumes or resets it.
    pub fn indefinitely(self) -> Order {
        self.0
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
