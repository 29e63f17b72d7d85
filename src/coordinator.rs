//! The coordinator of a registry, which is one background task that keeps circuits and store in step.
//!
//! The task is level-triggered. It derives the desired record of a circuit again whenever the store can take a write.
//! Therefore no queue grows while the store is down, no obsolete record is sent, and the number of circuits bounds the
//! memory.
//!
//! Circuits never wait for the task. The task observes a transition after the transition was made, and changes circuits
//! only through [`adopt`](crate::Circuit::adopt), [`advise`](crate::Circuit::advise) and the acts of operators. This
//! module decides the time of loads and writes. The content and the merge of records are left to
//! [`record`](crate::record).
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
#[cfg(feature = "keyed")]
mod prefixes;
mod report;
mod restore;
mod task;
mod terms;
mod waiters;

pub use builder::RegistryBuilder;
pub(crate) use delivery::{Delivery, NoRoom};
pub(crate) use instance::host_name;
pub use lifecycle::NoRuntime;
pub use report::{Recovered, RestoreReport, Restored, ShutdownReport, StoreStatus};
pub(crate) use waiters::Fate;

pub use crate::keep::Sharing;
