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

pub use builder::RegistryBuilder;
pub(crate) use delivery::{Delivery, NoRoom};
pub(crate) use instance::host_name;
pub use lifecycle::NoRuntime;
pub use report::{Recovered, RestoreReport, Restored, ShutdownReport, StoreStatus};
pub(crate) use waiters::Fate;

pub use crate::keep::Sharing;
