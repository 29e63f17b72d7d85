//! The methods of a circuit for stores and for other instances: snapshots and restores, advice, the transitions since
//! an era, and the wait for a restore.
//!
//! While the circuit waits for a restore, services wait in `poll_ready`, and calls without tower wait before they are
//! admitted (`call.rs`). The wait is one bit of the circuit's atomic word, which each call loads anyway. Therefore the
//! wait costs other calls nothing. Neither the beginning nor the end of the wait starts a new era, so permits stay
//! valid. A transition does not end the wait.
//!
//! The coordinator calls these methods, and reads and writes the records.

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
    /// Returns the state of the circuit, for a restore after a restart.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        // The lock prevents a transition while the parts of the snapshot are read.
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

    /// Takes the state of a snapshot, which is an earlier state of this circuit or the state on another instance.
    /// Returns the transition, or `None` if the circuit makes no transition. `reason` becomes the reason of the
    /// transition, and is shown together with the [`earlier`](Snapshot::earlier) reason of the snapshot.
    ///
    /// The circuit makes no transition if the circuit already has the state, the mode and the deadlines of the
    /// snapshot. Deadlines may differ by a quarter of a second. Without a transition, calls under way still count. The
    /// circuit takes only the generation, and at a restore of a closed circuit also the evidence (see below). If the
    /// snapshot has another state, another mode or another deadline, the circuit makes a transition, and the calls
    /// under way count only in the totals. A half-open circuit also makes a transition if a restore adds successful
    /// probes.
    ///
    /// The numbers of a snapshot are checked. The circuit stays open at most for the longest open duration of the
    /// configuration, or for five minutes (the limit of a `Retry-After`), whichever is longer. If the snapshot has no
    /// open duration, the configuration decides on the open duration. Invalid numbers count as zero.
    ///
    /// A closed circuit that is [restored](Reason::Restored) to closed also takes the number of openings in a row and
    /// the ramp. The failures since the last success (the run) and the sums of the snapshot are added to the evidence
    /// of the circuit. Therefore no evidence is lost if the restore comes late. The added evidence can trip the circuit
    /// at the next failure, but not during the restore. [`Totals`](super::Totals) do not include the added evidence.
    ///
    /// A closed circuit needs an open slot of its [group](crate::Group) to take another state from a snapshot. If there
    /// is no free open slot, the circuit stays closed in the mode of the snapshot.
    pub fn adopt(&self, snapshot: &Snapshot, reason: Reason) -> Option<Transition> {
        self.adopt_if(|_| true, snapshot, reason, false).ok()?.edge
    }

    /// Takes the state of a snapshot if the circuit is still in `era`. Returns [`Moved`] if a later era has begun. The
    /// caller must log a restore, because the circuit does not know the name of the store.
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
            // The snapshot has only the remaining part of the open duration. The full duration is unknown, and is
            // assumed to be at least the duration that this circuit would choose. The number of openings in a row
            // decreases by one each time that the circuit has been closed for this duration, so that a shorter duration
            // would reduce the number too early.
            let last_open = if snapshot.state == State::Open { open_for.max(own) } else { own };
            if !self.is_already(word, &plan) {
                (cold.attempt, cold.last_open) = (attempt, last_open);
                // The circuit may be open or half-open without an open slot of its group, because an operator can open
                // a circuit without a slot. If the circuit stays open or half-open after this change, it takes a slot
                // now, provided that a slot is free.
                if plan.standing.state != State::Closed {
                    inner.take_slot(cold, word);
                }
                return Some(plan);
            }
            if plan.reason == Reason::Restored && word.state() == State::Closed {
                // If the number of openings in a row is the same as in the snapshot, the circuit keeps its own values,
                // which are more exact.
                if inner.openings_that_count(cold, word, now) != attempt {
                    (cold.attempt, cold.last_open) = (attempt, last_open);
                }
                // The sums are added before the run (the failures since the last success), so that a thread that sees
                // the run also sees the sums. `count` uses the same order.
                inner.evidence.seed(word.era(), now, plan.tally);
                inner.run.seed(word.era(), plan.run);
                inner.resume_limit(word, plan.closed_for, plan.tally, now);
            }
            None
        });
        let is_suppressed = suppressed_in.is_some();
        if let Some(word) = suppressed_in {
            // Records the suppressed opening for the present era. A circuit that stays closed without a slot still
            // takes the mode of the snapshot. If the mode or the end of a hold has changed, the change has begun a new
            // era, and the era of `word` is over.
            inner.suppress(edge.as_ref().map_or(word.era(), |edge| edge.era), now, &suppressed_for);
        }
        if moved { Err(Moved) } else { Ok(Adopted { edge, is_suppressed }) }
    }

    /// Lowers the thresholds of the trip rules for a while. Call this method when another instance has opened its
    /// circuit for the same service.
    ///
    /// Until `lasts` has passed, `min_calls` and `consecutive_failures` are a quarter of the configured values, rounded
    /// up and at least 2, but never more than configured. The limits of rates and scores do not change. If a rule is
    /// met only because of the advice, the reason is [`Reason::Advised`]. A transition does not end the advice. Later
    /// advice replaces earlier advice, and a `lasts` of zero ends the advice.
    ///
    /// With lower thresholds, chance could open a healthy circuit. Therefore advice adds a condition. A run (failures
    /// without a success between them) or a rate trips the circuit only if the run or the rate is very unlikely at the
    /// usual error rate of the circuit. Because of this condition, a minute of advice opens a healthy circuit with a
    /// probability of at most 1 %. The usual error rate is the weight of the failures divided by the number of calls,
    /// over all calls of this process except the calls in the present window and run. The usual rate is at most half of
    /// the limit of the rule. Before the first success of the circuit, the condition does not apply, and the lower
    /// thresholds alone are enough.
    pub fn advise(&self, lasts: Duration) {
        self.advise_beside(0.0, lasts);
    }

    /// Lowers the thresholds as [`advise`](Self::advise) does. `usual` is the error rate of this circuit in the last
    /// minutes. The rules then compare new failures with this rate, or with the error rate since the start of the
    /// process, whichever is higher.
    pub(crate) fn advise_beside(&self, usual: f64, lasts: Duration) {
        let inner = self.inner();
        inner.set_usual(usual);
        let until = if lasts.is_zero() { Tick::ZERO } else { inner.now().saturating_add(lasts) };
        // Relaxed, because the deadline publishes no other data. A thread that still reads the old deadline decides as
        // if the advice had come later. A thread that reads the new deadline may still read the old rate from
        // `set_usual`, and then uses the old rate once more.
        inner.advised_until.store(until.as_nanos(), Relaxed);
    }

    /// Returns the plan of a change to the state of the snapshot. The plan has only the parts that the new state needs.
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

    /// Returns true if the circuit already has the state, the mode and the deadlines of the plan, so that no change is
    /// needed.
    fn is_already(&self, word: Word, plan: &Plan) -> bool {
        let close = |a: Tick, b: Option<Tick>| {
            let (Some(a), Some(b)) = (a.known(), b) else { return a.known() == b };
            // Two deadlines that have both passed count as equal, because the next call ends the open state or the hold
            // in both cases.
            let (a, b) = (a.max(plan.now), b.max(plan.now));
            let apart = a.saturating_since(b).max(b.saturating_since(a));
            apart <= SAME_DEADLINE
        };
        let inner = self.inner();
        // If the circuit is already half-open, the restored successes of probes must not be lost. Enough successes
        // close the circuit only at the end of a probe. If the circuit added the successes in the present era, the sum
        // could be enough to close the circuit, but perhaps no further probe would end. Therefore a new era begins with
        // the restored successes, but with at least one success fewer than the circuit needs to close. A closed circuit
        // can add evidence in the present era, because the evidence is judged only at the next failure.
        let brings_successes = plan.successes > inner.probes.verdict(word.era()).successes;
        word.standing() == plan.standing
            && (word.state() != State::Open || close(inner.open_until(), plan.open_until))
            && (!word.mode().is_hold() || close(inner.hold_until(), plan.hold_until))
            && !(brings_successes && plan.reason == Reason::Restored)
    }
}

