//! The window of a circuit, which has sums of the recent calls, their weights and the slow calls. A closed circuit uses
//! the sums as evidence for a trip.
//!
//! A circuit has at most one window. This is a sliding time window (`time`) or a ring of the last n calls (`calls`).
//! Beside the window, `run` has the weight of the consecutive failures, and `cells` has the successes that each thread
//! counts separately. `under_way` has the calls that have not ended.
//!
//! Each atomic word of `time`, `calls` and `run` has a number and the low bits of an era (version of the state), and
//! changes in one exchange. Therefore an outcome counts in the era of its call or in no era, even if the era ends
//! between admission and recording. While no call ends, the sums are exact. A call that ends while the sums are read
//! may be missing in some of the sums.
//!
//! The window does not read a clock, decide on a trip, or know a circuit.

pub(crate) mod calls;
pub(crate) mod cells;
pub(crate) mod contention;
#[cfg(all(test, breaker_loom))]
mod loom_tests;
pub(crate) mod run;
mod tag;
pub(crate) mod tagged;
pub(crate) mod time;
pub(crate) mod under_way;

use std::fmt;
use std::time::Duration;

use crate::clock::Tick;
use crate::outcome::{UNIT, score_from_units, units_from_score};
use crate::sync::{AtomicU64, Relaxed};
use calls::CallRing;
use time::TimeWindow;

/// The window of a circuit, which selects the calls that the rate and score rules count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window(pub(crate) Shape);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Time { length: Duration, buckets: u32 },
    Calls { calls: u32 },
}

impl Window {
    /// Counts the calls of the last `length`, in 10 buckets. The default length is 10 s.
    ///
    /// Range: 100 ms to 24 h. A bucket expires as a whole, so the window covers between nine tenths and all of
    /// `length`. The calls of an idle service also expire.
    #[must_use]
    pub const fn time(length: Duration) -> Self {
        Self(Shape::Time { length, buckets: 10 })
    }

    /// Counts the last `calls` calls, regardless of the time at which the calls ended.
    ///
    /// Range: 1 to 16 777 216. The time to record a call does not depend on `calls`. The window needs 4 bytes of memory
    /// for each of the `calls` calls.
    #[must_use]
    pub const fn calls(calls: u32) -> Self {
        Self(Shape::Calls { calls })
    }

    /// Sets the number of buckets of a time window. Range: 2 to 60. A call window has no buckets and ignores the
    /// number.
    #[must_use]
    pub const fn buckets(self, buckets: u32) -> Self {
        match self.0 {
            Shape::Time { length, .. } => Self(Shape::Time { length, buckets }),
            Shape::Calls { .. } => self,
        }
    }

    /// Returns the length of a time window. `None` for a window of the last calls.
    pub(crate) const fn length(self) -> Option<Duration> {
        match self.0 {
            Shape::Time { length, .. } => Some(length),
            Shape::Calls { .. } => None,
        }
    }

    /// Returns the size of a call window, which is its number of calls. `None` for a time window.
    pub(crate) const fn calls_of_ring(self) -> Option<u32> {
        match self.0 {
            Shape::Time { .. } => None,
            Shape::Calls { calls } => Some(calls),
        }
    }

    /// Returns the age that a time window must reach before the circuit uses the rates of the window. The age is the
    /// duration of one bucket, but at most 1 s. `None` for a window of the last calls, which has no such age.
    ///
    /// Without this age, the first few calls in a new window could trip a busy circuit. The limit of 1 s matters for
    /// long windows. A bucket of a window of one hour lasts 6 minutes, and the circuit must not ignore an outage for so
    /// long.
    pub(crate) fn young(self) -> Option<Duration> {
        match self.0 {
            Shape::Time { length, buckets } => Some((length / buckets.max(1)).min(Duration::from_secs(1))),
            Shape::Calls { .. } => None,
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::time(Duration::from_secs(10))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Shape::Time { length, .. } if length.subsec_nanos() == 0 => write!(f, "the last {} s", length.as_secs()),
            Shape::Time { length, .. } => write!(f, "the last {length:?}"),
            Shape::Calls { calls } => write!(f, "the last {calls} calls"),
        }
    }
}

/// The sums over a window, which are the number of calls, their failure score, and the number of slow calls. Ignored
/// outcomes are not in the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub(crate) calls: u64,
    pub(crate) units: u64,
    pub(crate) slow: u64,
}

impl Tally {
    pub(crate) const EMPTY: Self = Self { calls: 0, units: 0, slow: 0 };

    /// Returns sums that were counted elsewhere, for example the sums of a stored record.
    ///
    /// Impossible numbers are corrected. The score and the number of slow calls are at most the number of calls, and a
    /// score that is negative or not finite becomes 0.
    #[must_use]
    pub fn new(calls: u64, score: f64, slow: u64) -> Self {
        let units = units_from_score(score).min(calls.saturating_mul(u64::from(UNIT)));
        Self { calls, units, slow: slow.min(calls) }
    }

    /// Returns the number of calls.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// Returns the sum of the weights of the failures.
    #[must_use]
    pub fn score(&self) -> f64 {
        score_from_units(self.units)
    }

    /// Returns the number of calls that took at least `slower_than`. The number is zero without a slow-call rule.
    #[must_use]
    pub const fn slow(&self) -> u64 {
        self.slow
    }

    /// Returns the sums multiplied by `part / whole`, so that fewer calls have the same shares of failures and slow
    /// calls. If `part` is more than `whole`, returns the sums unchanged.
    fn scaled(self, part: u64, whole: u64) -> Self {
        if part >= whole {
            return self;
        }
        let (part, whole) = (u128::from(part), u128::from(whole));
        let scaled = |sum: u64| {
            let nearest = (u128::from(sum) * part + whole / 2) / whole;
            u64::try_from(nearest).expect("less than it was")
        };
        Self { calls: scaled(self.calls), units: scaled(self.units), slow: scaled(self.slow) }
    }
}

