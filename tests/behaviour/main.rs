//! Behaviour of circuits, through the public API, with a clock that the test moves.
#![expect(clippy::unwrap_used, reason = "tests")]

mod smoke;
