//! Outcomes of calls: the verdict of probes and the meaning of cancellations are decided here, too.
//!
//! An outcome becomes evidence of the era of its permit, and the evidence may become a transition. The rules are in `decide`, and the
//! transition itself is in `change`.

use std::time::Duration;

use super::branch::Branch;
use super::decide::{self, Situation};
use super::inner::{Inner, Success, Timing};
use super::mark::{Mark, Right};
use super::probes::Probe;
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::config::{Config, LONGEST_RETRY_AFTER};
use crate::event::{Ended, Event};
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::state::Reason;
use crate::sync::{Relaxed, Release, seat};
use crate::window::cells::Counted;
use crate::window::{self, Stamp, tagged};

/// An admitted call that has ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) mark: Mark,
    pub(super) ended: Ended,
    pub(super) took: Took,
}

/// The duration of a call, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Took {
    Unknown,
    Measured(Duration),
    /// The call began at that time by the precise clock. Its end was not read.
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

/// The result of recording an outcome, for the observers that want every call.
struct Recorded {
    /// The time, if the circuit had reason to read its clock.
    at: Option<Tick>,
    /// The outcome is part of a sum, so it is not reported by itself.
    in_sum: bool,
}

impl Branch {
    /// Records the success of a counted call: the same as [`record`](Self::record), in the few steps that most successes need.
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
        self.record(&End { mark, ended: Ended::Success, took: Took::new(elapsed, started, self.inner.timing) });
    }

    /// Takes an outcome home: to the evidence of its own era, or nowhere.
    pub(super) fn record(&self, end: &End) {
        let inner = &*self.inner;
        let word = inner.load();
        let right = end.mark.right();
        let recorded = match right {
            Right::Uncounted => {
                inner.count_aside(end.ended);
                Recorded { at: None, in_sum: false }
            }
            _ if !end.mark.is_of(word.era()) => {
                // Relaxed: a count, publishes nothing.
                inner.counts.stale.fetch_add(1, Relaxed);
                inner.tell_call(&Event::Stale);
                inner.count_aside(end.ended);
                Recorded { at: None, in_sum: false }
            }
            Right::Counted => self.count(word, end),
            Right::Probe(probe) => Recorded { at: Some(inner.judge(word, probe, end.ended)), in_sum: false },
        };
        if !recorded.in_sum && !inner.call_observers.is_empty() {
            // A failure is always dated, for the metrics of the last minute.
            let dated = || matches!(end.ended, Ended::Failure(_)).then(|| inner.now());
            let at = recorded.at.or_else(dated);
            inner.tell_call(&Event::Finished { ended: end.ended, at, elapsed: end.took.elapsed() });
        }
    }

    /// Adds to the window and the run of a closed circuit, and trips it if a rule is met.
    fn count(&self, word: Word, end: &End) -> Recorded {
        let inner = &*self.inner;
        let failure = match end.ended {
            Ended::Success => return self.count_success(word, end.took),
            Ended::Failure(failure) => failure,
            Ended::Ignored | Ended::Cancelled => {
                inner.count_aside(end.ended);
                return Recorded { at: None, in_sum: false };
            }
        };
        let (era, now) = (word.era(), inner.now());
        let mark = window::Mark { units: failure.weight().units(), slow: inner.is_slow(end.took, now) };
        inner.evidence.record(Stamp { era, now }, mark);
        inner.count_failure(era, now, failure);
        inner.weigh(word, now, Some(failure.kind()));
        Recorded { at: Some(now), in_sum: false }
    }

    #[inline]
    fn count_success(&self, word: Word, took: Took) -> Recorded {
        let inner = &*self.inner;
        let era = word.era();
        let has_slow_rule = inner.config.rules.slow_call_rate.is_some();
        let needs_now = has_slow_rule || inner.config.trip_on_any_outcome || inner.success == Success::Dates;
        let dates = inner.evidence.needs_now();
        let now = if needs_now || dates { inner.now() } else { Tick::ZERO };
        let slow = has_slow_rule && inner.is_slow(took, now);
        let weighs = slow || inner.config.trip_on_any_outcome;
        let counted = if weighs || !inner.evidence.lends_successes() {
            Counted::No
        } else if dates || inner.cells.report_sums() {
            inner.cells.success_at(seat(), era, now)
        } else {
            inner.cells.success(seat())
        };
        match counted {
            Counted::Yes => {}
            Counted::Due => inner.report_own_sums(),
            Counted::No => {
                inner.evidence.record(Stamp { era, now }, window::Mark { units: 0, slow });
                if inner.evidence.lends_successes() && !weighs {
                    self.note_contention(|| inner.now());
                }
            }
        }
        inner.run.success(era);
        if weighs {
            inner.weigh(word, now, None);
        }
        let in_sum = counted != Counted::No && inner.cells.report_sums();
        Recorded { at: (needs_now || dates).then_some(now), in_sum }
    }
}

impl Inner {
    /// Returns whether the slow-call rule is on and the call was slow, where `now` is the coarse time of its end.
    #[inline]
    fn is_slow(&self, took: Took, now: Tick) -> bool {
        // The healthy call took so little that the coarse clock can tell. Reading the precise clock costs several times as much.
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
        // Release: pairs with the Acquire in `totals`; who sees the failure counted sees the window hold it.
        self.counts.failures.fetch_add(1, Release);
        // Before the run: who trips because of this failure must see its Retry-After.
        self.leave_alone(era, now, failure);
        self.run.failure(era, failure.weight().units());
    }

