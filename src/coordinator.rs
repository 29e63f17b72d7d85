//! One background task per registry that keeps circuits and store in step.
//!
//! It is level-triggered: what is to be written is derived anew from the circuit whenever the store can take it, so nothing
//! queues up, nothing obsolete is sent, and memory is bounded by the number of circuits. Circuits never wait for it: they are
//! looked at after the fact, and told through [`adopt`](crate::Circuit::adopt), [`advise`](crate::Circuit::advise) and the acts
//! of operators. What a record means is decided in [`record`](crate::record); here is only when to look and when to write.
//!
//! ```text
//! circuits ── bell: a transition ──▶ desk (one a circuit) ── write ──▶ link: deadline, backoff ──▶ store
//!     ▲   ◀── adopt, advise, act ──   what is known,      ◀── load, conflict, watch ──────────────────┘
//!                                     what is desired      outbox: audit rows, once each
//! ```

mod builder;
mod delivery;
mod desk;
mod desks;
mod hub;
mod instance;
mod ledger;
mod lifecycle;
mod link;
mod outbox;
mod report;
mod restore;
mod task;
mod terms;
mod waiters;

use std::fmt;

pub use builder::RegistryBuilder;
pub(crate) use delivery::{Delivery, NoRoom, row_id};
pub(crate) use instance::host_name;
pub use lifecycle::NoRuntime;
pub use report::{Recovered, RestoreReport, Restored, ShutdownReport, StoreStatus};
pub(crate) use waiters::Fate;

/// What another instance's opening means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "a third way must be looked at in every match")]
pub enum Sharing {
    /// Advice: until its deadline, `min_calls` and the run threshold here are a quarter of those configured, at least 2. The
    /// default: an instance on a bad path can neither open nor close the others.
    #[default]
    Advise,
    /// An order: the newest published state is taken over, whatever was seen here.
    Follow,
}

impl Sharing {
    /// Returns the word for it in configuration files: `advise` or `follow`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advise => "advise",
            Self::Follow => "follow",
        }
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
