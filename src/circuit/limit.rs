//! The limit on the calls of a closed circuit. A ramp or a throttle makes the circuit admit only a share of the calls.
//!
//! When a circuit closes, all waiting calls reach the service at once. They could overload a service that has just
//! started. Therefore a circuit can have a *ramp*. During the ramp, the share of admitted calls grows linearly from a
//! tenth to all. While the ramp lasts, a quarter of the usual evidence is enough to open the circuit again
//! ([`trip_rules::relapses`](super::trip_rules::relapses)). A circuit can also have a *throttle* (`limit/throttle.rs`),
//! which rejects a share of the calls while too many calls fail.
//!
//! One bit of the circuit's word says that calls are limited, so that the calls of a circuit without a limit need no
//! further test. The bit is set by a transition, by a restore, or by a failure that makes the throttle reject calls. A
//! call clears the bit if no ramp lasts and the throttle rejects no calls. Each change computes the bit again under the
//! cold mutex, from the ramp and the throttle at that moment. Otherwise a thread that has found the end of one ramp
//! could clear the bit after the next ramp has begun. If another thread holds the mutex, a thread does not wait. The
//! next failure, or the next call of the limited circuit, tries again.
//!
//! For each call a random number is drawn. The draw is lost if the number is not below the share. Each lost draw
//! requires one rejection, of this call or of a later call. The criticality of the calls decides which call is rejected
//! (`limit/levels.rs`). A query such as `would_admit` makes no draw, because the next call makes a draw of its own. The
//! query answers that the next call is admitted, although the limit may still reject that call.
//!
//! All instances of a fleet close at the same time. Therefore all instances admit the same share at the same time. An
//! instance that closes later begins at the present share of the other instances
//! ([`Snapshot::closed_for`](crate::state::Snapshot::closed_for)).
//!
//! This file is longer than others, because the ramp, the throttle and the bit of the word change together.

mod levels;
mod throttle;

use std::time::Duration;

use self::levels::Levels;
use self::throttle::Throttle;
use super::inner::Inner;
use super::nested;
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::config::Config;
use crate::random;
use crate::state::{Act, Criticality, Reason, RejectReason, State};
use crate::sync::{AtomicU64, Relaxed, Release};
use crate::window::Tally;

/// The criticality with which a limited or half-open circuit decides on a call, or `No` for a call that is exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawn {
    /// In a limited circuit a random draw and this criticality decide if the call is admitted. In a half-open circuit a
    /// more critical call leaves the probes to less critical calls.
    By(Criticality),
    /// The call is exempt, because the caller has waited until a call may pass, or because the permit only records a
    /// failed `poll_ready` of the inner service.
    No,
}

impl Drawn {
    /// The value for a call without a known criticality, which counts as a standard call.
    pub(crate) const YES: Self = Self::By(Criticality::Standard);
}

/// The ramp of the present era, the throttle, and the number of random draws. Without a ramp, the end of the ramp is
/// zero.
///
/// The limit is created with the circuit if a ramp or a throttle is set. Otherwise the limit is created when a ramp of
/// the fleet begins, when advice with a usual error rate comes, or when a sheddable or critical call finds a free slot
/// for a probe, because the limit also decides if the call leaves the slot to less critical calls.
#[derive(Debug)]
pub(super) struct Limit {
    /// The end of the ramp, in nanoseconds of the clock. `until` and `length` are written under the cold mutex before
    /// the word is stored.
    until: AtomicU64,
    /// The duration of the whole ramp in nanoseconds. The start is not kept, because the start can be before the origin
    /// of the clock.
    length: AtomicU64,
    /// The number of random draws so far, which is the position in the sequence of random numbers.
    draws: AtomicU64,
    levels: Levels,
    throttle: Option<Throttle>,
    /// The number of calls that the throttle has rejected.
    throttled: AtomicU64,
    /// The usual error rate, which is the share of failed calls in the last minutes, as the bits of a float. While
    /// advice of another instance lasts, the trip rules compare the evidence with this rate (`usual.rs`).
    pub(super) usual: AtomicU64,
}

/// The answer of the limit to a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    /// The circuit no longer has a limit.
    Unlimited,
    /// The call is admitted.
    Admitted,
    /// The call is rejected. The number is the time in nanoseconds that the caller should wait.
    Rejected(RejectReason, u64),
}

