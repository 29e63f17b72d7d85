//! Recording of the outcomes of calls that are no probes. This file also decides if a call was slow, and weighs a call
//! that was cancelled late or ended by a deadline of its caller. The file `verdict` handles the outcomes of probes.
//!
//! An outcome is evidence only in the era (the time between two transitions) in which its permit was given. If that era
//! is over, the outcome counts only for the totals. The one exception is a late failure that trips at once and has a
//! `Retry-After` (`at_once`). The rules by which evidence causes a transition are in `trip_rules`, and the transition
//! itself is in `change`.

use std::time::Duration;

use super::branch::Branch;
use super::failed::{Failed, Text};
use super::inner::{Inner, Success, Timing};
use super::mark::{Mark, Right};
use super::trip_rules::{self, Situation};
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::config::{Config, LONGEST_RETRY_AFTER};
use crate::event::{Ended, Event};
use crate::outcome::{Failure, FailureKind, Outcome, Weight};
use crate::state::Reason;
use crate::sync::{Relaxed, Release, seat};
use crate::window::cells::Counted;
use crate::window::{self, Stamp, tagged};

/// An admitted call that has ended.
#[derive(Debug)]
pub(super) struct End<'a> {
    pub(super) mark: Mark,
    /// The start of the call, or zero if the clock was not read at the start.
    pub(super) started: Tick,
    pub(super) ended: Ended,
    pub(super) took: Took,
    /// The doubt of a probe that ended without a verdict, in units of 1/256. The doubt is the weight that a closed
    /// circuit would have counted for this end. Zero for every other end.
    pub(super) doubt: u16,
    /// The text of the failure, if the call failed.
    pub(super) text: Text<'a>,
}

/// The duration of a call, as far as the circuit knows the duration.
#[derive(Debug, Clone, Copy)]
pub(super) enum Took {
    Unknown,
    Measured(Duration),
    /// The start of the call by the precise clock. The precise clock was not read at the end, because for most calls
    /// the coarse clock proves that the call was not slow.
    Since(Tick),
}

impl Took {
    #[inline]
    pub(super) fn new(elapsed: Option<Duration>, started: Tick, timing: Timing) -> Self {
        match elapsed {
            Some(elapsed) => Self::Measured(elapsed),
            None if timing == Timing::Slow && started != Tick::ZERO => Self::Since(started),
            None => Self::Unknown,
        }
    }

    const fn elapsed(self) -> Option<Duration> {
        match self {
            Self::Measured(elapsed) => Some(elapsed),
            Self::Unknown | Self::Since(_) => None,
        }
    }
}

/// The result of recording an outcome, for the observers that want an event for every call.
struct Recorded {
    /// The time of the outcome. `None` if the clock was not read while the outcome was recorded.
    at: Option<Tick>,
    /// True if the outcome is reported in a sum of calls, and not by itself.
    in_sum: bool,
}

impl Branch {
    /// Records the success of a call with [`Right::Counted`]. Has the same effect as [`record`](Self::record), with
    /// fewer steps for most successes.
    #[inline(always)]
    pub(super) fn record_success(&self, mark: Mark, started: Tick, elapsed: Option<Duration>) {
        let inner = &*self.inner;
        let word = inner.load();
        if mark.is_of(word.era()) {
            let counted = match inner.success {
                Success::Counts => inner.cells.success(seat()),
                Success::Dates => inner.cells.success_at(seat(), word.era(), inner.now()),
                Success::Weighs => Counted::No,
            };
            if counted != Counted::No {
                inner.run.success(word.era());
                if counted == Counted::Due {
                    inner.report_own_sums();
                }
                return;
            }
        }
        self.record_success_in_full(mark, started, elapsed);
    }

    #[inline(never)]
    fn record_success_in_full(&self, mark: Mark, started: Tick, elapsed: Option<Duration>) {
        let took = Took::new(elapsed, started, self.inner.timing);
        let word = self.inner.load();
        if mark.is_of(word.era()) {
            let recorded = self.count_success(word, mark, started, took);
            self.inner.report_end(&recorded, Ended::Success, took);
        } else {
            self.record(&End { mark, started, ended: Ended::Success, took, doubt: 0, text: Text::NONE });
        }
    }

