//! The clock where there is no coarse one.

use tower_circuit_breaker::clock::{Clock, MonotonicClock, Tick};

/// Dates everything by `Instant`.
#[derive(Debug)]
pub(crate) struct InstantClock(pub(crate) MonotonicClock);

impl Clock for InstantClock {
    fn now(&self) -> Tick {
        self.0.precise()
    }
}
