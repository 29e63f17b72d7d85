//! Queries about the next call, such as `would_admit`, `is_open` and the readiness of a service. A query makes no call.
//!
//! All answers come from the gate (`gate.rs`), which also decides on calls, so that the next call gets the same answer.
//! A query makes no change, with two exceptions. First, a half-open circuit opens again if its probes have led to no
//! verdict for too long. Second, an open or forced open circuit that is due to probe becomes half-open if each probe
//! needs a lease of the fleet. The coordinator can then request a lease. Otherwise only a rejected call would make
//! these changes. A caller that makes a call only if the circuit would admit the call never makes the rejected call,
//! and would wait for ever. Therefore [`Inner::peek`], [`Circuit::would_admit`], [`Circuit::is_open`] and
//! [`Circuit::status`] make these changes too.

use std::time::Duration;

use super::Circuit;
use super::gate::{Due, Gate};
use super::inner::{Inner, taken};
use super::status::NextCall;
use super::word::Word;
use crate::clock::Tick;
use crate::state::{Mode, Standing, State};

/// The answer that the next call would get from the circuit. `poll_ready` uses this answer to admit, reject or wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peek {
    /// The call would be admitted now, unless a ramp or a throttle rejects the call. Therefore the inner service can be
    /// made ready.
    MayPass,
    /// The call will be rejected until a transition comes or this time has passed. `None` if no time is known.
    Rejecting(Option<Duration>),
    /// The call will be rejected until a transition comes, a slot becomes free, or this time has passed. When the time
    /// has passed, the oldest probe is overdue, probes are no longer leased, or calls no longer wait for a health
    /// probe. The circuit wakes no task at such a time, so the waiting caller needs a timer.
    ProbesTaken(Duration),
    /// The answer is unknown until the circuit is restored from a store. A service waits in `poll_ready` until then.
    AwaitsRestore,
}

impl Circuit {
    /// Returns the automatic state. While a mode such as forced open overrules the state, returns the state beneath the
    /// mode.
    ///
    /// An open circuit stays open after its open duration, until a call comes. Therefore use
    /// [`would_admit`](Self::would_admit), and not the state, to decide about traffic.
    #[must_use]
    pub fn state(&self) -> State {
        self.standing().state
    }

    /// Returns state and mode together, as logs and metrics show them.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.inner().load().standing()
    }

    /// Returns true if every call is rejected now. The circuit is then open or forced open, and its wait is not over or
    /// its required health probe has not succeeded.
    ///
    /// False for an open circuit whose next call would be a probe, for a circuit in shadow, and under
    /// `CIRCUIT_BREAKER_DISABLED`.
    ///
    /// Like [`would_admit`](Self::would_admit), this method can make a half-open circuit open again, and can make an
    /// open circuit half-open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let inner = self.inner();
        match inner.peek_at_gate() {
            Peek::Rejecting(_) => true,
            // An open circuit gives this answer only if a required health probe has not succeeded yet. Until then, the
            // circuit rejects every call.
            Peek::ProbesTaken(_) => inner.load().state() == State::Open,
            Peek::MayPass | Peek::AwaitsRestore => false,
        }
    }

    /// Returns true if the circuit has left the closed state and has not closed since, or if an operator forces the
    /// circuit open. This is the value of the gauge `circuit_breaker_tripped`.
    ///
    /// True for an open circuit whose next call would be a probe. False for a disabled circuit, and under
    /// `CIRCUIT_BREAKER_DISABLED`.
    #[must_use]
    pub fn is_tripped(&self) -> bool {
        let word = self.inner().load();
        word.standing().is_tripped() && !word.bypassed()
    }

    /// Returns true if the next call would be admitted now. A call is admitted if the circuit is closed, if a probe is
    /// due, or if a half-open circuit has a free slot. A call is also admitted if an operator, shadow or
    /// `CIRCUIT_BREAKER_DISABLED` lets every call through.
    ///
    /// Choose an endpoint by this answer, and not by the state. An open endpoint that gets no calls gets no probe, and
    /// so never recovers. The answer is no permit. Another thread may take the last slot before the call, and a ramp or
    /// a throttle may still reject the call.
    ///
    /// This method can change the state. A half-open circuit opens if its probes have led to no verdict for too long.
    /// An open or forced open circuit whose wait is over becomes half-open if each probe needs a lease of its fleet.
    /// Without these changes, a caller that calls only after a positive answer might never call again.
    ///
    /// ```
    /// use tower_circuit_breaker::Circuit;
    ///
    /// fn choose<'a>(first: &'a Circuit, second: &'a Circuit) -> Option<&'a Circuit> {
    ///     [first, second].into_iter().find(|circuit| circuit.would_admit())
    /// }
    /// ```
    #[must_use]
    pub fn would_admit(&self) -> bool {
        let (inner, now) = (self.inner(), self.now());
        inner.settle_for_caller(now);
        inner.next_call(inner.load(), now) != NextCall::Rejected
    }

    /// Returns the answer of [`would_admit`](Self::would_admit) as if probes needed no leases, and makes no transition.
    /// A layer of keys uses the answer to decide if an unused circuit is evicted, forgotten, or absent from its group.
    /// This decision must neither request a lease nor wait for a lease. The decision must also not make the circuit
    /// change its state, because the circuit may be kept, and its observers would be notified.
    #[cfg(feature = "keyed")]
    pub(crate) fn would_admit_without_leases(&self) -> bool {
        let (inner, now) = (self.inner(), self.now());
        let mut scene = inner.scene(inner.load(), now);
        scene.round.leased_until = Tick::ZERO;
        !matches!(scene.settled(|_| Tick::ZERO), Gate::Taken { .. } | Gate::HeldBack(_) | Gate::Closed(_))
    }

    /// Returns the answer of the gate to a call that does not wait until the circuit is restored from a store.
    pub(crate) fn peek_at_gate(&self) -> Peek {
        self.inner().peek_at_gate()
    }

    /// Returns the time until the hold ends. `None` if no hold is in force, or if only an operator ends the hold.
    pub(crate) fn held_for(&self) -> Option<Duration> {
        let inner = self.inner();
        inner.held_for(inner.load(), inner.now())
    }

    pub(crate) fn era_and_standing(&self) -> (u64, Standing) {
        self.inner().era_and_standing()
    }

    /// Returns the answer that the next call would get, without counting a rejection.
    #[inline]
    pub(crate) fn peek(&self) -> Peek {
        self.inner().peek()
    }

    /// Returns the present time if a call would be rejected now, so that `poll_ready` can pass the time to `call`.
    /// Returns zero if the call might be admitted or the circuit awaits a restore.
    pub(crate) fn rejects_at(&self) -> Tick {
        self.inner().rejects_at()
    }
}