    /// Records an outcome as evidence of its own era. If that era is over, counts the outcome only in the totals.
    pub(super) fn record(&self, end: &End<'_>) {
        let inner = &*self.inner;
        let word = inner.load();
        let right = end.mark.right();
        let recorded = match right {
            // An uncounted outcome is evidence in no era, and so is never stale. Therefore this arm comes before the
            // test for stale outcomes.
            Right::Uncounted => {
                inner.count_aside(end.ended);
                Recorded { at: None, in_sum: false }
            }
            _ if !end.mark.is_of(word.era()) => {
                // Relaxed, because the count publishes no other data.
                inner.counts.stale.fetch_add(1, Relaxed);
                inner.notify_of_call(&Event::Stale);
                inner.count_aside(end.ended);
                Recorded { at: None, in_sum: false }
            }
            Right::Counted => self.count(word, end),
            Right::Probe(probe) => Recorded { at: Some(inner.judge(word, probe, end)), in_sum: false },
        };
        if let Ended::Failure(failure) = end.ended
            && failure.trips()
        {
            let weighed_in = matches!((right, recorded.at), (Right::Counted, Some(_))).then(|| word.era());
            inner.leave_alone_from_now(failure, end.text, weighed_in);
        }
        inner.report_end(&recorded, end.ended, end.took);
    }

    /// Adds an outcome to the window and to the run (the weight of the failures in a row) of a closed circuit. Trips
    /// the circuit if a rule is met.
    fn count(&self, word: Word, end: &End<'_>) -> Recorded {
        let inner = &*self.inner;
        let failure = match end.ended {
            Ended::Success => return self.count_success(word, end.mark, end.started, end.took),
            Ended::Failure(failure) => failure,
            Ended::Ignored | Ended::Cancelled => {
                if word.is_watched() {
                    inner.note_end(word, end.mark, end.started);
                }
                inner.count_aside(end.ended);
                inner.count_unjudged(word.era());
                return Recorded { at: None, in_sum: false };
            }
        };
        let (era, now) = (word.era(), inner.now());
        let mark = window::Mark {
            units: failure.weight().units(),
            slow: inner.ends_slow(word, end.mark, end.started, end.took, now),
        };
        // The window is updated first. `totals` computes the successes as calls minus failures, and must not see a
        // failure before its call is in the window.
        inner.evidence.record(Stamp { era, now }, mark);
        inner.count_failure(era, now, failure);
        inner.count_refusal(era, now);
        inner.weigh(word, now, Some(failure), end.text);
        inner.limit_if_throttled(word, now);
        Recorded { at: Some(now), in_sum: false }
    }

    /// Adds a success to the cell of this thread (counters that no other thread writes). Adds the success to the window
    /// instead if the success may trip the circuit, if the window is a number of calls, or if the thread has no cell.
    #[inline]
    fn count_success(&self, word: Word, mark: Mark, started: Tick, took: Took) -> Recorded {
        let inner = &*self.inner;
        let era = word.era();
        let has_slow_rule = inner.config.rules.slow_call_rate.is_some();
        let needs_now = has_slow_rule || inner.config.trip_on_any_outcome || inner.success == Success::Dates;
        let dates = inner.evidence.needs_now();
        let now = if needs_now || dates { inner.now() } else { Tick::ZERO };
        let slow = has_slow_rule && inner.ends_slow(word, mark, started, took, now);
        let weighs = slow || inner.config.trip_on_any_outcome;
        let counted = if weighs || !inner.evidence.allows_cells() {
            Counted::No
        } else if dates || inner.cells.report_sums() {
            // The success needs a time, for the time window or for the interval between two reports of sums.
            inner.cells.success_at(seat(), era, now)
        } else {
            inner.cells.success(seat())
        };
        match counted {
            Counted::Yes => {}
            Counted::Due => inner.report_own_sums(),
            Counted::No => {
                inner.evidence.record(Stamp { era, now }, window::Mark { units: 0, slow });
                if inner.evidence.allows_cells() && !weighs {
                    self.note_contention(|| inner.now());
                }
            }
        }
        inner.run.success(era);
        if weighs {
            inner.weigh(word, now, None, Text::NONE);
        }
        let in_sum = counted != Counted::No && inner.cells.report_sums();
        Recorded { at: (needs_now || dates).then_some(now), in_sum }
    }
}

