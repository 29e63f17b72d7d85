//! Behaviour of circuits, through the public API, with a clock that the test moves.
#![expect(clippy::unwrap_used, reason = "tests")]
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod adopt;
mod advise;
mod config;
mod criticality;
mod defaults;
#[expect(dead_code, reason = "the tests of stores use the rest of the file")]
#[path = "../store/dice.rs"]
mod dice;
mod eras;
mod events;
mod failures;
mod groups;
mod half_open;
mod hanging;
mod health;
mod modes;
mod operation;
mod ramp;
mod registry;
mod rig;
mod rules;
mod schedules;
#[cfg(feature = "settings")]
mod settings;
mod status;
mod telemetry;
mod testing;
mod texts;
mod throttle;