impl Limit {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            until: AtomicU64::new(0),
            length: AtomicU64::new(0),
            draws: AtomicU64::new(0),
            levels: Levels::default(),
            throttle: Throttle::new(config),
            throttled: AtomicU64::new(0),
            usual: AtomicU64::new(0),
        }
    }

    // Relaxed, in `left` and `length`, because the Acquire in `Inner::load` has already made the values visible
    // together with the word. If a thread reads the values of a later ramp, the only effect is that the thread decides
    // by that ramp.

    fn left(&self, now: Tick) -> Duration {
        Tick::from_nanos(self.until.load(Relaxed)).saturating_since(now)
    }

    fn length(&self) -> Duration {
        // Relaxed, as in `left`.
        Duration::from_nanos(self.length.load(Relaxed))
    }

    pub(super) fn set(&self, left: Duration, length: Duration, now: Tick) {
        let until = if left.is_zero() { Tick::ZERO } else { now.saturating_add(left) };
        // Relaxed, because the Release store of the word publishes the values. If a thread reads a later ramp with an
        // earlier word, the only effect is that the thread decides by that ramp.
        self.length.store(nanos(length), Relaxed);
        self.until.store(until.as_nanos(), Relaxed);
        self.levels.begin();
    }
}

impl Inner {
    #[inline]
    fn throttle(&self) -> Option<&Throttle> {
        self.limit()?.throttle.as_ref()
    }

    /// Returns the number of calls that the throttle has rejected.
    pub(super) fn throttled(&self) -> u64 {
        // Relaxed, because the count publishes no other data.
        self.limit().map_or(0, |limit| limit.throttled.load(Relaxed))
    }

    /// Counts a rejection by the throttle.
    pub(super) fn count_throttled(&self) {
        // Relaxed, because the count publishes no other data.
        self.limit_or_new().throttled.fetch_add(1, Relaxed);
    }

    /// Returns true if the call must leave a free probe slot to less critical calls, because they have come lately or
    /// may still come.
    pub(super) fn leaves_probe(&self, drawn: Drawn, now: Tick) -> bool {
        let Drawn::By(criticality) = drawn else { return false };
        if criticality == Criticality::Standard && self.limit().is_none() {
            return false;
        }
        let half_open_for = now.saturating_since(self.entered());
        self.limit_or_new().levels.leaves_probe(criticality, half_open_for, now)
    }

    /// Sets a ramp that began `closed_for` ago. If the ramp is already over and the circuit has no limit yet, does
    /// nothing.
    fn set_ramp(&self, length: Duration, closed_for: Duration, now: Tick) {
        let left = length.saturating_sub(closed_for);
        if !left.is_zero() || self.limit().is_some() {
            self.limit_or_new().set(left, length, now);
        }
    }

    /// Begins the limit of a new era. Returns the word `to`, with the bit that says if calls are limited. The caller
    /// holds the cold mutex, has begun the window of the era, and publishes the returned word. `closed_for` is the time
    /// since another instance closed, or since this circuit closed before a restart. `tally` has the sums of the window
    /// from that instance or from before the restart.
    pub(super) fn begin_limit(
        &self,
        from: Word,
        to: Word,
        reason: &Reason,
        (closed_for, tally): (Option<Duration>, Tally),
        now: Tick,
    ) -> Word {
        if let Some(limit) = self.limit() {
            limit.levels.moved(from.state(), to.state());
        }
        if let Some(throttle) = self.throttle() {
            throttle.begin(to.era());
            throttle.seed(to.era(), now, tally);
        }
        if let Some(length) = self.ramp_after(from, to.state(), reason, closed_for, now) {
            self.set_ramp(length, closed_for.unwrap_or_default(), now);
        }
        self.with_limit(to, now)
    }

