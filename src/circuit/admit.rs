//! Admission: the decision between a permit and a rejection.
//!
//! A healthy call passes with one load of the word. For every other call a [`Gate`] is evaluated, which
//! changes nothing. A change that time has made due is made by the first call that finds it due, so
//! that correctness needs no timer.
//!
//! The meaning of outcomes is left to `outcomes`, and the transitions themselves to `change`.

use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
use super::Circuit;
use super::Peek;
use super::branch::Branch;
use super::inner::{Inner, Start, taken};
use super::mark::{Mark, Right};
use super::nested;
use super::permit::Admission;
use super::probes::Occupancy;
use super::rejected::{Facts, Rejected, UNKNOWN};
use super::status::NextCall;
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::config::Recovery;
use crate::event::Event;
#[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
use crate::state::Shed;
use crate::state::{Mode, Reason, RejectReason, Standing, State};
use crate::sync::{Relaxed, seat};
use crate::telemetry;
use crate::window::cells::{Counted, Kind};

impl Branch {
    #[inline(always)]
    pub(super) fn admit(root: &Arc<Self>, start: Start) -> Result<Admission<'_>, Rejected> {
        let word = root.inner.load();
        let branch = root.own(word);
        if word.is_flowing() {
            return Ok(Admission::flowing(branch, word.era(), start));
        }
        match branch.admit_at_gate(start) {
            Answer { mark: Mark::REFUSED, number } => Err(Rejected::new(Arc::clone(branch), Facts::from_bits(number))),
            Answer { mark, number } => Ok(Admission::new(branch, mark, Tick::from_nanos(number))),
        }
    }

    /// Admits or rejects a call while the circuit is not simply closed. The loop runs again only after a
    /// transition, of this or of another thread.
    // Out of line, but not cold, because in an outage every call comes here. `rejects_at`
    // and `refuse_unready` likewise.
    #[inline(never)]
    fn admit_at_gate(&self, start: Start) -> Answer {
        let inner = &*self.inner;
        let now = inner.clock.now();
        loop {
            let word = inner.load();
            // The usual case comes first, because all rejections of an outage take this branch.
            if word.is_plainly_open() && now < inner.open_until() {
                let facts = self.reject(word, RejectReason::Tripped, wait(inner.open_until(), now), now);
                return Answer { mark: Mark::REFUSED, number: facts.bits() };
            }
            let era = word.era();
            let right = |right| {
                let (started, measured) = inner.start(start, Some(now));
                Answer { mark: Mark::new(era, right).with_measured(measured), number: started.as_nanos() }
            };
            let (reason, wait) = match inner.gate(word, now) {
                Gate::Counted => return right(Right::Counted),
                Gate::Uncounted => return right(Right::Uncounted),
                Gate::Change(due) => {
                    inner.carry_out(word, now, due);
                    continue;
                }
                Gate::Probe(_) if nested::is_in_probe(inner, era) => {
                    inner.note_nesting();
                    return right(Right::Uncounted);
                }
                Gate::Probe(slots) => {
                    if slots.any_free
                        && let Some(probe) = inner.probes.take(era, now, &inner.config.probes)
                    {
                        return right(Right::Probe(probe));
                    }
                    // Either all slots of this era are taken, or the era is over and the next turn sees the new one.
                    if inner.load().era() != era {
                        continue;
                    }
                    // The wait is not known, because a probe may end at any time.
                    (RejectReason::HalfOpen, UNKNOWN)
                }
                Gate::Closed(until) => (RejectReason::Tripped, inner.wait(word, until, now)),
            };
            // In shadow the call goes through, and only the count shows that the state would have rejected it.
            if word.mode() == Mode::Shadow {
                // Relaxed: a count, publishes nothing.
                inner.counts.would_reject.fetch_add(1, Relaxed);
                return right(Right::Uncounted);
            }
            return Answer { mark: Mark::REFUSED, number: self.reject(word, reason, wait, now).bits() };
        }
    }

    /// Counts a rejection and reports it, by itself or in a sum, and perhaps in a summary.
    #[inline]
    fn reject(&self, word: Word, reason: RejectReason, wait: u64, now: Tick) -> Facts {
        let inner = &*self.inner;
        let kind = if reason == RejectReason::HalfOpen { Kind::HalfOpen } else { Kind::Tripped };
        match inner.cells.rejection(seat(), kind, now) {
            Counted::Due => inner.report_own_sums(),
            // A later report of sums will contain this rejection.
            Counted::Yes if inner.cells.report_sums() => {}
            counted @ (Counted::Yes | Counted::No) => {
                if counted == Counted::No {
                    // The thread has no cell, so it counts with the other threads.
                    // Relaxed: a count, publishes nothing.
                    inner.counts.rejected.fetch_add(1, Relaxed);
                    self.note_contention(|| now);
                }
                if !inner.call_observers.is_empty() {
                    inner.notify_of_call(&Event::Rejected { reason });
                }
            }
        }
        // Relaxed: a time, publishes nothing.
        let due = inner.counts.next_summary.load(Relaxed);
        // A closed circuit rejects a call only if its service was not polled ready. That is a bug in the
        // caller and no outage, so no summary is reported. A circuit that awaits its restore counts as
        // closed here, therefore `restored`.
        if now.as_nanos() >= due && !word.restored().is_flowing() {
            inner.summarise(due, (wait != UNKNOWN).then(|| Duration::from_nanos(wait)), now);
        }
        Facts::new(word.era(), reason, wait)
    }

    /// Rejects a call whose service was not polled ready. `found` is the time of that poll, or zero for now.
    #[inline(always)]
    pub(super) fn reject_as_of(root: &Arc<Self>, found: Tick) -> Rejected {
        let branch = root.own(root.inner.load());
        Rejected::new(Arc::clone(branch), branch.refuse_unready(found))
    }

    /// Returns the facts of such a rejection. The circuit may have changed since `found`, so its state is checked again.
    #[inline(never)]
    fn refuse_unready(&self, found: Tick) -> Facts {
        let inner = &*self.inner;
        let word = inner.load();
        // A time from an earlier era says nothing about this one.
        let now = if found < inner.entered() { inner.now() } else { found };
        // The usual case comes first.
        if word.is_plainly_open() {
            return self.reject(word, RejectReason::Tripped, wait(inner.open_until(), now), now);
        }
        let (reason, wait) = match word.standing() {
            Standing { state: State::HalfOpen, mode: Mode::Automatic } => (RejectReason::HalfOpen, UNKNOWN),
            Standing { .. } => match inner.gate(word, now) {
                // The service was not polled ready, or the circuit has closed since the poll.
                Gate::Counted | Gate::Uncounted => {
                    return self.reject(word, RejectReason::Tripped, 0, now).of_unready_service();
                }
                Gate::Change(_) => (RejectReason::Tripped, 0),
                Gate::Closed(until) => (RejectReason::Tripped, inner.wait(word, until, now)),
                Gate::Probe(_) => (RejectReason::Tripped, UNKNOWN),
            },
        };
        self.reject(word, reason, wait, now)
    }
}

