//! The admission of a call, which returns a permit or a rejection. The admission also counts rejections, and makes the
//! transitions that time has made due.
//!
//! A healthy call passes with one load of the word, which has state and mode of the circuit. A circuit that is open in
//! automatic mode or forced open rejects a call after one comparison with its deadline. A call of a circuit with a
//! slow-call rule is also counted as a call under way (`hanging`). For every other call the [`Gate`] decides, and the
//! decision changes nothing. The first call that finds a change due carries out the change, so that the circuit needs
//! no timer.
//!
//! The decision is left to `gate`, the meaning of outcomes to `outcomes`, and the transitions themselves to `change`.

use std::sync::Arc;
use std::time::Duration;

use super::branch::Branch;
use super::gate::{Due, Gate, Round, Scene};
use super::inner::{Inner, Start};
use super::limit::{Draw, Drawn};
use super::mark::{Mark, Right};
use super::nested;
use super::permit::Admission;
use super::rejected::{Facts, Rejected, UNKNOWN};
use super::word::Word;
use crate::clock::Tick;
use crate::config::Recovery;
use crate::event::Event;
use crate::state::{Mode, Reason, RejectReason, Standing, State};
use crate::sync::{Relaxed, seat};
use crate::telemetry;
use crate::window::cells::{Counted, Kind};