    /// Returns the duration of the ramp that begins with a transition. Zero if no ramp begins and an earlier ramp ends.
    /// `None` if the transition leaves the ramp as it is, because only the mode changes.
    fn ramp_after(
        &self,
        from: Word,
        to: State,
        reason: &Reason,
        closed_for: Option<Duration>,
        now: Tick,
    ) -> Option<Duration> {
        if to != State::Closed {
            return Some(Duration::ZERO);
        }
        let (alone, in_fleet) = (self.config.ramp_alone(), self.config.ramp_in_fleet());
        if matches!(reason, Reason::ProbesPassed { .. } | Reason::QuietService { .. } | Reason::NoVerdict { .. }) {
            // While probes are leased, the last probe closes this circuit before the decision of the fleet to close
            // arrives. The circuit then needs the ramp of a fleet already, and not the ramp of a circuit without a
            // fleet.
            return Some(if now < self.leased_until(from.mode()) { in_fleet } else { alone });
        }
        // No ramp begins, because the operator knows that the service is back.
        if matches!(reason, Reason::Operator { act: Act::Reset | Act::Forget, .. }) {
            return Some(Duration::ZERO);
        }
        // A restored snapshot has `closed_for` only if its circuit was in a ramp or its fleet has closed. Without a
        // ramp in the settings, the default ramp of a fleet is used.
        if *reason == Reason::Restored {
            return Some(closed_for.map_or(Duration::ZERO, |_| in_fleet));
        }
        let closes = [(Reason::Fleet, in_fleet), (Reason::Followed, alone)];
        closes.into_iter().find(|(closing, _)| closing == reason).map(|(_, ramp)| ramp)
    }

    /// Continues a ramp in a closed circuit whose restore begins no new era, and adds the restored sums to the
    /// throttle. The caller holds the cold mutex, and `word` is the present word.
    pub(super) fn resume_limit(&self, word: Word, closed_for: Option<Duration>, tally: Tally, now: Tick) {
        if let Some(throttle) = self.throttle() {
            throttle.seed(word.era(), now, tally);
        }
        if let Some(closed_for) = closed_for {
            self.set_ramp(self.config.ramp_in_fleet(), closed_for, now);
            self.begin_summaries(now);
        }
        // Release, which pairs with the Acquire in `load`. A thread that sees the limit must see its ramp.
        self.word.store(self.with_limit(word, now).bits(), Release);
    }

    /// Returns the word, with the bit set if a ramp or a throttle limits the calls at this moment, and cleared
    /// otherwise.
    fn with_limit(&self, word: Word, now: Tick) -> Word {
        word.with_limit(word.counts_calls() && self.is_limiting(word.era(), now))
    }

    fn is_limiting(&self, era: u64, now: Tick) -> bool {
        self.ramp_left(now).is_some() || self.throttled_share(era, now) > 0.0
    }

    /// Returns the rest of the ramp, or `None` if no ramp lasts.
    pub(super) fn ramp_left(&self, now: Tick) -> Option<Duration> {
        Some(self.limit()?.left(now)).filter(|left| !left.is_zero())
    }

    /// Returns the time since the present ramp began, or `None` without a ramp.
    pub(super) fn ramped_for(&self, now: Tick) -> Option<Duration> {
        Some(self.limit()?.length().saturating_sub(self.ramp_left(now)?))
    }

    /// Returns the share of the calls that the ramp admits, which is 1 without a ramp.
    fn ramp_share(&self, now: Tick) -> f64 {
        let length = self.limit().map_or(Duration::ZERO, Limit::length).as_secs_f64();
        self.ramped_for(now).map_or(1.0, |elapsed| (elapsed.as_secs_f64() / length).max(LEAST_SHARE))
    }

    /// Returns the share of the requests that the throttle rejects, which is 0 without a throttle.
    pub(super) fn throttled_share(&self, era: u64, now: Tick) -> f64 {
        self.throttle().map_or(0.0, |throttle| throttle.share(era, now, self.tally(era, now).calls))
    }

    /// Returns the share of the calls that the closed circuit admits, which is 1 without a limit.
    pub(super) fn admitted_share(&self, era: u64, now: Tick) -> f64 {
        self.ramp_share(now) * (1.0 - self.throttled_share(era, now))
    }

    /// Returns the share of the calls that the closed circuit admits, for observers. `None` if the circuit has no limit
    /// now and its own settings have neither a ramp nor a throttle.
    pub(super) fn shown_share(&self, word: Word, now: Tick) -> Option<f64> {
        let can_limit = self.throttle().is_some() || !self.config.ramp_alone().is_zero();
        let share = || if word.counts_calls() { self.admitted_share(word.era(), now) } else { 1.0 };
        (can_limit || word.is_limited()).then(share)
    }

