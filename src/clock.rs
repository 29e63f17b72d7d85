//! Time as the circuit sees it: ticks of an injected clock.
//!
//! Decisions never ask for the time, they are given it, so that a test can play an hour in a millisecond. A [`Clock`] has
//! two readings: [`now`](Clock::now) dates states and windows and may be a few milliseconds coarse; [`precise`](Clock::precise)
//! measures how long a call took. This is the only module that touches the system's clocks.

#[cfg(feature = "test-util")]
mod mock;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

#[cfg(feature = "test-util")]
pub use mock::MockClock;

/// A point in time: nanoseconds since the origin of one clock. Ticks of different clocks do not compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// The origin of a clock.
    pub const ZERO: Self = Self(0);
    /// Later than every tick that a clock gives: the deadline of what has none.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Returns the tick that many nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the tick `by` later, or the last one there is.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// Returns the time since `earlier`, or zero if that is later: a clock may jump back.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Returns the duration in nanoseconds, 584 years at most.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A source of time.
///
/// A reading must be cheap and must not block: it is on the path of every call. It should not go back, but nothing panics
/// and no state is lost if it does: deadlines wait until it has caught up, and a time window may miss what is recorded until
/// then, for twice its length at most.
///
/// # Examples
///
/// `Instant` for everything, where a coarse reading is not wanted:
///
/// ```
/// use std::time::{Duration, Instant};
/// use tower_circuit_breaker::{Config, clock::{Clock, Tick}};
///
/// #[derive(Debug)]
/// struct InstantClock(Instant);
///
/// impl Clock for InstantClock {
///     fn now(&self) -> Tick {
///         Tick::ZERO.saturating_add(self.0.elapsed())
///     }
///
///     fn lag(&self) -> Option<Duration> {
///         Some(Duration::ZERO)
///     }
/// }
///
/// let config = Config::builder("orders").clock(InstantClock(Instant::now())).build()?;
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
#[doc(alias = "TimeProvider")]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the tick that dates states, deadlines and windows. May be a few milliseconds coarse.
    fn now(&self) -> Tick;

    /// Returns the tick that measures how long a call took. Both readings must count from the same origin.
    fn precise(&self) -> Tick {
        self.now()
    }

    /// Returns by how much [`now`](Self::now) can lag behind [`precise`](Self::precise), at most. Default: `None`, unknown. Zero if both
    /// are one reading.
    ///
    /// If the lag is known, a call that ends less than `slower_than` minus the lag after its start by `now` costs one reading of the
    /// precise clock instead of two. A lag of `slower_than` or more saves no reading. A lag that is too small misses slow calls.
    fn lag(&self) -> Option<Duration> {
        None
    }

    /// Returns the wall clock's time, for people: it dates transitions and decides nothing.
    #[expect(clippy::disallowed_methods, reason = "the one door to the wall clock")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The system's monotonic clock, the default.
///
/// On Linux [`now`](Clock::now) reads `CLOCK_MONOTONIC_COARSE`: a third to a sixth of the price of [`Instant`](std::time::Instant), and at
/// worst one kernel tick (1 to 10 ms) behind. Elsewhere it is an `Instant`.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock(monotonic::Origin);

impl MonotonicClock {
    /// Returns a clock whose origin is one second ago, so that nothing starts at tick zero.
    #[must_use]
    pub fn new() -> Self {
        Self(monotonic::Origin::one_second_ago())
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Tick {
        self.0.coarse()
    }

    #[inline]
    fn precise(&self) -> Tick {
        self.0.precise()
    }

    /// 50 ms: a kernel tick is 10 ms at most, and a virtual machine can be late by some of them.
    fn lag(&self) -> Option<Duration> {
        Some(Duration::from_millis(50))
    }
}

/// The clock of a circuit. The default clock is called directly, because an indirect call costs as much as the reading.
#[derive(Clone)]
pub(crate) enum AnyClock {
    Monotonic(MonotonicClock),
    Other(Arc<dyn Clock>),
}

impl AnyClock {
    #[inline]
    pub(crate) fn now(&self) -> Tick {
        match self {
            Self::Monotonic(clock) => clock.now(),
            Self::Other(clock) => clock.now(),
        }
    }

    #[inline]
    pub(crate) fn precise(&self) -> Tick {
        match self {
            Self::Monotonic(clock) => clock.precise(),
            Self::Other(clock) => clock.precise(),
        }
    }

    pub(crate) fn lag(&self) -> Option<Duration> {
        match self {
            Self::Monotonic(clock) => clock.lag(),
            Self::Other(clock) => clock.lag(),
        }
    }

    pub(crate) fn wall(&self) -> SystemTime {
        match self {
            Self::Monotonic(clock) => clock.wall(),
            Self::Other(clock) => clock.wall(),
        }
    }
}

impl fmt::Debug for AnyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monotonic(clock) => clock.fmt(f),
            Self::Other(clock) => clock.fmt(f),
        }
    }
}

/// The system's monotonic time.
#[cfg(target_os = "linux")]
mod monotonic {
    use rustix::time::{ClockId, clock_gettime};

    use super::{HEAD_START, Tick};

    /// In nanoseconds. The coarse clock is the precise one at the last kernel tick, so both have the same origin.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Origin(u64);

    impl Origin {
        pub(super) fn one_second_ago() -> Self {
            Self(read(ClockId::MonotonicCoarse).saturating_sub(HEAD_START))
        }

        #[inline]
        pub(super) fn coarse(self) -> Tick {
            Tick(read(ClockId::MonotonicCoarse).saturating_sub(self.0))
        }

        #[inline]
        pub(super) fn precise(self) -> Tick {
            Tick(read(ClockId::Monotonic).saturating_sub(self.0))
        }
    }

    /// Not through [`Instant`](std::time::Instant), which keeps seconds and nanoseconds apart and checks them.
    #[inline]
    #[expect(clippy::cast_sign_loss, reason = "neither part of a monotonic time is negative")]
    fn read(id: ClockId) -> u64 {
        let time = clock_gettime(id);
        // No overflow within 584 years of uptime.
        (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
    }
}

#[cfg(not(target_os = "linux"))]
mod monotonic {
    use std::time::Instant;

    use super::{HEAD_START, Tick, nanos};

    #[derive(Debug, Clone, Copy)]
    pub(super) struct Origin(Instant);

    impl Origin {
        #[expect(clippy::disallowed_methods, reason = "the one door to the monotonic clock")]
        pub(super) fn one_second_ago() -> Self {
            Self(Instant::now())
        }

        pub(super) fn coarse(self) -> Tick {
            self.precise()
        }

        pub(super) fn precise(self) -> Tick {
            Tick(nanos(self.0.elapsed()).saturating_add(HEAD_START))
        }
    }
}

/// Tokio's clock: it stands still while the runtime's time is paused (`tokio::time::pause`).
///
/// Give it to circuits in tests that run under `#[tokio::test(start_paused = true)]`. It works outside a runtime as well.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// Returns a clock whose origin is one second ago.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one door to tokio's clock")]
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    #[expect(clippy::disallowed_methods, reason = "the one door to tokio's clock")]
    fn now(&self) -> Tick {
        let since = tokio::time::Instant::now().saturating_duration_since(self.origin);
        Tick(nanos(since).saturating_add(HEAD_START))
    }

    /// Zero: both readings are the same.
    fn lag(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

/// Clocks start a second after their origin, so that zero can mean "not taken" where a tick is kept in a word.
const HEAD_START: u64 = 1_000_000_000;