impl Inner {
    /// Returns the obstacle between a call and the service, if there is one. Changes nothing, so that `poll_ready` and
    /// `status` can use the gate as well.
    fn gate(&self, word: Word, now: Tick) -> Gate {
        if word.bypassed() {
            return Gate::Uncounted;
        }
        match word.mode() {
            Mode::Disabled if now >= self.hold_until() => Gate::Change(Due::HoldEnded),
            Mode::Disabled => Gate::Uncounted,
            Mode::ForcedOpen if now >= self.hold_until() => Gate::Change(Due::HoldEnded),
            Mode::ForcedOpen => Gate::Closed(self.hold_until()),
            Mode::Automatic | Mode::Shadow => match word.state() {
                State::Closed => Gate::Counted,
                State::Open if now >= self.open_until() => Gate::Change(Due::Probing),
                State::Open => Gate::Closed(self.open_until()),
                State::HalfOpen => self.half_open_gate(word.era(), now),
            },
        }
    }

    /// Looks for an overdue probe first, because such a probe keeps its slot until the circuit reclaims the slot.
    fn half_open_gate(&self, era: u64, now: Tick) -> Gate {
        let probing = &self.config.probes;
        let slots = self.probes.occupancy(era, now, probing);
        let verdict = slots.verdict;
        let half_open_for = now.saturating_since(self.entered());
        if slots.oldest >= nanos(probing.deadline) {
            let patience = self.probes.patience();
            return Gate::Change(match (verdict.successes, verdict.failures) {
                (0, _) if half_open_for >= patience => Due::GiveUp(Reason::NoSuccess { half_open_for }),
                // With successes and without a failure the circuit closes after `quiet_after`.
                (1.., 1..) if half_open_for >= patience.max(probing.quiet_after) => {
                    Due::GiveUp(Reason::NoVerdict { half_open_for })
                }
                _ => Due::Overdue,
            });
        }
        if verdict.successes > 0 && verdict.failures == 0 && half_open_for >= probing.quiet_after {
            return Gate::Change(Due::Quiet { successes: verdict.successes, half_open_for });
        }
        Gate::Probe(slots)
    }