impl Inner {
    /// Reports the end of a call to the observers that want an event for every call. Does nothing if the call is
    /// reported in a sum.
    #[inline]
    fn report_end(&self, recorded: &Recorded, ended: Ended, took: Took) {
        if !recorded.in_sum && !self.call_observers.is_empty() {
            // A failure always gets a time, because the metrics of the last minute need the time.
            let dated = || matches!(ended, Ended::Failure(_)).then(|| self.now());
            let at = recorded.at.or_else(dated);
            self.notify_of_call(&Event::Finished { ended, at, elapsed: took.elapsed() });
        }
    }

    /// Removes an ended call of the present era from the calls under way. Returns true if the call was slow. Without a
    /// slow-call rule, only tests a bit of `word` and returns false.
    #[inline]
    fn ends_slow(&self, word: Word, mark: Mark, started: Tick, took: Took, now: Tick) -> bool {
        word.is_watched() && {
            self.note_end(word, mark, started);
            self.is_slow(took, now)
        }
    }

    /// Returns true if the slow-call rule is on and the call was slow. `now` is the end of the call by the coarse
    /// clock.
    #[inline]
    pub(super) fn is_slow(&self, took: Took, now: Tick) -> bool {
        // Most calls are so short that the coarse clock proves that the call was quick. A reading of the precise clock
        // would cost several times as much.
        let quick =
            matches!(took, Took::Since(started) if now.as_nanos().saturating_sub(started.as_nanos()) < self.quick);
        !quick && self.is_slow_to_the_nanosecond(took)
    }

    #[inline(never)]
    fn is_slow_to_the_nanosecond(&self, took: Took) -> bool {
        let Some((_, slower_than)) = self.config.rules.slow_call_rate else { return false };
        match took {
            Took::Unknown => false,
            Took::Measured(elapsed) => elapsed >= slower_than,
            Took::Since(started) => self.precise().saturating_since(started) >= slower_than,
        }
    }

    fn count_failure(&self, era: u64, now: Tick, failure: Failure) {
        // Release, which pairs with the Acquire in `totals`. A thread that sees the failure counted also sees the call
        // in the window.
        self.counts.failures.fetch_add(1, Release);
        self.count_weight(failure);
        // The `Retry-After` is stored before the run changes, because the thread that sees the new run and trips the
        // circuit must also see the `Retry-After`.
        self.leave_alone(era, now, failure);
        self.run.failure(era, failure.weight().units());
    }

    /// Stores the time until which the service wants no calls (`Retry-After`). If several failures name a time, the
    /// time of the latest failure is kept.
    pub(super) fn leave_alone(&self, era: u64, now: Tick, failure: Failure) {
        if let Some(after) = failure.retry_after() {
            // The time is stored in milliseconds since the start of the era, so that the number fits into 40 bits with
            // any clock. If the era has ended, `update` changes nothing.
            let until = now.saturating_add(after.min(LONGEST_RETRY_AFTER)).saturating_since(self.entered());
            let until = nanos(until).div_ceil(1_000_000).min(tagged::MAX);
            self.leave_alone_until.update(era, |_| until);
        }
    }

    /// Trips the circuit if the failure trips at once, or if the evidence meets a rule. A ramp, or advice of another
    /// instance, lowers the thresholds of the rules.
    #[cold]
    fn weigh(&self, word: Word, now: Tick, failure: Option<Failure>, text: Text<'_>) {
        let failed = || failure.map(|failure| Failed::new(failure, text));
        if failure.is_some_and(|failure| failure.trips()) {
            return self.trip(word, now, Reason::AtOnce, failed);
        }
        let era = word.era();
        let age = now.saturating_since(self.entered());
        // The sums are written directly into the struct. A copy of sums that were just written would stall the
        // processor.
        let mut seen =
            Situation { run: self.run.get(era), hanging: 0, has_outcome: true, age, tally: self.tally(era, now) };
        if word.is_watched() {
            // The hanging calls are read after the window, so that a call that ends meanwhile is not counted twice.
            seen.hanging = self.hanging_lately(word, now);
        }
        if let Some(reason) = self.met(&seen, now) {
            self.trip(word, now, reason, failed);
        }
    }

