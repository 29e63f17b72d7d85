//! The judgement of a probe that has ended or was cancelled, and the verdict of all probes. The verdict closes the
//! half-open circuit or opens the circuit again. Until the verdict is certain, the circuit waits for more probes.
//!
//! This module decides whether a probe counts as a success, as a failure or as neither. A probe that is cancelled
//! early, or whose result is ignored, ends without a verdict. If a closed circuit would have counted a failure, such a
//! probe leaves a *doubt* with the weight of that failure. A verdict counts whole probes and ignores weights. The
//! counts are in `probes`, and the transition itself is in `change`.

use super::failed::{Failed, Text};
use super::inner::Inner;
use super::outcomes::End;
use super::probes::{Judged, Probe, Verdict};
use super::word::Word;
use crate::clock::Tick;
use crate::event::Ended;
use crate::outcome::{Failure, FailureKind, Weight};
use crate::state::Reason;

impl Inner {
    /// Adds an outcome to the verdict of a half-open circuit, and changes the circuit when the verdict is certain.
    /// Returns the time of the outcome.
    pub(super) fn judge(&self, word: Word, probe: Probe, end: &End<'_>) -> Tick {
        let now = self.now();
        let era = word.era();
        let failure = match end.ended {
            Ended::Failure(failure) => Some(failure),
            // A success that is too slow is a failed probe, because the slow-call rule would open the circuit again.
            Ended::Success if self.is_slow(end.took, now) => Some(Failure::hard().with_kind(FailureKind::Slow)),
            Ended::Success | Ended::Ignored | Ended::Cancelled => None,
        };
        let judged = match (failure, end.ended) {
            (Some(failure), _) => {
                self.leave_alone(era, now, failure);
                Judged::Failure
            }
            (None, Ended::Success) => Judged::Success,
            (None, _) => Judged::Without,
        };
        // A doubt is the weight of a failure that only a closed circuit would count. The doubt is added to the run
        // before the probe enters the verdict, so that the last of several probes sees the doubts of all probes.
        if end.doubt > 0 {
            self.run.failure(era, end.doubt);
        }
        if let Some(verdict) = self.probes.end(era, probe, judged) {
            self.conclude(word, now, verdict, failure, end.text);
        }
        // The waiting tasks are woken, because the end of this probe has changed the slots and the verdict. The verdict
        // limits the number of probes under way, and perhaps permits one more probe now. For either of two reasons, a
        // waiting task can perhaps become a probe now.
        // A slot is free, or another probe may be under way.
        self.wakers.wake();
        self.count_aside(end.ended);
        now
    }

    /// Reopens or closes the circuit if the verdict is certain, or if the probes have ended without a verdict for too
    /// long.
    fn conclude(&self, word: Word, now: Tick, verdict: Verdict, failure: Option<Failure>, text: Text<'_>) {
        let probing = &self.config.probes;
        let half_open_for = now.saturating_since(self.entered());
        let Verdict { successes, failures, .. } = verdict;
        if failure.is_some_and(|failure| failure.trips()) || failures > probing.failures_tolerated {
            let reason = Reason::ProbeFailed { failures, tolerated: probing.failures_tolerated, successes };
            self.reopen(word, now, reason, failure.map(|failure| Failed::new(failure, text)));
        } else if successes >= probing.successes {
            self.close(word, now, Reason::ProbesPassed { successes, half_open_for });
        } else if verdict.has_gaps() {
            // If some probes have succeeded, the circuit waits at least for `quiet_after`. If none had failed, the
            // circuit would close after that time. If other probes have failed, but no more than are tolerated, the
            // circuit must not reopen before that time.
            let waited = if successes > 0 { probing.deadline.max(probing.quiet_after) } else { probing.deadline };
            // If a caller drops the permit of a failed call, the probe ends at once without a verdict, and its slot is
            // free for the next call. Almost every call would then reach the service until the probe deadline.
            // Therefore the wait ends early once the doubts (weights of possible failures) of such probes are large
            // enough.
            let has_doubts = successes == 0 && self.run.get(word.era()).weight >= MANY_DOUBTS;
            let is_time = half_open_for >= waited || has_doubts;
            if is_time && failures > 0 {
                self.reopen(word, now, Reason::NoVerdict { half_open_for }, None);
            } else if is_time && verdict.says_nothing() && !self.is_overdue(word.era(), now) {
                // The callers give up early or the classifier ignores the results, so more probes would not lead to a
                // verdict. The circuit closes, because a closed circuit judges by more calls.
                self.close(word, now, Reason::NoVerdict { half_open_for });
            }
        }
    }

    /// Returns true if a probe has been under way for the probe deadline or longer.
    fn is_overdue(&self, era: u64, now: Tick) -> bool {
        self.probes.occupancy(era, now, self.config.probes.deadline, false).overdue > 0
    }
}

/// The half-open era ends before the probe deadline if no probe has succeeded, and the doubts (weights of possible
/// failures) reach this sum. Three dropped permits reach the sum.
const MANY_DOUBTS: u64 = 3 * Weight::TIMEOUT.units() as u64;
