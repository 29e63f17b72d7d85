//! Orders that operators give. An order changes one circuit on all instances that share a store. Each order names the
//! user who gives the order, and a reason.
//!
//! With [`Registry::operate`](crate::Registry::operate), an [`Order`] takes effect in this process immediately, even if
//! the store is down. The result says whether the order is stored. A stored order reaches every other instance. An
//! [`Operator`] writes the same orders only to a store, for a command-line tool without circuits. The module `circuit`
//! decides the effect of an order on a circuit, and the module `record` decides the effect on a stored record.
//!
//! ```text
//! Order ──▶ Registry::operate ──▶ circuit, at once ──▶ coordinator ──▶ store ──▶ every other instance
//!       └─▶ Operator::operate ─────────────────────────────────────────▶ store ──▶ every instance
//! ```
//!
//! # Rules
//!
//! * Every order has an id. An order that is given twice, to the same or to another instance, takes effect once. The
//!   second result says that the order is [`repeated`](Done::repeated).
//! * An order can name the latest change of the circuit that the operator [has seen](Order::seen). If there was a later
//!   change, the order is refused.
//! * A reset is refused for the duration [`reset_cooldown`](crate::config::ConfigBuilder::reset_cooldown). This
//!   duration begins when the circuit leaves the closed state or an operator trips the circuit. [`force`](Order::force)
//!   skips only this rule. To undo an accidental trip, use a resume, which has no cooldown.
//! * Every order that was carried out has a row in the audit, even if a newer order has replaced its effect.

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
