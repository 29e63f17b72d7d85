//! Half-open: probes, their verdict, and the deadlines that end it without one.

use std::time::Duration;

use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Reason, State};

use super::{Ended, Model, Permit, Right};
use crate::rig::millis;

impl Model {
    /// Takes the end of a probe into the verdict.
    pub(super) fn judge(&mut self, ended: Ended) {
        self.listen(ended);
        // Before all: what counts as failed cannot be closed over by the success of another.
        if let Some(age) = self.overdue() {
            return self.open_overdue(age, ended.failure());
        }
        let (era, mode, half_open_for) = (self.era().number, self.era().mode, self.age());
        match ended {
            Ended::Success => {
                self.verdicts.push((era, true));
                let (successes, _) = self.verdict();
                if successes >= self.settings.probes {
                    self.enter(State::Closed, mode, Reason::ProbesPassed { successes, half_open_for });
                }
            }
            Ended::Failure { kind, .. } => {
                self.verdicts.push((era, false));
                let ((successes, failures), tolerated) = (self.verdict(), self.settings.probe_failures_tolerated);
                if failures > tolerated {
                    self.open(Reason::ProbeFailed { failures, tolerated, successes }, Some(kind));
                }
            }
            Ended::Ignored | Ended::Cancelled if half_open_for >= self.waits_for_a_verdict() => {
                self.open(Reason::NoVerdict { half_open_for }, None);
            }
            Ended::Ignored | Ended::Cancelled => {}
        }
    }

    pub(super) fn open_overdue(&mut self, age: Duration, failure: Option<FailureKind>) {
        self.open(Reason::ProbeOverdue { age, deadline: millis(self.settings.probe_deadline) }, failure);
    }

    /// Returns the probes of this era that have not ended.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Permit> {
        self.permits.iter().filter(|permit| permit.right == Right::Probe && permit.era == self.era().number)
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.in_flight().count() < usize::try_from(self.settings.probes_in_flight).expect("small")
    }

    /// Returns the successes and failures of the probes of this era.
    pub(super) fn verdict(&self) -> (u32, u32) {
        let of_the_era =
            |success| self.verdicts.iter().filter(move |verdict| **verdict == (self.era().number, success));
        let count = |success| u32::try_from(of_the_era(success).count()).expect("small");
        (count(true), count(false))
    }

    /// Returns the age of the oldest probe that has not ended, if it should have.
    pub(super) fn overdue(&self) -> Option<Duration> {
        let oldest = self.in_flight().map(|probe| millis(self.now - probe.started)).max()?;
        Some(oldest).filter(|age| *age >= millis(self.settings.probe_deadline))
    }

    pub(super) fn is_quiet(&self) -> bool {
        let (successes, failures) = self.verdict();
        successes > 0 && failures == 0 && self.age() >= millis(self.settings.quiet_after)
    }

    fn waits_for_a_verdict(&self) -> Duration {
        let (deadline, quiet_after) = (millis(self.settings.probe_deadline), millis(self.settings.quiet_after));
        match self.verdict() {
            (0, _) => deadline,
            // The next admission closes it, once it has been quiet for long enough.
            (_, 0) => Duration::MAX,
            // The design says only that it must end.
            _ => deadline.max(quiet_after),
        }
    }
}