/// An outcome as the window counts it, with the weight of a failure and a flag for a slow call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The weight of the failure in 1/256. Zero for a success.
    pub(crate) units: u16,
    pub(crate) slow: bool,
}

/// The era (version of the state) and the time of an outcome, or of the start of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) era: u64,
    pub(crate) now: Tick,
}

/// The window of one circuit.
#[derive(Debug)]
pub(crate) enum Evidence {
    Time(TimeWindow),
    Calls(CallRing),
    /// No rule needs a window, so calls are counted for the totals only.
    Count(AtomicU64),
}

impl Evidence {
    /// Returns an empty window. `window` is `None` if no rule needs a window, and `slow` is true if the slow-call rule
    /// is on.
    pub(crate) fn new(window: Option<Window>, slow: bool) -> Self {
        match window.map(|window| window.0) {
            Some(Shape::Time { length, buckets }) => Self::Time(TimeWindow::new(length, buckets, slow)),
            Some(Shape::Calls { calls }) => Self::Calls(CallRing::new(calls)),
            None => Self::Count(AtomicU64::new(0)),
        }
    }

    /// Returns the width of a bucket in nanoseconds and the number of buckets. `None` if the circuit has no time
    /// window.
    pub(crate) const fn buckets(&self) -> Option<(u64, u32)> {
        match self {
            Self::Time(window) => Some(window.shape()),
            Self::Calls(_) | Self::Count(_) => None,
        }
    }

    /// Returns true if a success that cannot trip the circuit may be counted in a cell (the counts of one thread). A
    /// window of the last calls does not allow this, because it needs the order of all calls.
    pub(crate) const fn allows_cells(&self) -> bool {
        !matches!(self, Self::Calls(_))
    }

    /// Returns true if `record` needs the present time. Only a time window needs the time.
    pub(crate) const fn needs_now(&self) -> bool {
        matches!(self, Self::Time(_))
    }

    /// Adds an outcome to the window.
    pub(crate) fn record(&self, stamp: Stamp, mark: Mark) {
        match self {
            Self::Time(window) => window.record(stamp, mark),
            Self::Calls(ring) => ring.record(stamp.era, mark),
            // Relaxed, because the count publishes no other data.
            Self::Count(calls) => {
                calls.fetch_add(1, Relaxed);
            }
        }
    }

    /// Returns the sums over the outcomes of `era`. A time window leaves out the outcomes that have expired at `now`.
    pub(crate) fn tally(&self, era: u64, now: Tick) -> Tally {
        match self {
            Self::Time(window) => window.tally(era, now),
            Self::Calls(ring) => ring.tally(era),
            Self::Count(_) => Tally::default(),
        }
    }

    /// Empties the window for a new era (version of the state). The caller holds the circuit's cold mutex and publishes
    /// the era after this call.
    pub(crate) fn begin(&self, era: u64) {
        match self {
            Self::Time(window) => window.begin(era),
            Self::Calls(ring) => ring.begin(era),
            Self::Count(_) => {}
        }
    }

    /// Adds the sums of a restored circuit. The caller holds the circuit's cold mutex.
    ///
    /// The trip rules count these sums. [`recorded`](Self::recorded) leaves the sums out, because this process has not
    /// made these calls.
    pub(crate) fn seed(&self, era: u64, now: Tick, tally: Tally) {
        match self {
            _ if tally.calls == 0 => {}
            Self::Time(window) => window.seed(era, now, tally),
            Self::Calls(ring) => ring.seed(era, tally),
            // Without a window no rule would use the sums.
            Self::Count(_) => {}
        }
    }

    /// Returns the number of outcomes that the window has recorded since the circuit was created, over all eras.
    /// Successes that a thread counts in its cell are not included.
    ///
    /// The totals use this number, so that a call need not increment a second counter.
    pub(crate) fn recorded(&self) -> u64 {
        match self {
            Self::Time(window) => window.recorded(),
            Self::Calls(ring) => ring.recorded(),
            // Relaxed, because the count publishes no other data.
            Self::Count(calls) => calls.load(Relaxed),
        }
    }
}

/// Eight words on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [AtomicU64; 8]);

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_tally_is_clamped() {
        for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            assert_eq!(Tally::new(3, nonsense, 0), Tally { calls: 3, units: 0, slow: 0 }, "a score of {nonsense}");
        }
        assert_eq!(Tally::new(3, f64::MAX, u64::MAX), Tally { calls: 3, units: 3 * 256, slow: 3 });
        assert_eq!(Tally::new(0, 8.0, 8), Tally::EMPTY, "without calls there is nothing to weigh");
        assert_eq!(Tally::new(u64::MAX, 0.5, 1), Tally { calls: u64::MAX, units: 128, slow: 1 });
    }

    #[test]
    fn a_part_of_a_tally_has_the_shares_of_the_whole() {
        let whole = Tally { calls: 1_000, units: 500 * 256, slow: 101 };
        assert_eq!(whole.scaled(10, 1_000), Tally { calls: 10, units: 5 * 256, slow: 1 });
        assert_eq!(whole.scaled(1_000, 1_000), whole);
        assert_eq!(Tally { calls: u64::MAX, units: u64::MAX, slow: 0 }.scaled(7, u64::MAX).units, 7);
        assert_eq!(Tally::EMPTY.scaled(0, 0), Tally::EMPTY);
    }
}
