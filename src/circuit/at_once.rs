//! Failures that ask for no calls for a time, whichever era they come from.
//!
//! Other outcomes of an earlier era are dropped, because they say nothing about the new state. A `Retry-After` is different:
//! its time counts from now. A provider that bans clients bans also those whose call began before the circuit opened, and a
//! circuit that opened for five seconds would send the next call into the ban.

use std::time::Duration;

use super::change::Plan;
use super::failed::{Failed, Text};
use super::inner::Inner;
use super::word::Word;
use crate::clock::Tick;
use crate::config::{LONGEST_RETRY_AFTER, Recovery};
use crate::outcome::Failure;
use crate::state::{Reason, Standing, State};

impl Inner {
    /// Keeps the circuit open at least until the time for which the failure asks. Does nothing if the circuit is open until
    /// then, which it is after most failures of the present era, or if an operator decides about calls.
    #[cold]
    pub(super) fn leave_alone_from_now(&self, failure: Failure, text: Text<'_>) {
        let Some(after) = failure.retry_after().filter(|after| !after.is_zero()) else { return };
        let now = self.now();
        let until = now.saturating_add(after.min(LONGEST_RETRY_AFTER));
        // Each turn changes the circuit, or another thread has changed it.
        loop {
            let word = self.load();
            if word.bypassed() || word.mode().is_hold() {
                return;
            }
            let failed = || Failed::new(failure, text);
            match word.state() {
                State::Open if self.is_open_until(until) => return,
                State::Open => self.open_longer(word, now, until, failed()),
                State::Closed => {
                    self.leave_alone(word.era(), now, failure);
                    self.trip(word, now, Reason::AtOnce, Some(failed()));
                }
                State::HalfOpen => {
                    self.leave_alone(word.era(), now, failure);
                    self.reopen(word, now, Reason::AtOnce, Some(failed()));
                }
            }
        }
    }

    /// Returns true if the opening ends about then or later. A manual recovery has no end.
    fn is_open_until(&self, until: Tick) -> bool {
        self.config.recovery == Recovery::Manual || self.open_until().saturating_add(SAME) >= until
    }

    /// Moves the end of an opening. This is an era of its own, so that observers and stores learn the new end.
    fn open_longer(&self, expected: Word, now: Tick, until: Tick, failed: Failed) {
        self.change(expected, |cold| {
            cold.last_open = until.saturating_since(now);
            let mut plan = Plan::new(Standing::new(State::Open, expected.mode()), Reason::AtOnce, now);
            plan.open_until = Some(until);
            plan.failure = Some(failed);
            Some(plan)
        });
    }
}

/// Ends of an opening that are less than this apart are the same, because `Retry-After` counts in seconds. Otherwise each of a
/// hundred late answers would make a transition.
const SAME: Duration = Duration::from_secs(1);
