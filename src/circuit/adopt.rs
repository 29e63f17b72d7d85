//! The functions of a circuit for stores and for other instances. These are snapshots and restores, advice, the
//! transitions since an era, and the wait for a restore.
//!
//! During the wait for a restore, services wait in `poll_ready`, and calls without tower wait before they are admitted
//! (`call.rs`). The wait is one bit of the circuit's word, so that the calls of a circuit without a wait need no
//! further test. The beginning and the end of the wait start no new era, so permits stay valid. A transition during the
//! wait does not end the wait.
//!
//! Reading and writing records is left to the coordinator, which calls these functions.

#[cfg(all(test, not(breaker_loom)))]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::Circuit;
use super::change::Plan;
#[cfg(feature = "store")]
use super::cold::Since;
use super::word::Word;
use crate::clock::Tick;
use crate::config::Recovery;
use crate::outcome::{score_from_units, units_from_score};
#[cfg(feature = "store")]
use crate::state::Generation;
#[cfg(feature = "store")]
use crate::state::order_hash::OrderHash;
use crate::state::{EarlierReason, Reason, Snapshot, Standing, State, Transition};
use crate::sync::Relaxed;
#[cfg(any(feature = "store", test))]
use crate::sync::Release;
use crate::window::Tally;

impl Circuit {
    /// Returns the state that a restart should restore.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        // The lock is held so that no transition comes between the reads of the parts.
        let cold = inner.cold.lock();
        let (word, now) = (inner.load(), inner.now());
        let left = |until: Tick| until.known().map(|until| until.saturating_since(now));
        let opening = cold.past().and_then(|past| past.opening.as_ref()).filter(|_| word.state() != State::Closed);
        Snapshot {
            state: word.state(),
            mode: word.mode(),
            generation: cold.generation,
            open_for: left(inner.open_until()).filter(|_| word.state() == State::Open),
            held_for: left(inner.hold_until()).filter(|_| word.mode().is_hold()),
            attempt: inner.openings_that_count(&cold, word, now),
            probe_successes: inner.probes.verdict(word.era()).successes,
            run: score_from_units(inner.run.get(word.era()).weight),
            tally: if word.state() == State::Closed { inner.tally(word.era(), now) } else { Tally::EMPTY },
            tripped_for: cold.tripped_for(now),
            earlier: opening.map(|opening| Arc::clone(&opening.reason)),
            earlier_for: opening.and_then(|opening| Some(opening.at?.passed(now))),
            closed_for: inner.ramped_for(now).filter(|_| word.state() == State::Closed),
            half_open_for: (word.state() == State::HalfOpen).then(|| {
                let before = cold.past().map_or(Duration::ZERO, |past| past.state_before);
                now.saturating_since(inner.entered()).saturating_add(before)
            }),
        }
    }

    /// Takes over a snapshot of this circuit's past, or of the circuit of another instance. Returns the transition, or
    /// `None` if the snapshot makes no transition. `reason` becomes the reason of the transition, and is shown together
    /// with the [`earlier`](Snapshot::earlier) reason of the snapshot.
    ///
    /// If state, mode and deadlines of snapshot and circuit agree already (deadlines to a quarter of a second), the
    /// circuit makes no transition, and calls under way still count. The circuit then takes over only the generation,
    /// and a closed circuit that is restored also takes over the evidence (see below). Otherwise the circuit makes a
    /// transition, and the calls under way count only in the totals. A half-open circuit also makes a transition if a
    /// restore brings more successes of probes than the circuit has.
    ///
    /// The numbers of a snapshot are not trusted. An opening lasts at most as long as an opening that this circuit
    /// could make by itself. If the snapshot has no end of the opening, the configuration decides on the open duration.
    /// Numbers that make no sense count as zero.
    ///
    /// A closed circuit that is [restored](Reason::Restored) to closed also takes over the number of openings in a row
    /// and the ramp. The circuit adds the run (the failures since the last success) and the sums of the snapshot to its
    /// own evidence, so that its own evidence still counts if the restore comes late. The added evidence can trip the
    /// circuit at the next failure, but not during the restore. [`Totals`](super::Totals) do not include the added
    /// evidence.
    ///
    /// A closed circuit whose [group](crate::Group) has no open slot stays closed in the mode of the snapshot, even if
    /// the snapshot has another state.
    pub fn adopt(&self, snapshot: &Snapshot, reason: Reason) -> Option<Transition> {
        self.adopt_if(|_| true, snapshot, reason, false).ok()?.edge
    }

    /// Takes over a snapshot if the circuit is still in `era`, and returns the result. Returns [`Moved`] if a later era
    /// has begun. The caller logs a restore, because only the caller knows the store.
    #[cfg(feature = "store")]
    pub(crate) fn adopt_at(&self, era: u64, snapshot: &Snapshot, reason: Reason) -> Result<Adopted, Moved> {
        let is_logged = reason == Reason::Restored;
        self.adopt_if(|word| word.era() == era, snapshot, reason, is_logged)
    }

    fn adopt_if(
        &self,
        expected: impl FnOnce(Word) -> bool,
        snapshot: &Snapshot,
        reason: Reason,
        is_logged: bool,
    ) -> Result<Adopted, Moved> {
        let inner = self.inner();
        let now = inner.now();
        let attempt = snapshot.attempt.min(inner.config.open.last_attempt());
        let own = inner.config.open.of(attempt.max(1), inner.random(snapshot.generation.get()));
        let open_for = snapshot.open_for.unwrap_or(own).min(inner.config.open.longest());
        let mut moved = false;
        let (mut suppressed_in, suppressed_for) = (None, reason.clone());
        if snapshot.state != State::Closed {
            inner.count_absent();
        }
        let edge = inner.change_any(|cold, word| {
            moved = !expected(word);
            if moved {
                return None;
            }
            let closed;
            let leaves_closed = word.state() == State::Closed && snapshot.state != State::Closed;
            let snapshot = if leaves_closed && !inner.take_slot(cold, word) {
                suppressed_in = Some(word);
                closed = kept_closed(snapshot);
                &closed
            } else {
                snapshot
            };
            cold.generation = snapshot.generation;
            let plan = Plan { is_logged, ..self.planned(snapshot, reason, now, open_for) };
            // A snapshot has only the remaining open time. The full duration is assumed to be at least the duration
            // that this circuit would choose, because a shorter duration would let the number of openings in a row
            // decay too early.
            let last_open = if snapshot.state == State::Open { open_for.max(own) } else { own };
            if !self.is_already(word, &plan) {
                (cold.attempt, cold.last_open) = (attempt, last_open);
                // An operator can open a circuit even if its group has no open slot. If this circuit has left the
                // closed state without a slot, the circuit takes a free slot now, as at a reopening.
                if plan.standing.state != State::Closed {
                    inner.take_slot(cold, word);
                }
                return Some(plan);
            }
            if plan.reason == Reason::Restored && word.state() == State::Closed {
                // If the number of openings in a row is the same as in the snapshot, the circuit keeps its own values,
                // because they are exact.
                if inner.openings_that_count(cold, word, now) != attempt {
                    (cold.attempt, cold.last_open) = (attempt, last_open);
                }
                // The sums are added before the run, as in `count`, so that a thread that sees the run also sees the
                // sums.
                inner.evidence.seed(word.era(), now, plan.tally);
                inner.run.seed(word.era(), plan.run);
                inner.resume_limit(word, plan.closed_for, plan.tally, now);
            }
            None
        });
        let is_suppressed = suppressed_in.is_some();
        if let Some(word) = suppressed_in {
            // The suppressed opening is recorded for the present era. If the snapshot has changed the mode, that
            // transition has begun the present era.
            inner.suppress(edge.as_ref().map_or(word.era(), |edge| edge.era), now, &suppressed_for);
        }
        if moved { Err(Moved) } else { Ok(Adopted { edge, is_suppressed }) }
    }

    /// Lowers the thresholds for a while, because another instance has opened its circuit for the same service.
    ///
    /// Until `lasts` has passed, `min_calls` and `consecutive_failures` are a quarter of the configured values, rounded
    /// up and at least 2, but never more than configured. The limits of rates and scores stay as configured. A circuit
    /// that trips only because of the advice has the reason [`Reason::Advised`]. Advice outlasts every transition.
    /// Later advice replaces earlier advice, and advice of zero ends all advice.
    ///
    /// A run (failures without a success between them) or a rate must also be so unlikely, at the usual error rate of
    /// this circuit, that a minute of advice opens a healthy circuit with a chance of at most 1 %. The usual rate is
    /// the weight of the failures divided by the number of calls, over the calls of this process before the window and
    /// the run. The usual rate is capped at half of the limit of the rule. The condition does not apply until the first
    /// call of the circuit has succeeded.
    pub fn advise(&self, lasts: Duration) {
        self.advise_beside(0.0, lasts);
    }

    /// Lowers the thresholds as [`advise`](Self::advise) does. `usual` is the rate of failed calls in the last minutes,
    /// which is used if it is higher than the rate since the start of the process.
    pub(crate) fn advise_beside(&self, usual: f64, lasts: Duration) {
        let inner = self.inner();
        inner.set_usual(usual);
        let until = if lasts.is_zero() { Tick::ZERO } else { inner.now().saturating_add(lasts) };
        // Relaxed, because the deadline publishes no other data. A thread that reads an earlier deadline decides as if
        // the advice had come later. A thread that sees the new deadline and still the old rate of `set_usual` judges
        // by the old rate once more.
        inner.advised_until.store(until.as_nanos(), Relaxed);
    }

    /// Plans the era that the snapshot describes. The plan has only the parts that the state of the snapshot needs.
    fn planned(&self, snapshot: &Snapshot, reason: Reason, now: Tick, open_for: Duration) -> Plan {
        let mut plan = Plan::new(Standing::new(snapshot.state, snapshot.mode), reason, now);
        plan.tripped_for = snapshot.tripped_for;
        plan.earlier = snapshot.earlier.as_ref().map(|earlier| {
            let wall = self.inner().config.clock.wall();
            let began = snapshot.earlier_for.and_then(|ago| wall.checked_sub(ago));
            began.map_or_else(|| Arc::clone(earlier), |began| Arc::new(EarlierReason::clone(earlier).since(began)))
        });
        plan.earlier_for = snapshot.earlier_for;
        plan.state_for = match snapshot.state {
            State::Open => snapshot.earlier_for,
            State::HalfOpen => snapshot.half_open_for,
            State::Closed => None,
        };
        if snapshot.state == State::Open && self.inner().config.recovery == Recovery::Automatic {
            plan.open_until = Some(now.deadline(open_for));
        }
        if snapshot.mode.is_hold() {
            plan.hold_until = snapshot.held_for.and_then(|hold| now.saturating_add(hold).known());
        }
        if snapshot.state == State::Closed {
            (plan.run, plan.tally) = (units_from_score(snapshot.run), snapshot.tally);
            plan.closed_for = snapshot.closed_for;
        }
        if snapshot.state == State::HalfOpen {
            plan.successes = snapshot.probe_successes;
        }
        plan
    }

    /// Returns true if the circuit is already as planned, so that no new era is needed.
    fn is_already(&self, word: Word, plan: &Plan) -> bool {
        let close = |a: Tick, b: Option<Tick>| {
            let (Some(a), Some(b)) = (a.known(), b) else { return a.known() == b };
            // Two deadlines that have both passed count as the same, because the next call ends the opening or the hold
            // in both cases.
            let (a, b) = (a.max(plan.now), b.max(plan.now));
            let apart = a.saturating_since(b).max(b.saturating_since(a));
            apart <= SAME_DEADLINE
        };
        let inner = self.inner();
        // Restored probe successes must not be lost when the circuit is already half-open. The successes cannot be
        // added within the era either, because they could complete the verdict. Therefore a new era begins. The
        // evidence of a closed circuit can be added within the era, because only the next failure weighs the evidence.
        let brings_successes = plan.successes > inner.probes.verdict(word.era()).successes;
        word.standing() == plan.standing
            && (word.state() != State::Open || close(inner.open_until(), plan.open_until))
            && (!word.mode().is_hold() || close(inner.hold_until(), plan.hold_until))
            && !(brings_successes && plan.reason == Reason::Restored)
    }
}

