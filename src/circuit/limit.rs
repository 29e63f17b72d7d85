//! The limit of a closed circuit, which lets only a share of the calls through.
//!
//! A circuit that closes at once sends all waiting calls to a service that has perhaps just started, and the service falls
//! over again. Therefore a circuit can have a *ramp*, which is the time after a closing in which the share grows in a
//! line from a tenth to all calls. While the ramp lasts, a quarter of the evidence opens the circuit again
//! ([`decide::relapses`](super::decide::relapses)).
//!
//! A limit is one bit of the word, so that a circuit without a limit needs no further test. The bit is set with the word
//! of the era, and a call that finds the ramp over clears the bit within the era. Setting and clearing hold the cold
//! mutex, and clearing looks at the word and at the ramp again under the mutex. So a late call clears no bit of a later
//! ramp, and if a thread loses the race for the mutex, the next call clears the bit.
//!
//! The share is drawn with the call and never with a question. A question answers that the next call may be admitted,
//! because the answer would otherwise belong to another call than the one that is made.
//!
//! All instances of a fleet close at the same time, so that each has the same share at the same time, and the calls of
//! the fleet grow as those of each instance do. An instance that closes later begins at the share of the others
//! ([`Snapshot::closed_for`](crate::state::Snapshot::closed_for)).

use std::time::Duration;

use super::inner::Inner;
use super::nested;
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::random;
use crate::state::{Act, Reason, RejectReason, Standing, State};
use crate::sync::{AtomicU64, Relaxed, Release};

/// The part of the limit in the admission of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawn {
    /// The limit applies to the call, so that a draw decides.
    Yes,
    /// The limit does not apply, because the caller waits until a call may pass, or because the call was made already.
    No,
}

/// The ramp of the present era, and the number of draws. A circuit without a ramp has a ramp that ended at zero.
#[derive(Debug, Default)]
pub(super) struct Limit {
    /// The end of the ramp. Written under the cold mutex before the word, as `length` is.
    until: AtomicU64,
    /// The duration of the whole ramp in nanoseconds. The begin is not kept, because the begin can lie before the origin of
    /// the clock.
    length: AtomicU64,
    /// The number of draws, which is the position in the sequence of random numbers.
    draws: AtomicU64,
}

/// The answer of the limit to a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    /// The limit is over.
    Unlimited,
    /// The call is admitted.
    Admitted,
    /// The call is rejected, and the caller should wait for so many nanoseconds.
    Rejected(RejectReason, u64),
}

impl Limit {
    // Relaxed, in `left` and `length`, for the reason above `Inner::entered`.

    fn left(&self, now: Tick) -> Duration {
        Tick::from_nanos(self.until.load(Relaxed)).saturating_since(now)
    }

    fn length(&self) -> Duration {
        Duration::from_nanos(self.length.load(Relaxed))
    }

    pub(super) fn set(&self, left: Duration, length: Duration, now: Tick) {
        let until = if left.is_zero() { Tick::ZERO } else { now.saturating_add(left) };
        // Relaxed, because the Release store of the word publishes the values, and because a thread that reads a later
        // ramp with an earlier word only decides by that ramp.
        self.length.store(nanos(length), Relaxed);
        self.until.store(until.as_nanos(), Relaxed);
    }
}

impl Inner {
    /// Sets the ramp of an era that begins in this standing, and returns true if the calls of the era are limited. The caller
    /// holds the cold mutex and publishes the era after this call. `closed_for` is the time since the closing on another
    /// instance or before a restart.
    pub(super) fn begin_limit(
        &self,
        from: Word,
        to: Standing,
        reason: &Reason,
        closed_for: Option<Duration>,
        now: Tick,
    ) -> bool {
        if let Some(length) = self.ramp_after(from, to, reason, closed_for, now) {
            let left = length.saturating_sub(closed_for.unwrap_or_default());
            self.limit.set(left, length, now);
        }
        to.state == State::Closed && !to.mode.is_hold() && !from.bypassed() && self.ramp_left(now).is_some()
    }

