//! Who looks at the load, when, and what was seen: a few words that every call reads and one call at a time writes.
//!
//! ```text
//! due      when the load is to be looked at again, a tick
//! looking  whether a call does so now: taken by an exchange, given back by a store
//! seen     63: heavy operations are shed | 62..0: the load, an f64 whose sign is not needed; NaN if nobody knows
//! ```
//!
//! A probe may take long, or for ever. So nobody waits for `looking`: who does not get it goes by what was seen last, and
//! once that is too old, nobody knows the load.

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
    /// What was told last as news, and when the next may be told. Only who looks touches these.
    told: AtomicBool,
    next_news: AtomicU64,
}

impl Gauge {
    pub(super) fn new() -> Self {
        Self {
            due: AtomicU64::new(Tick::ZERO.as_nanos()),
            seen: AtomicU64::new(Reading::new(None, false).0),
            looking: AtomicBool::new(false),
            told: AtomicBool::new(false),
            next_news: AtomicU64::new(Tick::ZERO.as_nanos()),
        }
    }

    /// Whether the load should be looked at. Should a clock have gone back, that must not wait until it has caught up; but a
    /// caller whose reading is a moment older than the last look is no clock that went back.
    #[inline]
    pub(super) fn is_due(&self, now: Tick) -> bool {
        let wait = self.due().as_nanos().wrapping_sub(now.as_nanos());
        wait == 0 || wait > nanos(BACK)
    }

    /// Whether what was seen last is too old to shed anything for: somebody has been looking for long.
    pub(super) fn is_stale(&self, now: Tick) -> bool {
        now.saturating_since(self.due()) >= STALE
    }

    #[inline]
    pub(super) fn seen(&self) -> Reading {
        // Relaxed: all that is to be known is in the word.
        Reading(self.seen.load(Relaxed))
    }

    /// Gives the caller the look that is due, unless another has it or has just had it.
    pub(super) fn elect(&self, now: Tick) -> Option<Look<'_>> {
        // Relaxed, a hint: while somebody looks for long, calls should not write to this line.
        if self.looking.load(Relaxed) {
            return None;
        }
        // Acquire: pairs with the Release in `drop`; what the last look wrote is known to this one.
        if self.looking.swap(true, Acquire) {
            return None;
        }
        let look = Look { gauge: self };
        // Again: between the caller's look at `due` and the exchange, somebody may have looked at the load.
        self.is_due(now).then_some(look)
    }

    #[inline]
    fn due(&self) -> Tick {
        // Relaxed: who looks at the load makes sure in `elect`; for the others a moment's difference means nothing.
        Tick::from_nanos(self.due.load(Relaxed))
    }
}

/// The right to look at the load. Dropped, the next may look.
#[must_use = "dropped without an end, the load is due again at once"]
pub(super) struct Look<'a> {
    gauge: &'a Gauge,
}

impl Look<'_> {
    /// Writes down what was seen. Returns whether heavy operations are shed now, and whether that is worth a line.
    pub(super) fn end(self, now: Tick, load: Option<f64>, limits: &Limits) -> (bool, bool) {
        let Gauge { due, seen, told, next_news, .. } = self.gauge;
        // Relaxed, all of them: `looking` is taken, and its Acquire and Release hand them from one look to the next.
        let shedding = limits.shed_at(load, self.gauge.seen().shedding());
        seen.store(Reading::new(load, shedding).0, Relaxed);
        due.store(now.saturating_add(EVERY).as_nanos(), Relaxed);
        let news = told.load(Relaxed) != shedding && now.as_nanos() >= next_news.load(Relaxed);
        if news {
            told.store(shedding, Relaxed);
            next_news.store(now.saturating_add(NEWS_EVERY).as_nanos(), Relaxed);
        }
        (shedding, news)
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `elect`.
        self.gauge.looking.store(false, Release);
    }
}

/// What was seen last, in one word.
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

/// The sign of an `f64`.
const SHEDDING: u64 = 1 << 63;
/// How often the load is looked at, at most.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// How far ahead the next look is at most, for readings of a clock that has not gone back.
const BACK: Duration = Duration::from_secs(1);
/// How long after a look was due its predecessor counts.
const STALE: Duration = Duration::from_secs(2);
/// How often a beginning or an end of shedding is told as news, at most.
const NEWS_EVERY: Duration = Duration::from_secs(10);