    /// Remembers until when the service asked to be left alone: the latest word counts.
    fn leave_alone(&self, era: u64, now: Tick, failure: Failure) {
        if let Some(after) = failure.retry_after() {
            // From the beginning of the era, so that any clock's ticks fit. Should the era end meanwhile, so does this word.
            let until = now.saturating_add(after.min(LONGEST_RETRY_AFTER)).saturating_since(self.entered());
            let until = nanos(until).div_ceil(1_000_000).min(tagged::MAX);
            self.leave_alone_until.update(era, |_| until);
        }
    }

    #[cold]
    fn weigh(&self, word: Word, now: Tick, failure: Option<FailureKind>) {
        let era = word.era();
        let age = now.saturating_since(self.entered());
        let seen = Situation { run: self.run.weight(era), tally: self.tally(era, now), age };
        let Config { rules, window, .. } = &self.config;
        let met = decide::trips(rules, *window, &seen);
        // Only where the configured thresholds are not met: advice must not be blamed for what would have happened without.
        let on_advice = met.is_none() && self.is_advised(now);
        if let Some(reason) = if on_advice { decide::trips_on_advice(rules, *window, &seen) } else { met } {
            self.trip(word, now, reason, failure);
        }
    }

    fn is_advised(&self, now: Tick) -> bool {
        // Relaxed: a deadline that publishes nothing. Whoever sees it late weighs as if the advice had come late.
        now.as_nanos() < self.advised_until.load(Relaxed)
    }

    /// Adds to the verdict of a half-open circuit, and makes the change once it is certain.
    fn judge(&self, word: Word, probe: Probe, ended: Ended) -> Tick {
        let now = self.now();
        let era = word.era();
        let probing = &self.config.probes;
        let kind = match ended {
            Ended::Failure(failure) => {
                self.leave_alone(era, now, failure);
                Some(failure.kind())
            }
            Ended::Success | Ended::Ignored | Ended::Cancelled => None,
        };
        let half_open_for = now.saturating_since(self.entered());
        // Of the oldest: while another probe is overdue, the success of this one must not close the circuit.
        let age = Duration::from_nanos(self.probes.occupancy(era, now).oldest);
        let deadline = probing.deadline;
        let counts = matches!(ended, Ended::Success | Ended::Failure(_));
        if age >= deadline {
            self.reopen(word, now, Reason::ProbeOverdue { age, deadline }, kind);
        } else if kind.is_some() {
            let verdict = self.probes.failure(era).unwrap_or_default();
            if verdict.failures > probing.failures_tolerated {
                let (failures, successes) = (verdict.failures, verdict.successes);
                let tolerated = probing.failures_tolerated;
                self.reopen(word, now, Reason::ProbeFailed { failures, tolerated, successes }, kind);
            }
        } else if counts {
            let successes = self.probes.success(era).unwrap_or_default().successes;
            if successes >= probing.successes {
                self.close(word, now, Reason::ProbesPassed { successes, half_open_for });
            }
        } else if self.no_verdict_in_sight(era, half_open_for) {
            self.reopen(word, now, Reason::NoVerdict { half_open_for }, None);
        }
        // After the verdict, so that whoever takes the slot next is not one too many. If the era is over, there is none.
        self.probes.free(era, probe);
        self.wakers.wake();
        self.count_aside(ended);
        now
    }

    /// Whether probes that end without a verdict, cancelled or ignored, have kept the circuit half-open for too long.
    fn no_verdict_in_sight(&self, era: u64, half_open_for: Duration) -> bool {
        let probing = &self.config.probes;
        let verdict = self.probes.verdict(era);
        // With successes and no failure the next admission closes it, once it has been quiet for long enough.
        let waited = match (verdict.successes, verdict.failures) {
            (0, _) => probing.deadline,
            (_, 0) => return false,
            _ => probing.deadline.max(probing.quiet_after),
        };
        half_open_for >= waited
    }

    /// Counts an outcome for the totals only.
    fn count_aside(&self, ended: Ended) {
        let count = match ended {
            Ended::Success => &self.counts.other_successes,
            Ended::Failure(_) => &self.counts.other_failures,
            Ended::Ignored => &self.counts.ignored,
            Ended::Cancelled => &self.counts.cancelled,
        };
        // Relaxed: a count, publishes nothing.
        count.fetch_add(1, Relaxed);
    }

    /// Gives a failure by a deadline of the caller its weight, by the time that the call waited.
    ///
    /// A probe has no weight, so a caller who does not wait must not decide the verdict.
    #[cold]
    pub(super) fn weighed_by_wait(&self, failure: Failure, waited: Option<Duration>, right: Right) -> Ended {
        let whole = failure.weight();
        match failure.after_waiting(waited, self.config.cancelled_counts_after) {
            Some(less) if matches!(right, Right::Probe(_)) && less.weight() < whole => Ended::Ignored,
            Some(failure) => Ended::Failure(failure),
            None => Ended::Ignored,
        }
    }

    /// Says what it means that a call was dropped that long after it began, if that is known.
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