impl Branch {
    #[inline(always)]
    pub(super) fn admit(
        root: &Arc<Self>,
        start: Start,
        drawn: impl FnOnce() -> Drawn,
    ) -> Result<Admission<'_>, Rejected> {
        let word = root.inner.load();
        let branch = root.own(word);
        if word.passes_at_once() {
            return Ok(Admission::flowing(branch, word.era(), start));
        }
        match branch.admit_or_reject(start, drawn()) {
            Answer { mark: Mark::REFUSED, number } => Err(Rejected::new(Arc::clone(branch), Facts::from_bits(number))),
            Answer { mark, number } => Ok(Admission::new(branch, mark, Tick::from_nanos(number))),
        }
    }

    /// Admits or rejects a call that the word alone does not admit.
    // The function is not inlined, so that the code of a healthy call stays small. The function is not `#[cold]`,
    // because in an outage every call runs it. The same is true for `rejects_at` and `refuse_unready`. The word is
    // tested before the clock is read, because the compiler then jumps to `admit_at_gate` without a stack frame.
    #[inline(never)]
    fn admit_or_reject(&self, start: Start, drawn: Drawn) -> Answer {
        let inner = &*self.inner;
        let word = inner.load();
        // The circuit can be flowing (calls go through) here for two reasons. Either the circuit counts its calls under
        // way, or the circuit has closed since the caller loaded the word.
        if word.is_flowing() {
            let (started, measured) = inner.start(start, None);
            if !inner.note_start(word, started) {
                let mark = Mark::new(word.era(), Right::Counted).with_measured(measured);
                return Answer { mark, number: started.as_nanos() };
            }
        } else if word.is_plainly_open() || word.is_forced_open() {
            let now = inner.clock.now();
            if let Some(wait) = inner.plain_wait(word, now) {
                let facts = self.reject(word, RejectReason::Tripped, wait, now);
                return Answer { mark: Mark::REFUSED, number: facts.bits() };
            }
        }
        self.admit_at_gate(start, drawn)
    }

    /// Admits or rejects a call by the gate. The loop runs again only after this thread has carried out a change that
    /// was due, or after another thread has begun a new era.
    // The gate has a function of its own, because a plain rejection would otherwise pay for the registers that the gate
    // needs.
    #[inline(never)]
    fn admit_at_gate(&self, start: Start, drawn: Drawn) -> Answer {
        let inner = &*self.inner;
        let now = inner.clock.now();
        loop {
            let word = inner.load();
            let era = word.era();
            let right = |right| {
                let (started, measured) = inner.start(start, Some(now));
                Answer { mark: Mark::new(era, right).with_measured(measured), number: started.as_nanos() }
            };
            let gate = match inner.scene(word, now).gate() {
                Ok(gate) => gate,
                Err(due) => {
                    inner.carry_out(word, now, due);
                    continue;
                }
            };
            let (reason, wait) = match gate {
                Gate::Counted | Gate::Limited => {
                    let draw =
                        if matches!(gate, Gate::Limited) { inner.draw(word, drawn, now) } else { Draw::Unlimited };
                    if let Draw::Rejected(reason, wait) = draw {
                        (reason, wait)
                    } else {
                        let Answer { mark, number } = right(Right::Counted);
                        if word.is_watched() && inner.note_start(word, Tick::from_nanos(number)) {
                            continue;
                        }
                        let mark = if matches!(draw, Draw::Admitted) { mark.noted() } else { mark };
                        return Answer { mark, number };
                    }
                }
                Gate::Uncounted => return right(Right::Uncounted),
                Gate::Nested => {
                    inner.note_nesting();
                    return right(Right::Uncounted);
                }
                Gate::Probe if inner.leaves_probe(drawn, now) => (RejectReason::HalfOpen, UNKNOWN),
                Gate::Probe => {
                    inner.note_unchecked(era);
                    let leased = now < inner.leased_until(word.mode());
                    if let Some(probe) = inner.probes.take(era, now, &inner.config.probes, leased) {
                        return right(Right::Probe(probe));
                    }
                    // No slot was free, because another caller was faster or because the era is over. If the era is
                    // over, the next turn of the loop decides in the new era.
                    if inner.load().era() != era {
                        continue;
                    }
                    // For a moment this call was counted as a probe. A task that checked the circuit in that moment
                    // waits now, although another probe is possible again. Therefore the tasks are woken.
                    inner.wakers.wake();
                    (RejectReason::HalfOpen, UNKNOWN)
                }
                // The wait is not known, because a probe may end at any time, and a health probe may succeed at any
                // time.
                Gate::Taken { .. } => (RejectReason::HalfOpen, UNKNOWN),
                Gate::HeldBack(_) if word.state() == State::HalfOpen => (RejectReason::HalfOpen, UNKNOWN),
                Gate::HeldBack(_) => (RejectReason::Tripped, UNKNOWN),
                Gate::Closed(until) => (RejectReason::Tripped, inner.wait(word, until, now)),
                Gate::InShadow => (RejectReason::Tripped, UNKNOWN),
            };
            // In shadow the call goes through, and only the count shows that the circuit would have rejected the call.
            if word.mode() == Mode::Shadow {
                // Relaxed, because the count publishes no other data.
                inner.counts.would_reject.fetch_add(1, Relaxed);
                return right(Right::Uncounted);
            }
            return Answer { mark: Mark::REFUSED, number: self.reject(word, reason, wait, now).bits() };
        }
    }

    /// Counts a rejection, and reports a summary of the rejections if a summary is due. Returns the facts of the
    /// rejection.
    // Always inlined, because most callers pass a constant reason, and the compiler then removes the tests of the
    // reason.
    #[inline(always)]
    fn reject(&self, word: Word, reason: RejectReason, wait: u64, now: Tick) -> Facts {
        self.count_rejection(reason, now);
        // Relaxed, because the time publishes no other data.
        let due = self.inner.counts.next_summary.load(Relaxed);
        if now.as_nanos() >= due {
            // A summary contains the wait until the next probe. A circuit with a ramp or a throttle does not probe, so
            // the summary of its rejections contains no wait.
            let probes = !matches!(reason, RejectReason::Ramp | RejectReason::Throttled) && wait != UNKNOWN;
            self.inner.summarise(due, probes.then(|| Duration::from_nanos(wait)), now);
        }
        Facts::new(word.era(), reason, wait)
    }

    /// Counts a rejection, and reports the rejection to the observers, by itself or in a sum.
    #[inline(always)]
    fn count_rejection(&self, reason: RejectReason, now: Tick) {
        let inner = &*self.inner;
        let kind = match reason {
            RejectReason::HalfOpen => Some(Kind::HalfOpen),
            RejectReason::Tripped | RejectReason::LoadShed => Some(Kind::Tripped),
            // Rejections by a limit (ramp or throttle) need no cell (a count with one writer), because each random draw
            // for a limit already writes a word that all threads share.
            RejectReason::Ramp | RejectReason::Throttled => None,
        };
        if reason == RejectReason::Throttled {
            inner.count_throttled();
        }
        match kind.map_or(Counted::No, |kind| inner.cells.rejection(seat(), kind, now)) {
            Counted::Due => inner.report_own_sums(),
            // A later report of sums will contain this rejection.
            Counted::Yes if inner.cells.report_sums() => {}
            counted @ (Counted::Yes | Counted::No) => {
                if counted == Counted::No {
                    // No cell has counted the rejection, so the thread adds to the counter that all threads share.
                    // Relaxed, because the count publishes no other data.
                    inner.counts.rejected.fetch_add(1, Relaxed);
                    if kind.is_some() {
                        self.note_contention(|| now);
                    }
                }
                if !inner.call_observers.is_empty() {
                    inner.notify_of_call(&Event::Rejected { reason });
                }
            }
        }
    }

    /// Rejects a call whose inner service was not polled ready. `found` is the time at which `poll_ready` found the
    /// circuit rejecting, or zero for the present time.
    #[inline(always)]
    pub(super) fn reject_as_of(root: &Arc<Self>, found: Tick) -> Rejected {
        let branch = root.own(root.inner.load());
        Rejected::new(Arc::clone(branch), branch.refuse_unready(found))
    }

    /// Counts the rejection of a call whose inner service was not polled ready, and returns the facts of the rejection.
    /// The circuit may have changed since `found`, so the state of the circuit is checked again.
    #[inline(never)]
    fn refuse_unready(&self, found: Tick) -> Facts {
        let inner = &*self.inner;
        let word = inner.load();
        // A time before the present era, such as zero, says nothing about the present era, so the present time is used
        // instead.
        let now = if found < inner.entered() { inner.now() } else { found };
        let (reason, wait) = if let Some(wait) = inner.plain_wait(word, now) {
            (RejectReason::Tripped, wait)
        } else if word.standing() == Standing::new(State::HalfOpen, Mode::Automatic) {
            (RejectReason::HalfOpen, UNKNOWN)
        } else {
            return self.refuse_unready_at_gate(word, now);
        };
        self.reject(word, reason, wait, now)
    }

    /// Does the work of [`refuse_unready`](Self::refuse_unready) if only the gate knows the time until calls may pass
    /// again.
    // The gate has a function of its own, because a plain rejection would otherwise pay for the registers of the gate.
    #[inline(never)]
    fn refuse_unready_at_gate(&self, word: Word, now: Tick) -> Facts {
        let inner = &*self.inner;
        let wait = match inner.scene(word, now).gate() {
            // The circuit would admit a call. Either the caller never polled the service, which is a bug in the caller,
            // or the circuit has closed since the poll. Neither is an outage, so no summary is reported.
            Ok(Gate::Counted | Gate::Limited | Gate::Uncounted | Gate::Nested | Gate::InShadow) => {
                self.count_rejection(RejectReason::Tripped, now);
                return Facts::new(word.era(), RejectReason::Tripped, 0).of_unready_service();
            }
            Err(_) => 0,
            Ok(Gate::Closed(until)) => inner.wait(word, until, now),
            Ok(Gate::Probe | Gate::Taken { .. } | Gate::HeldBack(_)) => UNKNOWN,
        };
        self.reject(word, RejectReason::Tripped, wait, now)
    }
}

