//! Corrects the end of the open duration or of a hold after the machine was suspended.
//!
//! The monotonic clock of a machine stops while the machine is suspended. Therefore a deadline on this clock comes too
//! late. The clock of the store does not stop, so the coordinator computes the right deadline from the clock of the
//! store. A deadline is only moved to an earlier time, never to a later time. No new era begins.

use std::time::Duration;

use super::Circuit;
use super::word::Word;
use crate::state::State;
use crate::sync::Relaxed;

impl Circuit {
    /// Returns the present era, and the rest of the open duration. The rest is `None` if the circuit is not open, or
    /// stays open until a reset.
    pub(crate) fn opening_ends_in(&self) -> (u64, Option<Duration>) {
        let inner = self.inner();
        // The lock prevents a transition between the read of the word and the read of the deadline.
        let _cold = inner.cold.lock();
        let word = inner.load();
        let until = inner.open_until().known().filter(|_| word.state() == State::Open);
        (word.era(), until.map(|until| until.saturating_since(inner.now())))
    }

    /// Moves two deadlines of `era` to an earlier time: the open duration ends after `opening`, and the hold ends after
    /// `hold`, both counted from now. `None` keeps the present deadline. Does nothing if a later era has begun. A
    /// deadline is moved only if the deadline is more than [`APART`] too late. If the given time is zero, every later
    /// deadline is moved.
    pub(crate) fn end_within(&self, era: u64, opening: Option<Duration>, hold: Option<Duration>) {
        let inner = self.inner();
        let now = inner.now();
        let mut moved = false;
        {
            let _cold = inner.cold.lock();
            // Relaxed, because the word changes only under the lock, which this thread holds.
            let word = Word::from_bits(inner.word.load(Relaxed));
            if word.era() != era {
                return;
            }
            let opening = opening.filter(|_| word.state() == State::Open);
            let hold = hold.filter(|_| word.mode().is_hold());
            for (end, within) in [(&inner.open_until, opening), (&inner.hold_until, hold)] {
                let Some(within) = within else { continue };
                let until = now.saturating_add(within);
                // Relaxed, because the deadline publishes no other data, and only the holder of the lock writes the
                // deadline. A thread that still reads the old deadline decides as if this function had been called
                // later.
                let apart = if within.is_zero() { Duration::ZERO } else { APART };
                if end.load(Relaxed) > until.saturating_add(apart).as_nanos() {
                    end.store(until.as_nanos(), Relaxed);
                    moved = true;
                }
            }
        }
        if moved {
            // The tasks that wait for the old deadline must check the circuit again.
            inner.wakers.wake();
        }
    }
}

/// The largest difference between two deadlines that count as equal. The difference allows for the time that the answer
/// of a store takes to arrive.
const APART: Duration = Duration::from_secs(1);
