//! The clocks that a circuit can use: the monotonic clock, the clock of tokio, a mock, or your own clock.
//!
//! Decisions get the time as a parameter, so that a test can run an hour in a millisecond. A [`Clock`] has two
//! readings. [`now`](Clock::now) is the time for states and windows, and may be a few milliseconds late.
//! [`precise`](Clock::precise) is the time for the duration of a call. Only this module reads the clocks of the system.

#[cfg(feature = "test-util")]
mod mock;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

#[cfg(feature = "test-util")]
pub use mock::MockClock;

/// A point in time, as nanoseconds since the origin of one clock. Ticks of different clocks cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// The origin of a clock.
    pub const ZERO: Self = Self(0);
    /// A tick that is later than every reading of a clock. An atomic deadline holds `NEVER` if the deadline is never
    /// reached.
    ///
    /// Elsewhere, a missing time is `None`, except for two times that each call carries. These are the start of the
    /// call, and the time at which the service found that its circuit rejects calls. A missing start or time of
    /// rejection is zero, because an `Option` would need eight more bytes in each call.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Returns the tick `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the tick that is `by` later than this tick. On overflow, returns the last possible tick.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// Returns the deadline that is `by` later than this tick. The deadline is always earlier than
    /// [`NEVER`](Self::NEVER), so that even a clock at its last tick reaches the deadline.
    pub(crate) fn deadline(self, by: Duration) -> Self {
        self.saturating_add(by).min(Self(Self::NEVER.0 - 1))
    }

    /// Returns the tick, or `None` for [`NEVER`](Self::NEVER).
    pub(crate) fn known(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later, because a clock may jump back.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Returns the duration in nanoseconds, capped at 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A source of time.
///
/// A reading must be cheap and must not block, because nearly every call reads the clock. A clock should not go back.
/// If a clock goes back, nothing panics and no state is lost. Deadlines are reached only after the clock has caught up.
/// Until then a time window may miss outcomes, for at most twice the length of the window.
///
/// # Examples
///
/// A clock that reads `Instant` for both readings, for circuits whose windows need a precise time:
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
    /// Returns the current time for states, deadlines and windows. This time may be a few milliseconds late.
    fn now(&self) -> Tick;

    /// Returns the current time for measuring the duration of a call. This time must have the same origin as
    /// [`now`](Self::now).
    fn precise(&self) -> Tick {
        self.now()
    }

    /// Returns the longest time by which [`now`](Self::now) can lag behind [`precise`](Self::precise). The default
    /// `None` means that the lag is unknown. Zero means that both readings are the same.
    ///
    /// A circuit with a slow-call rule reads `precise` at the start and at the end of a call. If the lag is known, a
    /// short call needs no `precise` reading at its end, because `now` shows that the call was not slow. A call is
    /// short if the time from its start by `precise` to its end by `now` is less than `slower_than` minus the lag. With
    /// a lag of `slower_than` or more, no call is short. If the returned lag is too small, some slow calls are not
    /// detected.
    fn lag(&self) -> Option<Duration> {
        None
    }

    /// Returns the time of the wall clock. People see this time as the date of a transition. No decision depends on the
    /// wall clock.
    #[expect(clippy::disallowed_methods, reason = "the one door to the wall clock")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The monotonic clock of the system, which is the default.
///
/// On Linux [`now`](Clock::now) reads `CLOCK_MONOTONIC_COARSE`, which costs a third to a sixth of
/// [`Instant`](std::time::Instant) and is at most one kernel tick (1 to 10 ms) late. On other systems `now` reads an
/// `Instant`.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock(monotonic::Origin);

impl MonotonicClock {
    /// Returns a clock whose origin is one second ago, so that no reading is tick zero.
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

    /// Returns 50 ms. A kernel tick lasts at most 10 ms, but the clock of a virtual machine can lag by several ticks.
    fn lag(&self) -> Option<Duration> {
        Some(Duration::from_millis(50))
    }
}

/// The time at which a waiting thread stops waiting.
///
/// The time is that of the system clock and not of the clock of a circuit, because a thread sleeps in real time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<std::time::Instant>);

impl Deadline {
    /// Returns the end of a wait that begins now. If the end is too far away for the clock, the wait has no end.
    #[expect(clippy::disallowed_methods, reason = "the one door to the monotonic clock")]
    pub(crate) fn after(wait: Duration) -> Self {
        Self(std::time::Instant::now().checked_add(wait))
    }

    /// Returns the remaining time of the wait, or zero if the wait is over.
    #[expect(clippy::disallowed_methods, reason = "the one door to the monotonic clock")]
    pub(crate) fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |end| end.saturating_duration_since(std::time::Instant::now()))
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

/// The monotonic time of the system.
#[cfg(target_os = "linux")]
mod monotonic {
    use rustix::time::{ClockId, clock_gettime};

    use super::{HEAD_START, Tick};

    /// The origin, as a reading of the coarse clock in nanoseconds. The precise clock can use the same origin, because
    /// the coarse clock shows the time of the precise clock at the last kernel tick.
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

    /// Reads a clock in nanoseconds. [`Instant`](std::time::Instant) is slower, because an `Instant` keeps seconds and
    /// nanoseconds apart and checks both at each reading.
    #[inline]
    #[expect(clippy::cast_sign_loss, reason = "neither part of a monotonic time is negative")]
    fn read(id: ClockId) -> u64 {
        let time = clock_gettime(id);
        // The product does not overflow within 584 years of uptime.
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

/// The clock of tokio, which follows the time of the runtime, also while that time is paused (`tokio::time::pause`).
///
/// Use this clock for circuits in tests with `#[tokio::test(start_paused = true)]`. The clock also works outside a
/// runtime.
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

    /// Returns zero, because `now` and `precise` read the same clock.
    fn lag(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

/// The reading of a new clock in nanoseconds. Clocks start one second after their origin, so that a tick of zero can
/// mean that the clock was not read.
const HEAD_START: u64 = 1_000_000_000;