    /// Counts a failure for the throttle.
    #[inline]
    pub(super) fn count_refusal(&self, era: u64, now: Tick) {
        if let Some(throttle) = self.throttle() {
            throttle.failure(era, now);
        }
    }

    /// Counts an ignored or cancelled call for the throttle.
    pub(super) fn count_unjudged(&self, era: u64) {
        if let Some(throttle) = self.throttle() {
            throttle.unjudged(era, self.now());
        }
    }

    /// Sets the bit of the limit if a failure has made the throttle reject a share of the calls. `word` is the word
    /// before the failure.
    #[inline]
    pub(super) fn limit_if_throttled(&self, word: Word, now: Tick) {
        if self.throttle().is_some() && !word.is_limited() && self.throttled_share(word.era(), now) > 0.0 {
            self.begin_summaries(now);
            self.settle_limit(now);
        }
    }

    /// Decides if a limited circuit admits a call. The decision depends on a random draw, the share of admitted calls,
    /// and the criticality of the call.
    pub(super) fn draw(&self, word: Word, drawn: Drawn, now: Tick) -> Draw {
        let (ramp, throttled) = (self.ramp_left(now), self.throttled_share(word.era(), now));
        if ramp.is_none() && throttled <= 0.0 {
            self.settle_limit(now);
            return Draw::Unlimited;
        }
        let criticality = match drawn {
            // A call inside an admitted call is a part of the admitted call, and makes no draw of its own.
            Drawn::By(criticality) if !nested::is_inside(self, word.era()) => criticality,
            Drawn::By(_) | Drawn::No => return Draw::Admitted,
        };
        let limit = self.limit_or_new();
        // Relaxed, because the number publishes no other data.
        let position = limit.draws.fetch_add(1, Relaxed);
        let (draw, ramp_share) = (self.draw_at(position), self.ramp_share(now));
        let is_lost = draw >= ramp_share * (1.0 - throttled);
        if !limit.levels.pays(criticality, is_lost, ramp.is_some()) {
            return Draw::Admitted;
        }
        match ramp {
            // The ramp is the reason if the ramp alone would have rejected the call, or if the throttle rejects no
            // calls.
            Some(left) if draw >= ramp_share || throttled <= 0.0 => {
                Draw::Rejected(RejectReason::Ramp, nanos(left.min(LONGEST_WAIT)))
            }
            Some(_) | None => {
                if let Some(throttle) = self.throttle() {
                    throttle.rejection(word.era(), now);
                }
                Draw::Rejected(RejectReason::Throttled, nanos(LONGEST_WAIT))
            }
        }
    }

    /// Sets or clears the bit of the limit by the present ramp and throttle, unless another thread holds the mutex.
    #[cold]
    fn settle_limit(&self, now: Tick) {
        // The thread does not wait for the lock, because the next call or the next failure tries again.
        let Some(_cold) = self.cold.try_lock() else { return };
        // Relaxed, because the word changes only under the lock, which this thread holds.
        let word = Word::from_bits(self.word.load(Relaxed));
        // Release, which pairs with the Acquire in `load`. A thread that sees this word must see the data of the era,
        // which another thread may have written under the lock before.
        let next = self.with_limit(word, now);
        if let Some(limit) = self.limit().filter(|_| !next.is_limited()) {
            // The limit is over, so the rejections that are still due for lost draws (`limit/levels.rs`) are dropped.
            // Otherwise the next limit of a throttle could reject calls for these draws. A ramp drops them when the
            // ramp begins.
            limit.levels.end();
        }
        self.word.store(next.bits(), Release);
    }

    /// Returns a number between 0 and 1, which depends only on the seed and the position.
    fn draw_at(&self, position: u64) -> f64 {
        random::share(random::nth(self.seed ^ DRAWS, position))
    }
}

/// The share of the calls that a ramp admits at its start. The slow start of Envoy and of gRPC has the same share.
const LEAST_SHARE: f64 = 0.1;
/// The longest time that a rejected caller is asked to wait. The time is short, because the share changes meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A number that is mixed into the seed, so that the draws are independent of the jitter of open durations.
const DRAWS: u64 = 0x5241_4D50_5348_4152;