    /// Returns the answer that a call would get, without making a change.
    pub(super) fn next_call(&self, word: Word, now: Tick) -> NextCall {
        let answer = match self.gate(word, now) {
            Gate::Counted | Gate::Uncounted | Gate::Change(Due::Quiet { .. }) => NextCall::Admitted,
            Gate::Probe(slots) if !slots.any_free => NextCall::Rejected,
            Gate::Probe(_) | Gate::Change(Due::Probing | Due::Overdue) => NextCall::Probe,
            Gate::Closed(_) | Gate::Change(Due::GiveUp(_)) => NextCall::Rejected,
            Gate::Change(Due::HoldEnded) => self.next_call_beneath(word, now),
        };
        // In shadow every call goes through.
        if answer == NextCall::Rejected && word.mode() == Mode::Shadow { NextCall::Admitted } else { answer }
    }

    /// Returns the answer that a call would get after the hold, whose time is over.
    fn next_call_beneath(&self, word: Word, now: Tick) -> NextCall {
        match word.state() {
            _ if word.mode() == Mode::ForcedOpen && self.config.recovery == Recovery::Automatic => NextCall::Probe,
            State::Closed => NextCall::Admitted,
            State::Open if now < self.open_until() => NextCall::Rejected,
            State::Open | State::HalfOpen => NextCall::Probe,
        }
    }

    /// Returns the standing that a caller meets: an open circuit whose wait is over probes.
    pub(super) fn effective_standing(&self, word: Word) -> Standing {
        let standing = word.standing();
        if standing.is_open() && self.next_call(word, self.now()) == NextCall::Probe {
            return Standing::new(State::HalfOpen, if word.mode().is_hold() { Mode::Automatic } else { word.mode() });
        }
        standing
    }

    /// Makes the change that time has made due, unless another thread has made a change before.
    fn carry_out(&self, word: Word, now: Tick, due: Due) {
        let entered = self.entered();
        match due {
            Due::HoldEnded => self.end_hold(word, now),
            Due::Probing => self.half_open(word, now, Reason::WaitElapsed { waited: now.saturating_since(entered) }),
            Due::Overdue => {
                self.probes.reclaim(word.era(), now, self.config.probes.deadline);
                self.wakers.wake();
            }
            Due::GiveUp(reason) => self.reopen(word, now, reason, None),
            Due::Quiet { successes, half_open_for } => {
                self.close(word, now, Reason::QuietService { successes, half_open_for });
            }
        }
    }

    /// Logs the first call inside a probe of the circuit.
    #[cold]
    fn note_nesting(&self) {
        if !std::mem::replace(&mut self.cold.lock().has_nested, true) {
            telemetry::warn(&format!(
                "circuit `{}` guards a call inside a call that it guards already: remove one of the two layers, because both \
                 calls count while the circuit is closed",
                self.config.name()
            ));
        }
    }

    /// Ends a hold whose time is over. A circuit that was forced open probes first, because the service may still be
    /// down. With manual recovery the circuit must not probe by itself, so the state beneath decides.
    fn end_hold(&self, word: Word, now: Tick) {
        let reason = Reason::HoldEnded { held: now.saturating_since(self.entered()) };
        if word.mode() == Mode::ForcedOpen && self.config.recovery == Recovery::Automatic {
            self.half_open(word, now, reason);
        } else {
            self.uncover(word, now, reason);
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
            match self.gate(word, now) {
                Gate::Counted | Gate::Uncounted | Gate::Change(_) => false,
                Gate::Probe(slots) => !slots.any_free && !nested::is_in_probe(self, word.era()),
                Gate::Closed(_) => true,
            }
        };
        if rejects { taken(now) } else { Tick::ZERO }
    }

    /// Returns the nanoseconds until calls may pass again, or [`UNKNOWN`].
    fn wait(&self, word: Word, until: Tick, now: Tick) -> u64 {
        wait(self.rejects_until(word, until).unwrap_or(Tick::NEVER), now)
    }

    #[inline]
    pub(super) fn peek(&self) -> Peek {
        let word = self.load();
        if word.is_flowing() { Peek::MayPass } else { self.peek_before_gate(word) }
    }

    #[inline(never)]
    fn peek_before_gate(&self, word: Word) -> Peek {
        if word.awaits_restore() { Peek::AwaitsRestore } else { self.peek_at_gate(word) }
    }

    /// Returns the answer of the gate to a call that does not wait for a restore. In shadow every call passes.
    pub(super) fn peek_at_gate(&self, word: Word) -> Peek {
        if word.mode() == Mode::Shadow { Peek::MayPass } else { self.peek_at(word, self.now()) }
    }