impl Inner {
    /// Returns the answer that a call would get, without making a change.
    pub(super) fn next_call(&self, word: Word, now: Tick) -> NextCall {
        match self.settled(word, now) {
            Gate::Counted | Gate::Limited | Gate::Uncounted | Gate::Nested | Gate::InShadow => NextCall::Admitted,
            Gate::Probe => NextCall::Probe,
            Gate::Taken { .. } | Gate::HeldBack(_) | Gate::Closed(_) => NextCall::Rejected,
        }
    }

    /// Returns state and mode from the view of a caller. An open circuit whose next call would be a probe appears as
    /// half-open.
    pub(super) fn effective_standing(&self, word: Word) -> Standing {
        let standing = word.standing();
        if standing.is_open() && self.next_call(word, self.now()) == NextCall::Probe {
            return Standing::new(State::HalfOpen, word.beneath());
        }
        standing
    }

    /// Returns the time until the hold ends. `None` if no hold is in force, or if only an operator ends the hold.
    pub(super) fn held_for(&self, word: Word, now: Tick) -> Option<Duration> {
        let until = self.hold_until().known().filter(|_| word.mode().is_hold());
        until.map(|until| until.saturating_since(now))
    }

    /// Returns the answer that the gate would give if all changes that are due had been made. This function makes no
    /// change.
    pub(super) fn settled(&self, word: Word, now: Tick) -> Gate {
        self.scene(word, now).settled(|mode| self.leased_until(mode))
    }

    /// Makes the due changes that a query may make. Without these changes, a caller that queries the circuit before
    /// each call would be rejected for ever.
    pub(super) fn settle_for_caller(&self, now: Tick) {
        self.give_up_if_due(now);
        self.await_grant_if_due(now);
    }

    /// Opens a half-open circuit again if a probe is overdue and the era has lasted too long without a verdict.
    pub(super) fn give_up_if_due(&self, now: Tick) {
        let word = self.load();
        if word.state() == State::HalfOpen
            && let Err(due @ Due::GiveUp { .. }) = self.scene(word, now).gate()
        {
            self.carry_out(word, now, due);
        }
    }

    /// Returns the present time if a call would be rejected now. Returns zero if the call might be admitted or the
    /// circuit awaits a restore.
    #[inline(never)]
    pub(super) fn rejects_at(&self) -> Tick {
        let word = self.load();
        if word.awaits_restore() || word.mode() == Mode::Shadow {
            return Tick::ZERO;
        }
        let now = self.clock.now();
        // If a change is due, the result is zero, so that the next call reaches the circuit and carries out the change.
        // The circuit may still reject that call.
        let rejects = self.plain_wait(word, now).is_some()
            || matches!(self.scene(word, now).gate(), Ok(Gate::Taken { .. } | Gate::HeldBack(_) | Gate::Closed(_)));
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

    /// Returns the answer of the gate to a call that does not wait until the circuit is restored from a store.
    pub(super) fn peek_at_gate(&self) -> Peek {
        let now = self.now();
        self.settle_for_caller(now);
        self.peek_at(self.load(), now)
    }

    /// Returns the answer of [`peek_at_gate`](Self::peek_at_gate) without making a change.
    pub(super) fn peek_at(&self, word: Word, now: Tick) -> Peek {
        let scene = self.scene(word, now);
        match scene.settled(|mode| self.leased_until(mode)) {
            Gate::Counted | Gate::Limited | Gate::Uncounted | Gate::Nested | Gate::InShadow | Gate::Probe => {
                Peek::MayPass
            }
            Gate::Taken { oldest, leased_until } => Peek::ProbesTaken(scene.until_slot(oldest, leased_until)),
            Gate::HeldBack(until) => Peek::ProbesTaken(until.saturating_since(now)),
            Gate::Closed(until) => {
                Peek::Rejecting(self.rejects_until(word, until).map(|until| until.saturating_since(now)))
            }
        }
    }
}