    /// Returns the rule that the evidence meets, with the thresholds of the settings or with the lower thresholds of a
    /// ramp or of advice. Returns `None` if the evidence meets no rule.
    pub(super) fn met(&self, seen: &Situation, now: Tick) -> Option<Reason> {
        let met = trip_rules::trips(&self.config.rules, self.config.window, seen);
        // If the evidence meets the configured thresholds, a ramp or advice is not the reason, because the circuit
        // trips without them too.
        if met.is_some() { met } else { self.met_if_lowered(seen, now) }
    }

    /// Returns the rule that the evidence meets with the thresholds of a ramp or of advice. Returns `None` if no ramp
    /// and no advice lasts, or if the evidence meets no rule.
    // Not inlined, so that the answer `None` is written directly into the return value of `met`, and not copied from a
    // temporary variable.
    #[inline(never)]
    fn met_if_lowered(&self, seen: &Situation, now: Tick) -> Option<Reason> {
        let (in_ramp, is_advised) = (self.ramp_left(now).is_some(), self.is_advised(now));
        if !in_ramp && !is_advised {
            return None;
        }
        let Config { rules, window, .. } = &self.config;
        let met = if in_ramp { trip_rules::relapses(rules, *window, seen) } else { None };
        if met.is_none() && is_advised {
            return trip_rules::trips_on_advice(rules, *window, seen, self.usual_rate(seen.tally, seen.run.weight));
        }
        met
    }

    fn is_advised(&self, now: Tick) -> bool {
        // Relaxed, because the deadline publishes no other data. A thread that reads an earlier deadline decides as if
        // the advice had come later.
        now.as_nanos() < self.advised_until.load(Relaxed)
    }

    /// Counts an outcome for the totals only.
    pub(super) fn count_aside(&self, ended: Ended) {
        let count = match ended {
            Ended::Success => &self.counts.other_successes,
            Ended::Failure(_) => &self.counts.other_failures,
            Ended::Ignored => &self.counts.ignored,
            Ended::Cancelled => &self.counts.cancelled,
        };
        // Relaxed, because the count publishes no other data.
        count.fetch_add(1, Relaxed);
        if let Ended::Failure(failure) = ended {
            self.count_weight(failure);
        }
    }

    fn count_weight(&self, failure: Failure) {
        let lacking = Weight::HARD.units() - failure.weight().units();
        if lacking > 0 {
            // Relaxed, because the sum publishes no other data.
            self.counts.lacking.fetch_add(lacking.into(), Relaxed);
        }
    }

    /// Judges the failure of a call whose caller has set a deadline. `waited` is the time that the call waited. After a
    /// short wait the failure weighs less, because a short deadline says little about the service. Returns the end and
    /// its doubt ([`End::doubt`]).
    ///
    /// If the wait was too short to say anything about the service, the failure is ignored. The failure of a probe
    /// counts only after a longer wait. If the wait was so short that the failure weighs less than a timeout, the probe
    /// ends without a verdict. Otherwise the verdict would count the light failure as a whole failed probe, and a
    /// caller with a short deadline could reopen the circuit. The doubt is the weight of such a light failure in 1/256,
    /// and zero in all other cases.
    #[cold]
    pub(super) fn weighed_by_wait(&self, failure: Failure, waited: Option<Duration>, mark: Mark) -> (Ended, u16) {
        let whole = failure.weight();
        match failure.after_waiting(waited, self.config.cancelled_counts_after) {
            Some(less) if mark.is_probe() && less.weight() < whole.min(Weight::TIMEOUT) => {
                (Ended::Ignored, less.weight().units())
            }
            Some(failure) => (Ended::Failure(failure), 0),
            None => (Ended::Ignored, 0),
        }
    }

    /// Returns the outcome of a call that was dropped `age` after its start. A drop after `cancelled_counts_after`
    /// counts as a timeout, because the caller has given up waiting. If `age` is `None`, the drop is no evidence.
    pub(super) fn cancelled(&self, age: Option<Duration>) -> Ended {
        match (self.config.cancelled_counts_after, age) {
            (Some(after), Some(age)) if age >= after => {
                Ended::Failure(Failure::timeout().with_kind(FailureKind::Cancelled))
            }
            _ => Ended::Cancelled,
        }
    }
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure(failure) => Self::Failure(failure),
            Outcome::Ignored => Self::Ignored,
        }
    }
}