#[cfg(any(feature = "store", test))]
impl Circuit {
    /// Makes callers wait until [`restored`](Self::restored) is called, even if the circuit changes its state before. A
    /// service waits in `poll_ready`. Async calls without tower and `acquire` wait before the admission.
    ///
    /// `try_acquire`, `call_blocking` and calls with a permit never wait. If the kill switch is set for the circuit, no
    /// caller waits.
    pub(crate) fn await_restore(&self) {
        self.change_wait(Word::awaiting_restore);
    }

    /// Ends the wait for a restore, and wakes every waiting task and thread. The circuit may have been restored or not.
    pub(crate) fn restored(&self) {
        if self.change_wait(Word::restored) {
            // The tasks are woken after the store of the word, so that a woken task sees the end of the wait. The lock
            // is free at this point, because a waker is foreign code.
            self.inner().wakers.wake();
        }
    }

    /// Replaces the circuit's atomic word by the word that `change` returns. Returns true if the word has changed.
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
    /// Returns true if the circuit has counted a failure or made a transition since its creation. Otherwise a record of
    /// the circuit would be empty.
    pub(crate) fn has_history(&self) -> bool {
        self.inner().load().era() > super::inner::FIRST_ERA || self.totals().failures > 0
    }

    /// Returns the transitions that came after the start of `era`, oldest first. Also returns the number of older
    /// transitions that are missing in the list, because the circuit keeps only the last 128 transitions.
    pub(crate) fn transitions_since(&self, era: u64) -> (Vec<Transition>, u64) {
        let inner = self.inner();
        // The lock prevents a transition between the reads of the history and of the word.
        let cold = inner.cold.lock();
        let known: Vec<_> = cold.history.iter().filter(|edge| edge.era > era).cloned().collect();
        let oldest = known.first().map_or(inner.load().era() + 1, |edge| edge.era);
        // Each era except the first era began with one transition. Therefore the number of missing eras is the number
        // of missing transitions.
        let forgotten = oldest.saturating_sub(era.max(super::inner::FIRST_ERA) + 1);
        (known, forgotten)
    }

