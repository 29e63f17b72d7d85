//! A clock that a test moves by hand.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use super::{Clock, Tick, nanos};
use crate::sync::{AtomicU64, Relaxed};

/// A clock that stands still until a test moves it. Clones share the same time.
///
/// ```
/// use std::time::Duration;
/// use tower_circuit_breaker::clock::{Clock, MockClock};
///
/// let clock = MockClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now().saturating_since(before), Duration::from_secs(5));
/// ```
#[derive(Debug, Clone)]
pub struct MockClock(Arc<AtomicU64>);

impl MockClock {
    /// Returns a clock that stands one hour after its origin, so that a test can also move the clock back.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(nanos(Duration::from_secs(3600)))))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, to: Tick) {
        // Relaxed, because the time publishes no other data.
        self.0.store(to.as_nanos(), Relaxed);
    }
}

impl Default for MockClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MockClock {
    fn now(&self) -> Tick {
        // Relaxed, because the time publishes no other data.
        Tick::from_nanos(self.0.load(Relaxed))
    }

    /// Returns zero, because both readings are the same.
    fn lag(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    /// Returns the Unix epoch plus the ticks, so that the dates in a test depend on this clock alone.
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_nanos(self.now().as_nanos()))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