#[cfg(any(feature = "store", test))]
impl Circuit {
    /// Makes callers wait until the circuit is [`restored`](Self::restored), even if the circuit changes its state
    /// during the wait. A service waits in `poll_ready`. An async call without tower, and `acquire`, wait before the
    /// admission.
    ///
    /// `try_acquire`, `call_blocking` and calls with a permit never wait. Neither do the callers of a circuit that the
    /// kill switch names.
    pub(crate) fn await_restore(&self) {
        self.change_wait(Word::awaiting_restore);
    }

    /// Ends the wait, with or without a restore, so that every waiting task and thread checks the circuit again.
    pub(crate) fn restored(&self) {
        if self.change_wait(Word::restored) {
            // The tasks are woken after the word is stored, so that a woken task finds the change. The tasks are woken
            // outside the lock, because a waker is foreign code.
            self.inner().wakers.wake();
        }
    }

    /// Publishes the word that `change` returns. Returns true if this word differs from the word before.
    fn change_wait(&self, change: impl FnOnce(Word) -> Word) -> bool {
        let inner = self.inner();
        let _cold = inner.cold.lock();
        // Relaxed, because the word changes only under the lock, which this thread holds.
        let word = Word::from_bits(inner.word.load(Relaxed));
        let next = change(word);
        if next != word {
            // Release, which pairs with the Acquire in `load`. A thread that sees this word must see the data of the
            // era, which another thread may have written under the lock before.
            inner.word.store(next.bits(), Release);
        }
        next != word
    }
}

