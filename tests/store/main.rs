//! Stores, on real servers with real faults, and what the coordinator makes of them.

#![expect(clippy::unwrap_used, reason = "tests")]
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]
#![cfg(feature = "full")]

mod conformance;
mod coordinator;
mod dice;
mod distance;
mod faulty;
mod file;
mod fleet;
mod head;
mod hints;
mod keyed;
mod lines;
mod operation;
mod outages;
mod paused;
mod postgres;
mod reasons;
mod record;
mod redis;
mod reports;
mod requirements;
mod restarts;
mod rig;
mod servers;
mod shared;
mod simulator;
mod sqlite;
mod sweep;
mod tiered;
mod waits;
