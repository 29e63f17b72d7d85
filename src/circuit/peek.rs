//! Answers about the next call, without a call.
//!
//! All answers come from the gate, so that a call then gets the same answer. A question makes no change, with one
//! exception. A half-open circuit whose patience is over rejects the next call, and opens again with that call. A caller
//! who only calls if the circuit would admit the call would wait for ever, so that [`Inner::peek`] and
//! [`would_admit`](super::Circuit::would_admit) open the circuit.

use super::Peek;
use super::gate::{Due, Gate};
use super::inner::{Inner, taken};
use super::status::NextCall;
use super::word::Word;
use crate::clock::Tick;
use crate::state::{Mode, Standing, State};

impl Inner {
    /// Returns the answer that a call would get, without making a change.
    pub(super) fn next_call(&self, word: Word, now: Tick) -> NextCall {
        match self.scene(word, now).settled() {
            Gate::Counted | Gate::Uncounted | Gate::Nested | Gate::InShadow => NextCall::Admitted,
            Gate::Probe => NextCall::Probe,
            Gate::Taken { .. } | Gate::Closed(_) | Gate::Change(_) => NextCall::Rejected,
        }
    }

    /// Returns the standing that a caller meets: an open circuit whose wait is over probes.
    pub(super) fn effective_standing(&self, word: Word) -> Standing {
        let standing = word.standing();
        if standing.is_open() && self.next_call(word, self.now()) == NextCall::Probe {
            return Standing::new(State::HalfOpen, word.beneath());
        }
        standing
    }

    /// Opens a half-open circuit again if its patience is over.
    pub(super) fn give_up_if_due(&self, now: Tick) {
        let word = self.load();
        if word.state() == State::HalfOpen
            && let Gate::Change(due @ Due::GiveUp(_)) = self.scene(word, now).gate()
        {
            self.carry_out(word, now, due);
        }
    }

    /// Returns the present time if a call would be rejected now, or zero if it may be admitted
    /// or the circuit awaits a restore.
    #[inline(never)]
    pub(super) fn rejects_at(&self) -> Tick {
        let word = self.load();
        if word.awaits_restore() || word.mode() == Mode::Shadow {
            return Tick::ZERO;
        }
        let now = self.clock.now();
        // The usual case comes first.
        let rejects = if word.is_plainly_open() {
            now < self.open_until()
        } else {
            // A change that is due waits for a call, also if the call will be rejected.
            matches!(self.scene(word, now).gate(), Gate::Taken { .. } | Gate::Closed(_))
        };
        if rejects { taken(now) } else { Tick::ZERO }
    }

    #[inline]
    pub(super) fn peek(&self) -> Peek {
        let word = self.load();
        if word.is_flowing() { Peek::MayPass } else { self.peek_before_gate(word) }
    }

    #[inline(never)]
    fn peek_before_gate(&self, word: Word) -> Peek {
        if word.awaits_restore() { Peek::AwaitsRestore } else { self.peek_at_gate() }
    }

    /// Returns the answer of the gate to a call that does not wait for a restore.
    pub(super) fn peek_at_gate(&self) -> Peek {
        let now = self.now();
        self.give_up_if_due(now);
        self.peek_at(self.load(), now)
    }

    /// Returns the same without making a change.
    pub(super) fn peek_at(&self, word: Word, now: Tick) -> Peek {
        let scene = self.scene(word, now);
        match scene.settled() {
            Gate::Counted | Gate::Uncounted | Gate::Nested | Gate::InShadow | Gate::Probe | Gate::Change(_) => {
                Peek::MayPass
            }
            Gate::Taken { oldest } => Peek::ProbesTaken(scene.until_overdue(oldest)),
            Gate::Closed(until) => {
                Peek::Rejecting(self.rejects_until(word, until).map(|until| until.saturating_since(now)))
            }
        }
    }
}