    fn peek_at(&self, word: Word, now: Tick) -> Peek {
        match self.gate(word, now) {
            Gate::Counted | Gate::Uncounted | Gate::Change(_) => Peek::MayPass,
            Gate::Probe(Occupancy { any_free: true, .. }) => Peek::MayPass,
            Gate::Probe(_) if nested::is_in_probe(self, word.era()) => Peek::MayPass,
            Gate::Probe(Occupancy { oldest, .. }) => {
                Peek::ProbesTaken(self.config.probes.deadline.saturating_sub(Duration::from_nanos(oldest)))
            }
            Gate::Closed(until) => {
                Peek::Rejecting(self.rejects_until(word, until).map(|until| until.saturating_since(now)))
            }
        }
    }

    /// Returns true if a heavy call is to be refused because the machine is busy. In
    /// shadow such a call is only counted.
    ///
    /// Load shedding does not refuse a call that the circuit rejects by itself, because the rejection has the better
    /// reason. It does not refuse a call either while an operator lets every call through.
    #[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
    pub(super) fn may_shed(&self, now: Tick) -> bool {
        let word = self.load();
        let lets_through = match self.gate(word, now) {
            Gate::Counted | Gate::Change(_) => true,
            Gate::Probe(slots) => slots.any_free,
            Gate::Uncounted | Gate::Closed(_) => false,
        };
        if lets_through && word.mode() == Mode::Shadow {
            // Relaxed: a count, publishes nothing.
            self.counts.would_reject.fetch_add(1, Relaxed);
            return false;
        }
        lets_through
    }

    /// Returns the time from which calls may pass again, if that is known. With manual recovery and an open state, the
    /// end of a hold is not that time, because the circuit is still open after the hold.
    fn rejects_until(&self, word: Word, until: Tick) -> Option<Tick> {
        let manual = self.config.recovery == Recovery::Manual && word.state() == State::Open;
        (until != Tick::NEVER && !manual).then_some(until)
    }
}

/// The calls that a load-shedding layer refuses, and the load that the layer measures. A shed call enters no window,
/// takes no probe and counts no failure.
#[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
impl Circuit {
    /// Refuses a call that is too heavy for a busy machine. Returns `None` if the circuit would not admit the call
    /// anyway, or if an operator lets every call through.
    // Out of line, but not cold, because every heavy call comes here while the machine is busy.
    #[inline(never)]
    pub(crate) fn shed(&self, now: Tick, retry_after: Duration, shed: impl FnOnce() -> Shed) -> Option<Rejected> {
        let inner = self.inner();
        if !inner.may_shed(now) {
            return None;
        }
        // Relaxed: a count, publishes nothing.
        inner.counts.load_shed.fetch_add(1, Relaxed);
        let reason = RejectReason::LoadShed;
        inner.notify_of_call(&Event::Rejected { reason });
        let branch = Branch::of_shed_call(&self.root.inner, shed());
        Some(Rejected::new(branch, Facts::new(inner.load().era(), reason, nanos(retry_after))))
    }

    /// Reports to the observers the load that the load-shedding layer has measured.
    pub(crate) fn report_load(&self, load: Option<f64>, shedding: bool, news: bool) {
        self.inner().notify(&Event::SystemLoad { load, shedding, news });
    }
}

#[inline]
const fn wait(until: Tick, now: Tick) -> u64 {
    if until.as_nanos() == Tick::NEVER.as_nanos() { UNKNOWN } else { until.as_nanos().saturating_sub(now.as_nanos()) }
}

/// The numbers of a permit or of a rejection, before either has a reference to its circuit. Two words,
/// which are returned in registers.
struct Answer {
    mark: Mark,
    /// The start of the call, or the facts of the rejection if the mark is [`Mark::REFUSED`].
    number: u64,
}

/// The gate for a call that did not pass with the first load of the word.
enum Gate {
    /// The call passes and its outcome is counted.
    Counted,
    /// The call passes and its outcome counts only for the totals.
    Uncounted,
    /// The call is a probe, if a slot is free.
    Probe(Occupancy),
    /// No call passes before this time.
    Closed(Tick),
    /// Time has made a change due. The gate must be evaluated again after the change.
    Change(Due),
}

/// A change that time has made due.
enum Due {
    /// The time of a hold is over.
    HoldEnded,
    /// The open duration is over, so the circuit begins to probe.
    Probing,
    /// A probe has reached its deadline, and gives its slot back.
    Overdue,
    /// A probe has reached its deadline, and there was no verdict for too long.
    GiveUp(Reason),
    /// The circuit has been half-open for `quiet_after` with some successes and no failure, so it closes.
    Quiet { successes: u32, half_open_for: Duration },
}
