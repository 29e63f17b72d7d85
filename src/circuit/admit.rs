//! Admits or rejects a call. The module also counts rejections, and makes the transitions whose time has come.
//!
//! A closed circuit admits a call after one load of the atomic word, which contains the state and the mode of the
//! circuit. If the circuit has a slow-call rule, the call is also counted as under way (`hanging`). A circuit that is
//! open in automatic mode or forced open compares the present time with one deadline, and rejects the call if the
//! deadline has not passed. In all other cases the [`Gate`] decides. The gate only reads. If the gate finds that a
//! transition is due, this module makes the transition, so that the circuit needs no timer.
//!
//! The module `gate` has the decision, `outcomes` the rules for outcomes, and `change` the transitions.

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

    /// Admits or rejects a call if the atomic word (state, mode and era) is not enough to admit the call.
    // This function is not inlined, so that the code for a closed circuit stays small. This function is not `#[cold]`,
    // because in an outage every call runs this function. Both statements are also true for `rejects_at` and
    // `refuse_unready`. The word is tested before the clock is read. With this order, the compiler jumps to
    // `admit_at_gate` without a stack frame.
    #[inline(never)]
    fn admit_or_reject(&self, start: Start, drawn: Drawn) -> Answer {
        let inner = &*self.inner;
        let word = inner.load();
        // The circuit can be flowing (all calls pass) here for two reasons. The circuit counts its calls under way, so
        // that its word alone admits no call, or the circuit has closed since the caller loaded the word.
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

    /// Lets the gate decide on a call, and admits or rejects the call. The loop runs again only if this thread has made
    /// a change that was due, or if a new era has begun.
    // The gate needs many registers. Because of the separate function, a rejection without the gate does not have to
    // save these registers.
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
                    // There is no free slot, because another call took the slot or because the era has ended. If the
                    // era has ended, the next pass of the loop decides in the new era.
                    if inner.load().era() != era {
                        continue;
                    }
                    // For a moment this call counted as a probe. A task that checked the circuit in this moment waits
                    // now, although a slot may be free again. Therefore the waiting tasks are woken.
                    inner.wakers.wake();
                    (RejectReason::HalfOpen, UNKNOWN)
                }
                // The time to wait is unknown, because a probe may end at any time, and a health probe may succeed at
                // any time.
                Gate::Taken { .. } => (RejectReason::HalfOpen, UNKNOWN),
                Gate::HeldBack(_) if word.state() == State::HalfOpen => (RejectReason::HalfOpen, UNKNOWN),
                Gate::HeldBack(_) => (RejectReason::Tripped, UNKNOWN),
                Gate::Closed(until) => (RejectReason::Tripped, inner.wait(word, until, now)),
                Gate::InShadow => (RejectReason::Tripped, UNKNOWN),
            };
            // In shadow mode the circuit admits the call, and only counts that the call would have been rejected.
            if word.mode() == Mode::Shadow {
                // Relaxed, because the count publishes no other data.
                inner.counts.would_reject.fetch_add(1, Relaxed);
                return right(Right::Uncounted);
            }
            return Answer { mark: Mark::REFUSED, number: self.reject(word, reason, wait, now).bits() };
        }
    }

    /// Counts a rejection, and returns the facts of the rejection (era, reason and time to wait). Also reports a
    /// summary of all rejections if a summary is due.
    // Always inlined. Most callers pass a constant reason, so the compiler can remove the tests of the reason.
    #[inline(always)]
    fn reject(&self, word: Word, reason: RejectReason, wait: u64, now: Tick) -> Facts {
        self.count_rejection(reason, now);
        // Relaxed, because the time of the next summary publishes no other data.
        let due = self.inner.counts.next_summary.load(Relaxed);
        if now.as_nanos() >= due {
            // A summary contains the time until the next probe. A ramp or a throttle rejects calls of a closed circuit,
            // which does not probe. In that case the summary contains no time.
            let probes = !matches!(reason, RejectReason::Ramp | RejectReason::Throttled) && wait != UNKNOWN;
            self.inner.summarise(due, probes.then(|| Duration::from_nanos(wait)), now);
        }
        Facts::new(word.era(), reason, wait)
    }

    /// Counts a rejection, and reports the rejection to the observers, either at once or later in a sum of rejections.
    #[inline(always)]
    fn count_rejection(&self, reason: RejectReason, now: Tick) {
        let inner = &*self.inner;
        let kind = match reason {
            RejectReason::HalfOpen => Some(Kind::HalfOpen),
            RejectReason::Tripped | RejectReason::LoadShed => Some(Kind::Tripped),
            // A ramp or a throttle makes a random decision for each call, which already writes to memory that all
            // threads share. Therefore a cell (a counter with one writing thread) would save nothing.
            RejectReason::Ramp | RejectReason::Throttled => None,
        };
        if reason == RejectReason::Throttled {
            inner.count_throttled();
        }
        match kind.map_or(Counted::No, |kind| inner.cells.rejection(seat(), kind, now)) {
            Counted::Due => inner.report_own_sums(),
            // A cell has counted the rejection. A later report of sums will contain the rejection.
            Counted::Yes if inner.cells.report_sums() => {}
            counted @ (Counted::Yes | Counted::No) => {
                if counted == Counted::No {
                    // No cell has counted the rejection, so the thread adds to the shared counter. Relaxed, because the
                    // count publishes no other data.
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

    /// Rejects a call whose inner service was not polled ready. `found` is the time at which `poll_ready` observed that
    /// the circuit rejects calls. A `found` of zero stands for the present time.
    #[inline(always)]
    pub(super) fn reject_as_of(root: &Arc<Self>, found: Tick) -> Rejected {
        let branch = root.own(root.inner.load());
        Rejected::new(Arc::clone(branch), branch.refuse_unready(found))
    }

    /// Counts the rejection of a call whose inner service was not polled ready, and returns the facts of the rejection
    /// (era, reason and time to wait). The circuit may have changed since `found`, so the present state decides on the
    /// reason.
    #[inline(never)]
    fn refuse_unready(&self, found: Tick) -> Facts {
        let inner = &*self.inner;
        let word = inner.load();
        // If `found` is zero, or if a new era has begun after `found`, the present time is used instead.
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

    /// The part of [`refuse_unready`](Self::refuse_unready) for the cases in which only the gate knows the time until
    /// the circuit admits calls again.
    // The gate needs many registers. Because of the separate function, a rejection without the gate does not have to
    // save these registers.
    #[inline(never)]
    fn refuse_unready_at_gate(&self, word: Word, now: Tick) -> Facts {
        let inner = &*self.inner;
        let wait = match inner.scene(word, now).gate() {
            // The circuit would admit a call. The caller never polled the service (a bug in the caller), or the circuit
            // has closed since the poll. Neither case is an outage, so no summary is reported.
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
    /// For a circuit that is open in automatic mode or forced open, returns the nanoseconds until the circuit admits
    /// calls again, or [`UNKNOWN`] if this time is not known. Returns `None` if the gate must decide. The gate decides
    /// in all other states and modes, during the kill switch and a restore, and after the deadline.
    ///
    /// In an outage, callers use this function to reject calls without the gate. To read all inputs of the gate would
    /// cost more than the rest of the rejection.
    #[inline(always)]
    pub(super) fn plain_wait(&self, word: Word, now: Tick) -> Option<u64> {
        if word.is_plainly_open() {
            let until = self.open_until();
            return (now < until).then(|| wait(until, now));
        }
        let until = self.hold_until();
        (word.is_forced_open() && now < until).then(|| self.wait(word, until.known(), now))
    }

    /// Reads the data that the gate needs for a decision.
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

    /// Makes the change `due`, whose time has come. Makes no change if a new era has begun since `word` was loaded.
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

    /// Logs a warning about a call that was made inside a probe of the same circuit. Only the first such call logs a
    /// warning.
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

    /// Returns the nanoseconds until the circuit admits calls again, or [`UNKNOWN`]. `until` is the end of the open
    /// duration or of the hold.
    fn wait(&self, word: Word, until: Option<Tick>, now: Tick) -> u64 {
        wait(self.rejects_until(word, until).unwrap_or(Tick::NEVER), now)
    }

    /// Returns the time from which the circuit admits calls again, or `None` if the time is unknown. `until` is the end
    /// of the open duration or of the hold. With manual recovery, an open circuit has no such time, because the circuit
    /// stays open until an operator resets it.
    pub(super) fn rejects_until(&self, word: Word, until: Option<Tick>) -> Option<Tick> {
        let manual = self.config.recovery == Recovery::Manual && word.state() == State::Open;
        until.filter(|_| !manual)
    }
}

#[inline]
const fn wait(until: Tick, now: Tick) -> u64 {
    if until.as_nanos() == Tick::NEVER.as_nanos() { UNKNOWN } else { until.as_nanos().saturating_sub(now.as_nanos()) }
}

/// The answer to one call: the data of a permit or of a rejection, but without a reference to the circuit. The struct
/// has two machine words, so that functions can return the struct in registers.
struct Answer {
    mark: Mark,
    /// The start time of the call, or the facts of the rejection if the mark is [`Mark::REFUSED`].
    number: u64,
}
