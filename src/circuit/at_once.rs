//! Late failures that trip at once and have a `Retry-After`. Such a failure opens the circuit even if the era of the
//! call has ended, or if the call is not counted.
//!
//! Other outcomes from an ended era count only in the totals. A `Retry-After` is different, because the service
//! requires the pause from now on, in whichever era the call began. Without this exception, a circuit that is open for
//! five seconds would send the next call too early after a `Retry-After` of a minute.

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
    /// Opens the circuit, or keeps the circuit open, for at least the `Retry-After` of the failure. A `Retry-After`
    /// beyond [`LONGEST_RETRY_AFTER`] is cut to this limit. Does nothing if the failure has no `Retry-After`, if the
    /// circuit is already open for this time, or if a hold or the kill switch decides about calls. A failure from the
    /// present era has usually opened the circuit before this function runs. `weighed_in` is the era in whose window
    /// the failure was counted. `None` if the failure was not counted in a window.
    #[cold]
    pub(super) fn leave_alone_from_now(&self, failure: Failure, text: Text<'_>, weighed_in: Option<u64>) {
        let Some(after) = failure.retry_after().filter(|after| !after.is_zero()) else { return };
        let now = self.now();
        let until = now.saturating_add(after.min(LONGEST_RETRY_AFTER));
        // The first pass of the loop opens the circuit, and the second pass returns. If the group suppresses the
        // opening, the first pass returns. If another thread begins a new era in between, the next pass decides for the
        // new era.
        loop {
            let word = self.load();
            if word.bypassed() || word.mode().is_hold() {
                return;
            }
            let failed = || Failed::new(failure, text);
            match word.state() {
                State::Open if self.is_open_until(until) => return,
                State::Open => self.open_longer(word, now, until, failed()),
                // The failure has already tried to open the circuit in this era, but the group had no free open slot.
                State::Closed if weighed_in == Some(word.era()) => return,
                State::Closed => {
                    self.leave_alone(word.era(), now, failure);
                    self.trip(word, now, Reason::AtOnce, || Some(failed()));
                    if self.load().era() == word.era() {
                        // The group has no free open slot, so the circuit stays closed. If the circuit opens later, the
                        // open duration includes the rest of the `Retry-After`.
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

    /// Returns true if the circuit stays open until `until`. The end of the open state may be earlier than `until` by
    /// at most [`SAME`]. With manual recovery the circuit stays open until a reset, so the result is true.
    fn is_open_until(&self, until: Tick) -> bool {
        self.config.recovery == Recovery::Manual || self.open_until().saturating_add(SAME) >= until
    }

    /// Keeps an open circuit open until `until`. The change begins a new era, so that observers and stores see the new
    /// deadline.
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

/// The largest difference between two deadlines that count as equal. `Retry-After` has whole seconds, so a hundred late
/// responses have slightly different deadlines. Without the tolerance, each of these responses would make a transition.
const SAME: Duration = Duration::from_secs(1);
