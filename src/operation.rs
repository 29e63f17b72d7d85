//! What operators do to circuits: one order at a time, with who and why, for the whole fleet where there is a store.
//!
//! An [`Order`] given to a [`Registry`](crate::Registry) takes effect in this process at once, whatever the store does; the
//! answer says whether the store has it too, and with it every other instance. An [`Operator`] gives the same orders to a store
//! alone, for a command line that has no circuits. Nothing here decides what an act means: that is `circuit` and `record`.
//!
//! ```text
//! Order ──▶ Registry::operate ──▶ circuit, at once ──▶ coordinator ──▶ store ──▶ every other instance
//!       └─▶ Operator::operate ─────────────────────────────────────────▶ store ──▶ every instance
//! ```
//!
//! # Rules
//!
//! * Every order has an id. Given again, also to another instance, it is carried out once, and answered as the first time.
//! * An order may say what its operator [has seen](Order::seen). If something has happened since, it is refused.
//! * A reset is refused within [`reset_cooldown`](crate::config::ConfigBuilder::reset_cooldown) of leaving closed, or of the
//!   last trip by hand; [`force`](Order::force) skips that and nothing else. Who tripped by mistake resumes.
//! * Every act is a row of the audit, those that were overtaken too.

mod answer;
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
pub use operator::{Operator, Shown};
#[cfg(feature = "store")]
pub use watch::{Change, Changes};
