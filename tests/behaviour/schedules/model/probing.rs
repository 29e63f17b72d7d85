//! Half-open: probes, their verdict, and the deadlines that end it without one.

use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Mode, Reason, State};

use super::{Ended, Gap, Model, Permit, Right};
use crate::rig::millis;

impl Model {
    /// Takes the end of a probe into the verdict.
    pub(super) fn judge(&mut self, ended: Ended, doubt: u64, took: u64, had_lost_its_slot: bool) {
        self.listen(ended);
        self.doubts.push((self.era().number, doubt));
        let (era, mode, half_open_for) = (self.era().number, self.era().mode, self.age());
        let is_slow = self.settings.slow.is_some_and(|(_, slower_than)| took >= slower_than);
        let failure = match ended {
            Ended::Failure { kind, .. } => Some(kind),
            Ended::Success if is_slow => Some(FailureKind::Slow),
            Ended::Success | Ended::Ignored | Ended::Cancelled => None,
        };
        match ended {
            Ended::Success | Ended::Failure { .. } => self.verdicts.push((era, failure.is_none())),
            Ended::Ignored | Ended::Cancelled if had_lost_its_slot => {}
            Ended::Ignored | Ended::Cancelled => self.without.push((era, Gap::Ended)),
        }
        let ((successes, failures), tolerated) = (self.verdict(), self.settings.probe_failures_tolerated);
        if failures > tolerated {
            self.open(Reason::ProbeFailed { failures, tolerated, successes }, failure);
        } else if successes >= self.settings.probes {
            self.enter(State::Closed, mode, Reason::ProbesPassed { successes, half_open_for });
        } else if self.gaps() == 0 {
            // Nothing is missing.
        } else if self.doubts() >= 3 * 128 && successes == 0 {
            // Further probes would only reach a service that has perhaps failed.
            if failures > 0 {
                self.open(Reason::NoVerdict { half_open_for }, None);
            } else if self.gaps() >= 3 && !self.has_overdue() {
                self.enter(State::Closed, mode, Reason::NoVerdict { half_open_for });
            }
        } else if half_open_for < millis(self.settings.probe_deadline) {
            // Too early to give up.
        } else if (successes, failures) == (0, 0) {
            if self.gaps() >= 3 && !self.has_overdue() {
                self.enter(State::Closed, mode, Reason::NoVerdict { half_open_for });
            }
        } else if failures > 0 && (successes == 0 || half_open_for >= millis(self.settings.quiet_after)) {
            self.open(Reason::NoVerdict { half_open_for }, None);
        }
    }

    /// Opens the circuit if a status is read after there was no verdict for too long, or while calls hang.
    pub(in super::super) fn ask(&mut self) {
        let era = *self.era();
        let is_held = matches!(era.mode, Mode::ForcedOpen | Mode::Disabled);
        if era.state == State::HalfOpen && !is_held && self.has_overdue() {
            self.give_up();
        }
        if self.hanging_lately() > 0 {
            self.weigh(false, None);
        }
    }

    /// Opens the circuit if there was no verdict for too long, or else takes the slots of overdue probes back.
    pub(super) fn give_up_or_go_on(&mut self) {
        if self.give_up() {
            return;
        }
        let (era, now, deadline) = (self.era().number, self.now, self.settings.probe_deadline);
        for permit in &mut self.permits {
            if permit.right == Right::Probe && permit.era == era && now - permit.started >= deadline {
                permit.has_lost_its_slot = true;
            }
        }
        self.without.push((era, Gap::Overdue));
    }

    /// Opens the circuit if there was no verdict for too long. Returns true if the circuit has opened.
    fn give_up(&mut self) -> bool {
        let half_open_for = self.age();
        let (successes, failures) = (self.verdict().0, self.verdict().1);
        if successes == 0 && half_open_for >= millis(self.patience()) {
            self.open(Reason::NoSuccess { half_open_for }, None);
            return true;
        }
        let is_mixed = successes > 0 && failures > 0;
        if is_mixed && half_open_for >= millis(self.patience().max(self.settings.quiet_after)) {
            self.open(Reason::NoVerdict { half_open_for }, None);
            return true;
        }
        false
    }

    /// Returns how long the circuit is half-open without a success before an overdue probe opens it, in milliseconds.
    pub(super) fn patience(&self) -> u64 {
        self.settings.probe_deadline * (2 << self.rounds_in_vain.min(5))
    }

    /// Returns the probes of this era that have their slots.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Permit> {
        let era = self.era().number;
        self.permits
            .iter()
            .filter(move |permit| permit.right == Right::Probe && permit.era == era && !permit.has_lost_its_slot)
    }

    pub(super) fn can_use_another(&self) -> bool {
        let (successes, failures) = self.verdict();
        let under_way = u32::try_from(self.in_flight().count()).expect("small");
        let extra = self.gaps().min(1);
        let useful = self.settings.probes + self.settings.probe_failures_tolerated + extra;
        under_way < self.settings.probes_in_flight + extra && under_way + successes + failures < useful
    }

    /// Returns the number of probes that ended without a verdict since one was overdue.
    pub(super) fn gaps(&self) -> u32 {
        let era = self.era().number;
        let gaps = self.without.iter().rev().take_while(|gap| **gap == (era, Gap::Ended));
        u32::try_from(gaps.count()).expect("small")
    }

    /// Returns the weight of the probes of this era that have perhaps failed.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.iter().filter(|(era, _)| *era == self.era().number).map(|(_, doubt)| doubt).sum()
    }

    /// Returns the successes and failures of the probes of this era.
    pub(super) fn verdict(&self) -> (u32, u32) {
        let of_the_era =
            |success| self.verdicts.iter().filter(move |verdict| **verdict == (self.era().number, success));
        let count = |success| u32::try_from(of_the_era(success).count()).expect("small");
        (count(true), count(false))
    }

    /// Returns whether a probe takes too long.
    pub(super) fn has_overdue(&self) -> bool {
        self.in_flight().any(|probe| self.now - probe.started >= self.settings.probe_deadline)
    }

    pub(super) fn is_quiet(&self) -> bool {
        let (successes, failures) = self.verdict();
        successes > 0 && failures == 0 && self.age() >= millis(self.settings.quiet_after)
    }
}