    /// Sets the generation of the circuit to the generation of the stored record that this instance has read or written
    /// last. Changes nothing else.
    pub(crate) fn stamp(&self, generation: Generation) {
        self.inner().cold.lock().generation = generation;
    }

    /// Keeps the parts of a stored record that are needed to accept or refuse orders on this circuit. The parts are the
    /// newest generation, the ids and hashes of earlier orders, and the time since the circuit has left the closed
    /// state or was tripped.
    pub(crate) fn observe_record(
        &self,
        latest: Generation,
        orders: &[(&str, Option<OrderHash>)],
        tripped_for: Option<Duration>,
    ) {
        let now = self.inner().now();
        let mut cold = self.inner().cold.lock();
        if cold.past().is_none() && latest == Generation::default() {
            // No instance and no operator has changed the record yet, so there is nothing to keep. The early return
            // saves the allocation of `Past`, which most circuits never need.
            return;
        }
        let past = cold.past_mut();
        past.latest = past.latest.max(latest);
        orders.iter().for_each(|(id, hash)| past.remember(id, *hash));
        past.tripped_elsewhere = tripped_for.map(|ago| Since::new(now, ago));
    }
}

/// The result of the adoption of a snapshot.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// The transition of the circuit. `None` if the circuit made no transition.
    pub(crate) edge: Option<Transition>,
    /// True if the circuit stays closed because its group has no free open slot.
    #[cfg_attr(not(feature = "store"), expect(dead_code, reason = "only a coordinator needs the answer"))]
    pub(crate) is_suppressed: bool,
}

/// Returns a copy of the snapshot with the closed state, but with the same mode and the same number of openings in a
/// row. Used if the group of the circuit has no free open slot.
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

/// The error if a snapshot comes too late, because the era that the caller expected has ended.
#[derive(Debug)]
pub(crate) struct Moved;

/// The largest difference of two deadlines that count as equal. A deadline from a record is inexact, because the
/// deadline was converted between the clocks of two instances.
const SAME_DEADLINE: Duration = Duration::from_millis(250);