    /// Returns the duration of the ramp that begins with a transition. `None` if the transition leaves the ramp as it is,
    /// because only the mode changes.
    fn ramp_after(
        &self,
        from: Word,
        to: Standing,
        reason: &Reason,
        closed_for: Option<Duration>,
        now: Tick,
    ) -> Option<Duration> {
        if to.state != State::Closed {
            return Some(Duration::ZERO);
        }
        let (alone, in_fleet) = (self.config.ramp_alone(), self.config.ramp_in_fleet());
        if matches!(reason, Reason::ProbesPassed { .. } | Reason::QuietService { .. } | Reason::NoVerdict { .. }) {
            // The last leased probe closes the circuit of its instance together with the fleet.
            return Some(if now < self.leased_until(from.mode()) { in_fleet } else { alone });
        }
        // The operator knows that the service is back.
        if matches!(reason, Reason::Operator { act: Act::Reset | Act::Forget, .. }) {
            return Some(Duration::ZERO);
        }
        // A restored snapshot has the time only if it is of a ramp, by the settings of this circuit or of its fleet.
        if *reason == Reason::Restored {
            return Some(closed_for.map_or(Duration::ZERO, |_| in_fleet));
        }
        let closes = [(Reason::Fleet, in_fleet), (Reason::Followed, alone)];
        closes.into_iter().find(|(closing, _)| closing == reason).map(|(_, ramp)| ramp)
    }

    /// Continues a ramp in a closed circuit that is restored within its era. The caller holds the cold mutex, and `word` is
    /// the present word.
    pub(super) fn resume_limit(&self, word: Word, closed_for: Option<Duration>, now: Tick) {
        if closed_for.is_some() && self.begin_limit(word, word.standing(), &Reason::Restored, closed_for, now) {
            // Release, which pairs with the Acquire in `load`. A thread that sees the limit must see its ramp.
            self.word.store(word.with_limit(true).bits(), Release);
        }
    }

    /// Returns the rest of the ramp, or `None` without a ramp.
    pub(super) fn ramp_left(&self, now: Tick) -> Option<Duration> {
        Some(self.limit.left(now)).filter(|left| !left.is_zero())
    }

    /// Returns the time since the closing with which the present ramp began, or `None` without a ramp.
    pub(super) fn ramped_for(&self, now: Tick) -> Option<Duration> {
        self.ramp_left(now).map(|left| self.limit.length().saturating_sub(left))
    }

    /// Returns the share of the calls that a closed circuit admits, which is 1 without a limit.
    pub(super) fn admitted_share(&self, now: Tick) -> f64 {
        let length = self.limit.length().as_secs_f64();
        self.ramped_for(now).map_or(1.0, |elapsed| (elapsed.as_secs_f64() / length).max(LEAST_SHARE))
    }

    /// Decides on a call of a limited circuit.
    pub(super) fn draw(&self, word: Word, drawn: Drawn, now: Tick) -> Draw {
        let Some(left) = self.ramp_left(now) else {
            self.end_limit(now);
            return Draw::Unlimited;
        };
        // A call inside an admitted call is a part of that call.
        if drawn == Drawn::No || nested::is_inside(self, word.era()) {
            return Draw::Admitted;
        }
        // Relaxed, because the number publishes no other data.
        let position = self.limit.draws.fetch_add(1, Relaxed);
        if self.draw_at(position) < self.admitted_share(now) {
            Draw::Admitted
        } else {
            Draw::Rejected(RejectReason::Ramp, nanos(left.min(LONGEST_WAIT)))
        }
    }

    /// Clears the bit of the limit, unless another ramp has begun or another thread holds the mutex.
    #[cold]
    fn end_limit(&self, now: Tick) {
        // The thread does not wait for the lock, because the next call tries again.
        let Some(_cold) = self.cold.try_lock() else { return };
        if self.ramp_left(now).is_none() {
            // Relaxed, because the word changes only under the lock, which this thread holds.
            let word = Word::from_bits(self.word.load(Relaxed));
            // Release, which pairs with the Acquire in `load`. A thread that sees this word must see the data of the era,
            // which another thread may have written under the lock before.
            self.word.store(word.with_limit(false).bits(), Release);
        }
    }

    /// Returns a number between 0 and 1, which depends only on the seed and the position.
    fn draw_at(&self, position: u64) -> f64 {
        random::share(random::nth(self.seed ^ DRAWS, position))
    }
}

/// The share of the calls at the begin of a ramp, which is that of the slow start of Envoy and of gRPC.
const LEAST_SHARE: f64 = 0.1;
/// The longest time that a rejected caller is asked to wait, because the share grows meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Keeps the draws apart from the jitter of openings, which has the same seed.
const DRAWS: u64 = 0x5241_4D50_5348_4152;
