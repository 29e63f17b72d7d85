//! The gauge of load shedding. The gauge has the last reading of the load, and elects the call that polls the load
//! next. Every call reads the atomic fields of the gauge, and one call at a time writes these fields.
//!
//! ```text
//! due      the time of the next poll, a tick
//! looking  true while a call polls: set by an exchange, cleared by a store
//! seen     63: heavy operations are shed | 62..0: the load, an f64 without its sign; NaN if unknown
//! ```
//!
//! A probe may take long or never return. Therefore no call waits for `looking`. A call that is not elected uses the
//! last reading, and a reading that is too old counts as unknown.

use std::fmt;
use std::time::Duration;

use super::shedder::Limits;
use crate::clock::{Tick, nanos};
use crate::sync::{Acquire, AtomicBool, AtomicU64, Relaxed, Release};

#[derive(Debug)]
pub(super) struct Gauge {
    due: AtomicU64,
    seen: AtomicU64,
    looking: AtomicBool,
    /// The value of `shedding` in the last `Event::SystemLoad` with `news: true`. `next_news` is the earliest time of
    /// the next event with `news: true`. Only the elected call uses these two fields.
    reported: AtomicBool,
    next_news: AtomicU64,
}

impl Gauge {
    pub(super) fn new() -> Self {
        Self {
            due: AtomicU64::new(Tick::ZERO.as_nanos()),
            seen: AtomicU64::new(Reading::new(None, false).0),
            looking: AtomicBool::new(false),
            reported: AtomicBool::new(false),
            next_news: AtomicU64::new(Tick::ZERO.as_nanos()),
        }
    }

    /// Returns true if the load should be polled at `now`.
    ///
    /// A due time up to [`BACK`] ahead is normal, because the next poll is due [`EVERY`] after the last poll. If the
    /// due time is further ahead, the clock has gone back. The load is then polled at once, instead of waiting until
    /// the clock has caught up.
    #[inline]
    pub(super) fn is_due(&self, now: Tick) -> bool {
        let wait = self.due().as_nanos().wrapping_sub(now.as_nanos());
        wait == 0 || wait > nanos(BACK)
    }

    /// Returns true if the last reading is too old to shed a call. Then the poll of the load takes too long, or no call
    /// came for a while and the next poll is still under way.
    pub(super) fn is_stale(&self, now: Tick) -> bool {
        now.saturating_since(self.due()) >= STALE
    }

    #[inline]
    pub(super) fn seen(&self) -> Reading {
        // Relaxed, because one atomic holds the whole reading and publishes no other data.
        Reading(self.seen.load(Relaxed))
    }

    /// Elects the present call to poll the load. Returns `None` if another call is polling or has just polled.
    pub(super) fn elect(&self, now: Tick) -> Option<Look<'_>> {
        // Relaxed, because only the exchange below decides. The flag is loaded before the exchange, so that other calls
        // do not write to this cache line while a poll takes long.
        if self.looking.load(Relaxed) {
            return None;
        }
        // Acquire: pairs with the Release in `drop`, so that this call sees the writes of the last elected call.
        if self.looking.swap(true, Acquire) {
            return None;
        }
        let look = Look { gauge: self };
        // `is_due` is checked again, because another call may have polled between the first check and the exchange.
        self.is_due(now).then_some(look)
    }

    #[inline]
    fn due(&self) -> Tick {
        // Relaxed, because an old value does no harm. `elect` checks the time again after its Acquire. For `is_stale`,
        // an old value can only let a call pass that could have been shed.
        Tick::from_nanos(self.due.load(Relaxed))
    }
}

/// The right of the elected call to poll the load. After its drop, another call may be elected.
#[must_use = "dropped without an end, the load is due again at once"]
pub(super) struct Look<'a> {
    gauge: &'a Gauge,
}

impl Look<'_> {
    /// Stores the reading, and returns the fields `shedding` and `news` of `Event::SystemLoad`.
    pub(super) fn end(self, now: Tick, load: Option<f64>, limits: &Limits) -> (bool, bool) {
        let Gauge { due, seen, reported, next_news, .. } = self.gauge;
        // Relaxed, because each field is written while `looking` is set, and the Acquire and Release of `looking` order
        // the elected calls.
        let shedding = limits.shed_at(load, self.gauge.seen().shedding());
        seen.store(Reading::new(load, shedding).0, Relaxed);
        due.store(now.saturating_add(EVERY).as_nanos(), Relaxed);
        let news = reported.load(Relaxed) != shedding && now.as_nanos() >= next_news.load(Relaxed);
        if news {
            // Relaxed, because these fields too are written while `looking` is set.
            reported.store(shedding, Relaxed);
            next_news.store(now.saturating_add(NEWS_EVERY).as_nanos(), Relaxed);
        }
        (shedding, news)
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `elect`, so that the next elected call sees the writes of this call.
        self.gauge.looking.store(false, Release);
    }
}

/// The last reading in one word, so that a call never sees the load of one poll with the decision of another poll.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading(u64);

impl Reading {
    fn new(load: Option<f64>, shedding: bool) -> Self {
        let load = load.unwrap_or(f64::NAN).to_bits() & !SHEDDING;
        Self(if shedding { load | SHEDDING } else { load })
    }

    #[inline]
    pub(super) const fn shedding(self) -> bool {
        self.0 & SHEDDING != 0
    }

    pub(super) fn load(self) -> Option<f64> {
        Some(f64::from_bits(self.0 & !SHEDDING)).filter(|load| !load.is_nan())
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("load", &self.load()).field("shedding", &self.shedding()).finish()
    }
}

/// The sign bit of an `f64`, which is set while heavy operations are shed. A load is never negative, so the bit is
/// free.
const SHEDDING: u64 = 1 << 63;
/// The shortest time between two polls.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// The largest time by which `due` may be ahead of the present time. A larger time means that the clock has gone back.
const BACK: Duration = Duration::from_secs(1);
/// The time after `due` for which the last reading is still used.
const STALE: Duration = Duration::from_secs(2);
/// The shortest time between two events `Event::SystemLoad` with `news: true`.
const NEWS_EVERY: Duration = Duration::from_secs(10);
