//! The correction of the end of an opening or a hold, by the clock of the store, after the machine was suspended.
//!
//! The monotonic clock of a machine stops while the machine is suspended, so that a deadline by this clock comes too
//! late. The clock of the store does not stop, and the coordinator uses that clock to move such a deadline to an
//! earlier time. A deadline is never moved to a later time. No new era begins, because only the remaining time changes.

use std::time::Duration;

use super::Circuit;
use super::word::Word;
use crate::state::State;
use crate::sync::Relaxed;

impl Circuit {
    /// Returns the present era, and the time until the opening ends. `None` if the circuit is not open, or if the
    /// opening has no end.
    pub(crate) fn opening_ends_in(&self) -> (u64, Option<Duration>) {
        let inner = self.inner();
        // The lock is held so that no transition comes between the two reads.
        let _cold = inner.cold.lock();
        let word = inner.load();
        let until = inner.open_until().known().filter(|_| word.state() == State::Open);
        (word.era(), until.map(|until| until.saturating_since(inner.now())))
    }

    /// Moves the end of the opening of `era` to `opening` from now, and the end of the hold of `era` to `hold` from
    /// now. `None` leaves an end as it is. Does nothing if a later era has begun. An end is moved only if it is more
    /// than [`APART`] too late, or if the given time is zero and the end has not come.
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
                // Relaxed, because the deadline publishes no other data, and only the holder of the lock writes it. A
                // thread that still reads the old deadline decides as if this function had been called later.
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

/// The largest difference of two ends that count as the same, because the answer of a store takes some time to arrive.
const APART: Duration = Duration::from_secs(1);