#[cfg(feature = "store")]
impl Circuit {
    /// Returns true if the circuit has counted a failure or made a transition since its creation. Only then would a
    /// record of the circuit have content.
    pub(crate) fn has_history(&self) -> bool {
        self.inner().load().era() > super::inner::FIRST_ERA || self.totals().failures > 0
    }

    /// Returns the transitions after the start of `era`, oldest first, and the number of such transitions that the
    /// circuit has forgotten.
    pub(crate) fn transitions_since(&self, era: u64) -> (Vec<Transition>, u64) {
        let inner = self.inner();
        // The lock is held so that no transition comes between the reads of word and history.
        let cold = inner.cold.lock();
        let known: Vec<_> = cold.history.iter().filter(|edge| edge.era > era).cloned().collect();
        let oldest = known.first().map_or(inner.load().era() + 1, |edge| edge.era);
        // Each era but the first began with one transition, so the number of missing eras is the number of forgotten
        // transitions.
        let forgotten = oldest.saturating_sub(era.max(super::inner::FIRST_ERA) + 1);
        (known, forgotten)
    }

    /// Sets the generation to the generation of the stored record that this instance has read or written last, and
    /// changes nothing else.
    pub(crate) fn stamp(&self, generation: Generation) {
        self.inner().cold.lock().generation = generation;
    }

