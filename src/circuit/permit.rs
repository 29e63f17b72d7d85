//! The right to make one call.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use super::inner::{Shard, Start, taken};
use super::probes::Probe;
use super::record::End;
use crate::clock::Tick;
use crate::event::Ended;
use crate::outcome::{Failure, Outcome};

/// The right to make one call, bound to the era it was given in.
///
/// Tell it how the call ended. Dropped untold, the call counts as cancelled: neutral if dropped early, a failure of weight 0.5
/// after `cancelled_counts_after`; a probe gives its slot back. A permit whose era has ended tells nobody anything.
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Permit {
    shard: Arc<Shard>,
    era: u64,
    /// When the call began, zero if that was not read.
    started: Tick,
    right: Right,
    precise: bool,
    told: bool,
}

/// What the outcome of the call will be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// It enters the window.
    Counted,
    /// It enters the verdict.
    Probe(Probe),
    /// It only enters the totals: disabled, or in shadow what would have been rejected.
    Uncounted,
}

/// A permit that is nobody's yet: plain numbers, which stay in registers until the call has begun.
#[derive(Clone, Copy)]
#[must_use = "a slot may have been taken for it"]
pub(crate) struct Admission<'a> {
    shard: &'a Arc<Shard>,
    era: u64,
    started: Tick,
    right: Right,
    precise: bool,
}

impl<'a> Admission<'a> {
    #[inline]
    pub(super) fn new(shard: &'a Arc<Shard>, era: u64, right: Right, start: Start) -> Self {
        let inner = &shard.inner;
        let precise = start == Start::Precise || inner.measures;
        let untaken = start == Start::Untaken && !precise;
        let started = if untaken { Tick::ZERO } else { inner.start(precise) };
        Self { shard, era, started, right, precise }
    }

    #[inline]
    pub(crate) fn permit(self) -> Permit {
        let Self { shard, era, started, right, precise } = self;
        Permit { shard: Arc::clone(shard), era, started, right, precise, told: false }
    }
}

impl Permit {
    /// Tells that the call succeeded.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// Tells that the call failed.
    #[inline]
    pub fn failure(self, failure: Failure) {
        self.record(Outcome::Failure(failure));
    }

    /// Tells that the call says nothing about the service.
    #[inline]
    pub fn ignore(self) {
        self.record(Outcome::Ignored);
    }

    /// Tells how the call ended.
    #[inline]
    pub fn record(mut self, outcome: Outcome) {
        let elapsed = self.measured();
        self.tell(outcome, elapsed);
    }

    /// Returns whether the call is a probe of a half-open circuit.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        matches!(self.right, Right::Probe(_))
    }

    /// Takes the start time, if none was taken yet: the call has to wait.
    #[inline]
    pub(super) fn begin_waiting(&mut self) {
        if self.started == Tick::ZERO {
            self.started = taken(self.shard.inner.now());
        }
    }

    /// Returns how long ago the call began, if that was read.
    pub(super) fn age(&self) -> Option<Duration> {
        let clock = &self.shard.inner.config.clock;
        let now = || if self.precise { clock.precise() } else { clock.now() };
        (self.started != Tick::ZERO).then(|| now().saturating_since(self.started))
    }

    /// Returns how long the call took, if it was to be measured.
    #[inline]
    pub(super) fn measured(&self) -> Option<Duration> {
        if self.precise { self.age() } else { None }
    }

    /// Tells how the call ended, where the permit lies.
    #[inline]
    pub(super) fn tell(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        // The healthy call, inlined into its future: an outcome is five words, and copying them costs more than counting.
        if let (Outcome::Success, Right::Counted) = (outcome, self.right) {
            self.told = true;
            self.shard.inner.record_success(self.era, self.shard.index, elapsed);
        } else {
            self.end(outcome.into(), elapsed);
        }
    }

    /// Returns the time, by the circuit's clock.
    #[cfg(feature = "http")]
    pub(super) fn now(&self) -> Tick {
        self.shard.inner.now()
    }

    /// Tells that the call was dropped after it waited for so long, if it did.
    #[cfg(feature = "http")]
    pub(super) fn cancel(&mut self, waited: Option<Duration>) {
        let elapsed = self.measured();
        self.end(self.shard.inner.cancelled(waited), elapsed);
    }

    #[inline(never)]
    fn abandon(&mut self) {
        let age = self.age();
        self.end(self.shard.inner.cancelled(age), age.filter(|_| self.precise));
    }

    #[inline(never)]
    fn end(&mut self, ended: Ended, elapsed: Option<Duration>) {
        self.told = true;
        let (era, right, shard) = (self.era, self.right, self.shard.index);
        self.shard.inner.record(&End { era, right, shard, ended, elapsed });
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.told {
            self.abandon();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("era", &self.era).field("right", &self.right).finish_non_exhaustive()
    }
}
