//! One act, as an operator orders it.
//!
//! A circuit, the coordinator and a store take the same order, so that no layer translates the order of another one. The type is
//! as low as its parts, because circuits carry orders out.

use std::sync::Arc;
use std::time::Duration;

use super::refused::Refused;
use super::{Act, By, Generation, State};
use crate::random;

/// One act on one circuit, with who and why.
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
    /// `None` of an act that was done directly on a circuit.
    pub(crate) id: Option<Arc<str>>,
    pub(crate) seen: Option<Generation>,
    pub(crate) force: bool,
    pub(crate) create: bool,
    /// The time since the act was carried out on another instance. Zero for a new order.
    pub(crate) age: Duration,
}

impl Order {
    /// Forces the circuit open until a reset, or for as long as [`hold`](Self::hold) says; then it is half-open.
    pub fn trip(by: &By) -> Self {
        Self::new(Act::Trip, by)
    }

    /// Ends every override, and lets the circuit probe or closes it.
    pub fn reset(by: &By, to: To) -> Self {
        Self { to, ..Self::new(Act::Reset, by) }
    }

    /// Lets every call through, uncounted. For how long must be said: a circuit that nobody enables again protects nobody.
    pub fn disable(by: &By) -> Disable {
        Disable(Self::new(Act::Disable, by))
    }

    /// Takes an override away; what is beneath decides again. It undoes a trip by mistake, without a cooldown.
    pub fn resume(by: &By) -> Self {
        Self::new(Act::Resume, by)
    }

    /// Deletes what the store keeps of the circuit; a circuit of this process begins anew, closed.
    ///
    /// It is for names that nobody uses any more: an instance that still has the circuit writes what it knows again.
    pub fn forget(by: &By) -> Self {
        Self::new(Act::Forget, by)
    }

    /// Ends a trip by itself after so long. Range: 1 ms to 365 days.
    pub const fn hold(mut self, hold: Duration) -> Self {
        self.hold = Some(hold);
        self
    }

    /// Resets within the cooldown, too. Nothing else is skipped.
    pub const fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Names the order, for who may have to give it again without having kept it: 1 to 64 bytes of printable ASCII without
    /// spaces. Otherwise its id is 128 random bits, which clones share.
    ///
    /// Of a circuit the ids of the last 16 orders are known here, and of the last 8 in the store.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Says what was the latest when the order was decided on ([`Status::latest`](crate::Status::latest),
    /// [`CircuitRecord::latest`](../record/struct.CircuitRecord.html#method.latest)): if something has happened since, it is
    /// refused.
    pub const fn seen(mut self, latest: Generation) -> Self {
        self.seen = Some(latest);
        self
    }

    /// Lets an [`Operator`](../operation/struct.Operator.html) make the record if there is none: the act then binds when a circuit
    /// of that name appears. A registry has its circuits and does not look at it.
    pub const fn create(mut self) -> Self {
        self.create = true;
        self
    }

    /// Returns what is to be done.
    #[must_use]
    pub const fn act(&self) -> Act {
        self.act
    }

    /// Returns the id.
    #[must_use]
    pub fn command_id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// Returns who orders it, and why.
    #[must_use]
    pub const fn by(&self) -> &By {
        &self.by
    }

    fn new(act: Act, by: &By) -> Self {
        Self { id: Some(random::id().into()), force: false, ..Self::direct(act, by) }
    }

    /// Returns an act without an id, which is done directly on a circuit and never waits for a cooldown.
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
        }
    }

    /// Refuses what could not be carried out as it was said.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        let invalid = |problem: String| Err(Refused::Invalid { problem });
        if let Some(hold) = self.hold {
            if !matches!(self.act, Act::Trip | Act::Disable) {
                return invalid(format!("a {} does not last: only a trip and a disable hold", self.act.as_str()));
            }
            if !(SHORTEST..=LONGEST).contains(&hold) {
                return invalid(format!("a hold of {hold:?} is out of range, allowed is 1 ms to 365 days"));
            }
        }
        let id = self.command_id();
        if !(1..=64).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return invalid("the id of an order is 1 to 64 bytes of printable ASCII without spaces".to_owned());
        }
        Ok(())
    }
}

/// Where a reset leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a reset lets the circuit find out, or it knows better")]
pub enum To {
    /// Let it probe: the service has to show that it is back.
    HalfOpen,
    /// Close it: whoever resets knows that the service is back.
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

/// An order to disable that does not say yet for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is an order once `hold` or `indefinitely` is said"]
pub struct Disable(Order);

impl Disable {
    /// Ends by itself after so long. Range: 1 ms to 365 days.
    pub fn hold(self, hold: Duration) -> Order {
        self.0.hold(hold)
    }

    /// Lasts until somebody resumes or resets.
    pub fn indefinitely(self) -> Order {
        self.0
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
