//! The orders of operators. An order changes one circuit, names its user and its reason, and applies to all instances
//! that share a store.
//!
//! An [`Order`] that is given to a [`Registry`](crate::Registry) takes effect in this process immediately, even if the
//! store is down. The answer says whether the order is stored, because a stored order reaches every other instance. An
//! [`Operator`] writes the same orders only to a store, for a command line that has no circuits. Other modules decide
//! the effect of an order. The module `circuit` decides the effect on a circuit, and `record` the effect on a stored
//! record.
//!
//! ```text
//! Order ──▶ Registry::operate ──▶ circuit, at once ──▶ coordinator ──▶ store ──▶ every other instance
//!       └─▶ Operator::operate ─────────────────────────────────────────▶ store ──▶ every instance
//! ```
//!
//! # Rules
//!
//! * Every order has an id. If an order is given again, to the same or to another instance, the order takes effect
//!   once, and the answer says that the order is [`repeated`](Done::repeated).
//! * An order can name the latest change that its operator [has seen](Order::seen). If the circuit has changed since
//!   then, the order is refused.
//! * A reset is refused for [`reset_cooldown`](crate::config::ConfigBuilder::reset_cooldown) after the circuit has left
//!   the closed state, or after an operator tripped the circuit. [`force`](Order::force) skips only this rule. To undo
//!   a trip by mistake, use a resume, which has no cooldown.
//! * Every act has a row in the audit, even if a newer act has superseded the act.

mod answer;
#[cfg(feature = "store")]
mod fleet;
mod local;
#[cfg(feature = "store")]
mod operator;
#[cfg(feature = "store")]
mod watch;

pub use crate::registry::feed::{News, Subscription, What};
pub use crate::state::order::{Disable, Order};
pub use crate::state::refused::Refused;
pub use answer::{Done, Kept};
#[cfg(feature = "store")]
pub use fleet::{FleetInstance, FleetLease, FleetStatus, FleetVote};
#[cfg(feature = "store")]
pub use operator::{Membership, Operator, Reach, Shown};
#[cfg(feature = "store")]
pub use watch::{Change, Changes};
