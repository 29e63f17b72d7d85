//! The coordinator of a registry, which is one background task that keeps circuits and store in agreement.
//!
//! The task has a *desk* for each circuit, which remembers the content of the store and the changes that the store
//! lacks. A circuit rings its *bell* after a transition, which wakes the task. All desks share one *link* to the store.
//!
//! The task queues no records. Before each write, the task computes the desired record of a circuit from the present
//! state, the present counts and the last act of an operator on the circuit. Therefore no queue of records grows while
//! the store is down, no obsolete record is sent, and the number of circuits limits the memory. Only audit rows are
//! queued, in a bounded outbox.
//!
//! Calls do not wait for the task. Only the first calls of a circuit can wait for its restore
//! ([`first_call_waits`](RegistryBuilder::first_call_waits)). The task observes a transition after the circuit has made
//! the transition. The task changes a circuit only through functions of the circuit, such as
//! [`adopt`](crate::Circuit::adopt), [`advise`](crate::Circuit::advise), the acts of operators, and the permission for
//! a probe of a fleet. This module decides when records are loaded and written. The module [`record`](crate::record)
//! decides the content of records and merges them.
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
mod membership;
mod outbox;
#[cfg(feature = "keyed")]
mod prefixes;
mod report;
mod restore;
mod task;
mod terms;
mod to_write;
mod waiters;

pub use builder::RegistryBuilder;
pub(crate) use delivery::{Delivery, NoRoom};
pub(crate) use instance::host_name;
pub use lifecycle::NoRuntime;
pub use report::{Recovered, RestoreReport, Restored, ShutdownReport, StoreStatus};
pub(crate) use waiters::Fate;

pub use crate::keep::Sharing;
