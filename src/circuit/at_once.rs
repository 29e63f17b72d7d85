//! Late failures that trip at once and have a `Retry-After`. Such a failure opens the circuit although the era of its
//! call is over, or although its call is uncounted.
//!
//! Other outcomes of an ended era count only in the totals, because they say nothing about the new state. A
//! `Retry-After` is different, because its time counts from now. A provider that bans a client does not care if the
//! call began before the circuit opened. Without this exception, a circuit that opened for five seconds would send its
//! next call into the ban.

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
    /// Opens the circuit or keeps the circuit open, at least for the time that the failure names, or for
    /// [`LONGEST_RETRY_AFTER`] if the named time is longer. Does nothing if the failure names no time, if the circuit
    /// is already open for that time, or if a hold or the kill switch decides about calls. A failure of the present era
    /// has usually opened the circuit before this function runs. `weighed_in` is the era in which the failure entered
    /// the window. `None` if the failure entered no window.
    #[cold]
    pub(super) fn leave_alone_from_now(&self, failure: Failure, text: Text<'_>, weighed_in: Option<u64>) {
        let Some(after) = failure.retry_after().filter(|after| !after.is_zero()) else { return };
        let now = self.now();
        let until = now.saturating_add(after.min(LONGEST_RETRY_AFTER));
        // A turn opens the circuit, and the next turn then returns. If another thread has begun a new era first, the
        // next turn decides for that era.
        loop {
            let word = self.load();
            if word.bypassed() || word.mode().is_hold() {
                return;
            }
            let failed = || Failed::new(failure, text);
            match word.state() {
                State::Open if self.is_open_until(until) => return,
                State::Open => self.open_longer(word, now, until, failed()),
                // The failure has already met its rule in this era, and the group had no open slot.
                State::Closed if weighed_in == Some(word.era()) => return,
                State::Closed => {
                    self.leave_alone(word.era(), now, failure);
                    self.trip(word, now, Reason::AtOnce, || Some(failed()));
                    if self.load().era() == word.era() {
                        // The group has no open slot. The circuit stays closed, and keeps the time of the `Retry-After`
                        // for a later opening.
                        return;
                    }
                }
                State::HalfOpen => {
                    self.leave_alone(word.era(), now, failure);
                    self.reopen(word, now, Reason::AtOnce, Some(failed()));
                }
            }
        }
    }

    /// Returns true if the opening ends later than `until`, or earlier by at most [`SAME`]. An opening with manual
    /// recovery has no end.
    fn is_open_until(&self, until: Tick) -> bool {
        self.config.recovery == Recovery::Manual || self.open_until().saturating_add(SAME) >= until
    }

    /// Moves the end of an opening. The move begins a new era, so that observers and stores learn the new end.
    fn open_longer(&self, expected: Word, now: Tick, until: Tick, failed: Failed) {
        self.change(expected, |cold| {
            cold.last_open = until.saturating_since(now);
            cold.past_mut().leave_alone_until = until;
            let mut plan = Plan::new(Standing::new(State::Open, expected.mode()), Reason::AtOnce, now);
            plan.open_until = Some(until);
            plan.failure = Some(failed);
            Some(plan)
        });
    }
}

/// The largest difference between two ends of an opening that count as the same, because `Retry-After` counts in
/// seconds. Without the tolerance each of a hundred late answers would make a transition.
const SAME: Duration = Duration::from_secs(1);
