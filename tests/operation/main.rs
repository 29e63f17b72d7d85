//! What people and their tools see of circuits, and do to them: the page, the command line, alerts and dashboards.

#![expect(clippy::unwrap_used, reason = "tests")]
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod admin;
mod circuitctl;
mod deploy;
#[expect(dead_code, reason = "the tests of stores use the rest of the file")]
#[path = "../store/dice.rs"]
mod dice;
mod hostile;
#[path = "../store/lines.rs"]
mod lines;
mod page;
#[expect(dead_code, reason = "the tests of stores use the rest of them")]
mod servers;
