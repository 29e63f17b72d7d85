//! The right to make one call.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use super::inner::{Shard, Start};
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
    right: Right,
    /// When the call began, zero if that was not read.
    started: Tick,
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

impl Permit {
    pub(super) fn new(shard: &Arc<Shard>, era: u64, right: Right, start: Start) -> Self {
        let config = &shard.inner.config;
        let precise = start == Start::Precise || config.durations || config.rules.slow_call_rate.is_some();
        let started = match start {
            _ if precise => config.clock.precise(),
            Start::Coarse if config.cancelled_counts_after.is_some() => config.clock.now(),
            Start::Untaken | Start::Coarse | Start::Precise => Tick::ZERO,
        };
        Self { shard: Arc::clone(shard), era, right, started, precise, told: false }
    }

    /// Tells that the call succeeded.
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// Tells that the call failed.
    pub fn failure(self, failure: Failure) {
        self.record(Outcome::Failure(failure));
    }

    /// Tells that the call says nothing about the service.
    pub fn ignore(self) {
        self.record(Outcome::Ignored);
    }

    /// Tells how the call ended.
    pub fn record(self, outcome: Outcome) {
        let elapsed = self.measured();
        self.record_measured(outcome, elapsed);
    }

    /// Returns whether the call is a probe of a half-open circuit.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        matches!(self.right, Right::Probe(_))
    }

    /// Takes the start time, if none was taken yet: the call has to wait.
    pub(super) fn begin_waiting(&mut self) {
        if self.started == Tick::ZERO {
            self.started = self.shard.inner.now();
        }
    }

    /// Returns how long ago the call began, if that was read.
    pub(super) fn age(&self) -> Option<Duration> {
        let clock = &self.shard.inner.config.clock;
        let now = || if self.precise { clock.precise() } else { clock.now() };
        (self.started != Tick::ZERO).then(|| now().saturating_since(self.started))
    }

    /// Returns how long the call took, if it was to be measured.
    pub(super) fn measured(&self) -> Option<Duration> {
        if self.precise { self.age() } else { None }
    }

    pub(super) fn record_measured(mut self, outcome: Outcome, elapsed: Option<Duration>) {
        self.end(outcome.into(), elapsed);
    }

    fn end(&mut self, ended: Ended, elapsed: Option<Duration>) {
        self.told = true;
        let (era, right, shard) = (self.era, self.right, self.shard.index);
        self.shard.inner.record(&End { era, right, shard, ended, elapsed });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.told {
            let age = self.age();
            self.end(self.shard.inner.cancelled(age), age.filter(|_| self.precise));
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("era", &self.era).field("right", &self.right).finish_non_exhaustive()
    }
}
