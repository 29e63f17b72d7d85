//! Recording: how an outcome becomes evidence, and evidence a change.

use core::time::Duration;

use super::decide::{self, Seen};
use super::inner::Inner;
use super::permit::Right;
use super::probes::Probe;
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::config::{Config, LONGEST_RETRY_AFTER};
use crate::event::{Ended, Event};
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::state::Reason;
use crate::sync::{Relaxed, Release};
use crate::window::{Mark, Stamp, tagged};

/// An admitted call that has ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) era: u64,
    pub(super) right: Right,
    pub(super) shard: usize,
    pub(super) ended: Ended,
    /// How long the call took, if that was measured.
    pub(super) elapsed: Option<Duration>,
}

impl Inner {
    /// Takes the success of a counted call home. The same as [`record`](Self::record), with what little that needs.
    pub(super) fn record_success(&self, era: u64, shard: usize, elapsed: Option<Duration>) {
        let word = self.load();
        if word.era() != era {
            return self.record(&End { era, right: Right::Counted, shard, ended: Ended::Success, elapsed });
        }
        let at = self.count_success(word, shard, elapsed);
        if !self.call_observers.is_empty() {
            self.tell_call(&Event::Finished { ended: Ended::Success, at, elapsed });
        }
    }

    /// Takes an outcome home: to the evidence of its own era, or nowhere.
    pub(super) fn record(&self, end: &End) {
        let word = self.load();
        let at = match end.right {
            Right::Uncounted => {
                self.count_aside(end.ended);
                None
            }
            _ if word.era() != end.era => {
                // Relaxed: a count, publishes nothing.
                self.counts.stale.fetch_add(1, Relaxed);
                self.tell_call(&Event::Stale);
                self.count_aside(end.ended);
                None
            }
            Right::Counted => self.count(word, end),
            Right::Probe(probe) => self.judge(word, probe, end.ended),
        };
        if !self.call_observers.is_empty() {
            // A failure is always dated, for the metrics of the last minute.
            let dated = || matches!(end.ended, Ended::Failure(_)).then(|| self.now());
            self.tell_call(&Event::Finished { ended: end.ended, at: at.or_else(dated), elapsed: end.elapsed });
        }
    }

    /// Adds to the window and the run of a closed circuit, and trips it if a rule is met.
    fn count(&self, word: Word, end: &End) -> Option<Tick> {
        let failure = match end.ended {
            Ended::Success => return self.count_success(word, end.shard, end.elapsed),
            Ended::Failure(failure) => failure,
            Ended::Ignored | Ended::Cancelled => {
                self.count_aside(end.ended);
                return None;
            }
        };
        let (era, now) = (word.era(), self.now());
        let mark = Mark { units: failure.weight().units(), slow: self.is_slow(end.elapsed) };
        self.evidence.record(Stamp { era, now, shard: end.shard }, mark);
        self.count_failure(era, now, failure);
        self.weigh(word, now, Some(failure.kind()));
        Some(now)
    }

    fn count_success(&self, word: Word, shard: usize, elapsed: Option<Duration>) -> Option<Tick> {
        let era = word.era();
        let slow = self.is_slow(elapsed);
        let weighs = slow || self.config.trip_on_any_outcome;
        let needs_now = weighs || self.evidence.needs_now();
        let now = if needs_now { self.now() } else { Tick::ZERO };
        self.evidence.record(Stamp { era, now, shard }, Mark { units: 0, slow });
        self.run.success(era);
        if weighs {
            self.weigh(word, now, None);
        }
        needs_now.then_some(now)
    }

    fn is_slow(&self, elapsed: Option<Duration>) -> bool {
        let rule = self.config.rules.slow_call_rate;
        rule.is_some_and(|(_, slower_than)| elapsed.is_some_and(|elapsed| elapsed >= slower_than))
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
        let seen = Seen { run: self.run.weight(era), tally: self.evidence.tally(era, now), age };
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
    fn judge(&self, word: Word, probe: Probe, ended: Ended) -> Option<Tick> {
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
        let age = self.probes.oldest(era, now).unwrap_or_default();
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
        self.probes.free(probe);
        self.wakers.wake();
        self.count_aside(ended);
        Some(now)
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