    /// Keeps the parts of a record by which orders on this circuit are judged. The parts are the newest generation in
    /// the record, the ids and hashes of its orders, and the recorded time since the circuit has left the closed state
    /// or was tripped.
    pub(crate) fn observe_record(
        &self,
        latest: Generation,
        orders: &[(&str, Option<OrderHash>)],
        tripped_for: Option<Duration>,
    ) {
        let now = self.inner().now();
        let mut cold = self.inner().cold.lock();
        if cold.past().is_none() && latest == Generation::default() {
            // The record has no change of an operator or of an instance, so nothing has to be kept. The early return
            // saves the allocation of `Past`, which most circuits never need.
            return;
        }
        let past = cold.past_mut();
        past.latest = past.latest.max(latest);
        orders.iter().for_each(|(id, hash)| past.remember(id, *hash));
        past.tripped_elsewhere = tripped_for.map(|ago| Since::new(now, ago));
    }
}

/// The result of the takeover of a snapshot.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// The transition to the state or the mode of the snapshot. `None` if the circuit made no transition.
    pub(crate) edge: Option<Transition>,
    /// True if the circuit stays closed because its group has no open slot.
    #[cfg_attr(not(feature = "store"), expect(dead_code, reason = "only a coordinator needs the answer"))]
    pub(crate) is_suppressed: bool,
}

/// Returns the snapshot with the state closed, because the group of the circuit has no open slot for another state. The
/// mode and the number of openings in a row stay.
fn kept_closed(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        mode: snapshot.mode,
        generation: snapshot.generation,
        held_for: snapshot.held_for,
        attempt: snapshot.attempt,
        tripped_for: snapshot.tripped_for.filter(|_| snapshot.mode.is_hold()),
        ..Snapshot::closed()
    }
}

/// The error of a takeover that came too late, because the era that the caller expected is over.
#[derive(Debug)]
pub(crate) struct Moved;

/// The largest difference of two deadlines that count as the same. A deadline from a record is not exact, because it
/// was converted between the clocks of two instances.
const SAME_DEADLINE: Duration = Duration::from_millis(250);