impl Inner {
    /// Returns the nanoseconds until calls may pass again, or [`UNKNOWN`], if the circuit is open in automatic mode or
    /// forced open. Returns `None` if the gate must decide. The circuit is then in another state or mode, or the kill
    /// switch, a wait for a restore or a change that is due may let the call pass.
    ///
    /// In an outage every call runs this function before the gate, because reading all inputs of the gate would cost
    /// more than the rest of such a call.
    #[inline(always)]
    pub(super) fn plain_wait(&self, word: Word, now: Tick) -> Option<u64> {
        if word.is_plainly_open() {
            let until = self.open_until();
            return (now < until).then(|| wait(until, now));
        }
        let until = self.hold_until();
        (word.is_forced_open() && now < until).then(|| self.wait(word, until.known(), now))
    }

    /// Reads the data on which the gate decides.
    #[inline(always)]
    pub(super) fn scene(&self, word: Word, now: Tick) -> Scene<'_> {
        let (mode, state, era) = (word.mode(), word.state(), word.era());
        let round = if state == State::HalfOpen && !mode.is_hold() {
            let leased_until = self.leased_until(mode);
            Round {
                half_open_for: now.saturating_since(self.entered()),
                patience: self.probes.patience(),
                leased_until,
                slots: self.probes.occupancy(era, now, self.config.probes.deadline, now < leased_until),
                in_probe: nested::is_inside(self, era),
            }
        } else {
            Round::default()
        };
        Scene {
            config: &self.config,
            now,
            bypassed: word.bypassed(),
            mode,
            beneath: word.beneath(),
            state,
            is_limited: word.is_limited(),
            open_until: self.open_until().known(),
            hold_until: self.hold_until().known(),
            held_back_until: if state == State::Closed && !mode.is_hold() {
                Tick::ZERO
            } else {
                self.held_back_until(word, now)
            },
            round,
        }
    }

    /// Makes the change that time has made due, unless another era has begun since `word` was loaded.
    pub(super) fn carry_out(&self, word: Word, now: Tick, due: Due) {
        let entered = self.entered();
        match due {
            Due::HoldEnded { probes } => {
                let reason = Reason::HoldEnded { held: now.saturating_since(entered) };
                if probes { self.half_open(word, now, reason) } else { self.uncover(word, now, reason) }
            }
            Due::Probing => {
                self.note_unchecked(word.era());
                self.half_open(word, now, Reason::WaitElapsed { waited: now.saturating_since(entered) });
            }
            Due::Overdue => {
                self.probes.reclaim(word.era(), now, self.config.probes.deadline);
                self.wakers.wake();
            }
            Due::GiveUp { has_success: true, half_open_for } => {
                self.reopen(word, now, Reason::NoVerdict { half_open_for }, None);
            }
            Due::GiveUp { has_success: false, half_open_for } => {
                self.reopen(word, now, Reason::NoSuccess { half_open_for }, None);
            }
            Due::Quiet { successes, half_open_for } => {
                self.close(word, now, Reason::QuietService { successes, half_open_for });
            }
        }
    }

    /// Logs a warning for the first call that is made inside a probe of the same circuit.
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

    /// Returns the nanoseconds until calls may pass again, or [`UNKNOWN`]. `until` is the end of the opening or of the
    /// hold.
    fn wait(&self, word: Word, until: Option<Tick>, now: Tick) -> u64 {
        wait(self.rejects_until(word, until).unwrap_or(Tick::NEVER), now)
    }

    /// Returns the time from which calls may pass again, or `None` if the time is not known. `until` is the end of the
    /// opening or of the hold. An open circuit with manual recovery has no such time, because such a circuit is still
    /// open after the end of a hold.
    pub(super) fn rejects_until(&self, word: Word, until: Option<Tick>) -> Option<Tick> {
        let manual = self.config.recovery == Recovery::Manual && word.state() == State::Open;
        until.filter(|_| !manual)
    }
}

#[inline]
const fn wait(until: Tick, now: Tick) -> u64 {
    if until.as_nanos() == Tick::NEVER.as_nanos() { UNKNOWN } else { until.as_nanos().saturating_sub(now.as_nanos()) }
}

/// The answer to one call, with the numbers of a permit or of a rejection, but without the reference to the circuit.
/// The struct has two machine words, so that functions return the answer in registers.
struct Answer {
    mark: Mark,
    /// The start of the call, or the facts of the rejection if the mark is [`Mark::REFUSED`].
    number: u64,
}
