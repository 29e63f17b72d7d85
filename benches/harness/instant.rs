//! The clock where there is no coarse one.

use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, MonotonicClock, Tick};

/// Dates everything by `Instant`.
#[derive(Debug)]
pub(crate) struct InstantClock(pub(crate) MonotonicClock);

impl Clock for InstantClock {
    fn now(&self) -> Tick {
        self.0.precise()
    }

    fn lag(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}
