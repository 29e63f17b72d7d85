//! The seam to stores and to other instances: snapshots, advice, transitions since an era, and the wait for a restore.
//!
//! The wait is one bit of the word, so that a circuit that awaits nothing pays nothing for the wait. It begins and ends within an
//! era, so that permits stay valid and a transition meanwhile does not end the wait.

#[cfg(all(test, not(breaker_loom)))]
mod tests;

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
use crate::state::{Reason, Snapshot, Standing, State, Transition};
use crate::sync::Relaxed;
#[cfg(any(feature = "store", test))]
use crate::sync::Release;
use crate::window::Tally;

impl Circuit {
    /// Returns what of the circuit outlives the process.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        // Under the lock no transition comes between the parts.
        let cold = inner.cold.lock();
        let (word, now) = (inner.load(), inner.now());
        let left = |until: Tick| (until != Tick::NEVER).then(|| until.saturating_since(now));
        Snapshot {
            state: word.state(),
            mode: word.mode(),
            generation: cold.generation,
            open_for: left(inner.open_until()).filter(|_| word.state() == State::Open),
            held_for: left(inner.hold_until()).filter(|_| word.mode().is_hold()),
            attempt: cold.attempt,
            probe_successes: inner.probes.verdict(word.era()).successes,
            run: score_from_units(inner.run.weight(word.era())),
            tally: if word.state() == State::Closed { inner.tally(word.era(), now) } else { Tally::EMPTY },
            tripped_for: cold.tripped_for(now),
        }
    }

    /// Takes over a snapshot, of this circuit's past or of another instance, with the reason that is then told.
    ///
    /// If state, mode and deadlines are what they were (to a quarter of a second), only the generation is taken: the era goes
    /// on, and calls under way still count. Otherwise a new era begins, and the transition is returned. Nothing in a snapshot
    /// is trusted: an opening lasts no longer than this circuit's own could, and as long as its own would if it does not say;
    /// numbers that make no sense are zero.
    ///
    /// A closed circuit that is [restored](Reason::Restored) to closed also takes the attempts, and adds run and sums to what it
    /// has seen itself: however late that is, its own evidence counts on. They trip it at the next failure, not here, and are in
    /// no [`Totals`](super::Totals).
    pub fn adopt(&self, snapshot: &Snapshot, reason: Reason) -> Option<Transition> {
        self.adopt_if(|_| true, snapshot, reason).unwrap_or_default()
    }

    /// Takes over a snapshot if the circuit is still in that era.
    #[cfg(feature = "store")]
    pub(crate) fn adopt_at(&self, era: u64, snapshot: &Snapshot, reason: Reason) -> Result<Option<Transition>, Moved> {
        self.adopt_if(|word| word.era() == era, snapshot, reason)
    }

    fn adopt_if(
        &self,
        expected: impl FnOnce(Word) -> bool,
        snapshot: &Snapshot,
        reason: Reason,
    ) -> Result<Option<Transition>, Moved> {
        let inner = self.inner();
        let now = inner.now();
        let own = inner.config.open.of(snapshot.attempt.max(1), inner.random(snapshot.generation.get()));
        let open_for = snapshot.open_for.unwrap_or(own).min(inner.config.open.longest());
        let mut moved = false;
        let edge = inner.change_any(|cold, word| {
            moved = !expected(word);
            if moved {
                return None;
            }
            cold.generation = snapshot.generation;
            let plan = self.planned(snapshot, reason, now, open_for);
            // How long the last opening was is not told, only what is left of it: less would let the attempts decay too soon.
            let last_open = if snapshot.state == State::Open { open_for.max(own) } else { own };
            if !self.is_already(word, &plan) {
                (cold.attempt, cold.last_open) = (snapshot.attempt, last_open);
                return Some(plan);
            }
            if plan.reason == Reason::Restored && word.state() == State::Closed {
                // Attempts that are the same are its own: it knows better how long the last opening was.
                if cold.attempt != snapshot.attempt {
                    (cold.attempt, cold.last_open) = (snapshot.attempt, last_open);
                }
                // In the order of `count`: whoever sees the run sees the sums.
                inner.evidence.seed(word.era(), now, plan.tally);
                inner.run.seed(word.era(), plan.run);
            }
            None
        });
        if moved { Err(Moved) } else { Ok(edge) }
    }

    /// Takes the advice of another instance, whose circuit for the same service opened: for a while, less evidence is enough.
    ///
    /// Until `lasts` has passed, `min_calls` and `consecutive_failures` are a quarter of those configured, rounded up, and at
    /// least 2; shares and scores stay. What trips because of that says so ([`Reason::Advised`]). Advice outlasts every
    /// transition; a later one replaces it, and one of zero ends it.
    pub fn advise(&self, lasts: Duration) {
        let inner = self.inner();
        let until = if lasts.is_zero() { Tick::ZERO } else { inner.now().saturating_add(lasts) };
        // Relaxed: a deadline that publishes nothing; `weigh` says what follows from seeing it late.
        inner.advised_until.store(until.as_nanos(), Relaxed);
    }

    fn planned(&self, snapshot: &Snapshot, reason: Reason, now: Tick, open_for: Duration) -> Plan {
        let mut plan = Plan::new(Standing::new(snapshot.state, snapshot.mode), reason, now);
        plan.tripped_for = snapshot.tripped_for;
        if snapshot.state == State::Open && self.inner().config.recovery == Recovery::Automatic {
            plan.open_until = now.saturating_add(open_for);
        }
        if snapshot.mode.is_hold() {
            plan.hold_until = snapshot.held_for.map_or(Tick::NEVER, |hold| now.saturating_add(hold));
        }
        if snapshot.state == State::Closed {
            (plan.run, plan.tally) = (units_from_score(snapshot.run), snapshot.tally);
        }
        if snapshot.state == State::HalfOpen {
            plan.successes = snapshot.probe_successes;
        }
        plan
    }

    fn is_already(&self, word: Word, plan: &Plan) -> bool {
        let close = |a: Tick, b: Tick| {
            // When a deadline has passed, it no longer matters when it did.
            let (a, b) = (a.max(plan.now), b.max(plan.now));
            let apart = a.saturating_since(b).max(b.saturating_since(a));
            apart <= SAME_DEADLINE
        };
        let inner = self.inner();
        // Successes brought along must not vanish because the circuit is half-open already; nor can they be added, as they would
        // have to be weighed. A closed circuit weighs what it is brought at the next failure.
        let brings_successes = plan.successes > inner.probes.verdict(word.era()).successes;
        word.standing() == plan.standing
            && (word.state() != State::Open || close(inner.open_until(), plan.open_until))
            && (!word.mode().is_hold() || close(inner.hold_until(), plan.hold_until))
            && !(brings_successes && plan.reason == Reason::Restored)
    }
}

#[cfg(any(feature = "store", test))]
impl Circuit {
    /// Lets services wait in `poll_ready` until the circuit is [`restored`](Self::restored), whatever happens to it meanwhile.
    ///
    /// Bare permits and calls never wait, nor does anybody under the kill switch.
    pub(crate) fn await_restore(&self) {
        self.change_wait(Word::awaiting_restore);
    }

    /// Ends the wait, with or without a restore: every service looks again.
    pub(crate) fn restored(&self) {
        if self.change_wait(Word::restored) {
            // After the word, so that whoever is woken finds it; and outside the lock, as a task is foreign code.
            self.inner().wakers.wake();
        }
    }

    /// Publishes what `change` makes of the word; whether that is another one.
    fn change_wait(&self, change: impl FnOnce(Word) -> Word) -> bool {
        let inner = self.inner();
        let _cold = inner.cold.lock();
        // Relaxed: the word only changes under the lock that we hold.
        let word = Word::from_bits(inner.word.load(Relaxed));
        let next = change(word);
        if next != word {
            // Release: pairs with the Acquire in `load`. The data of the era were written under the lock before, and whoever sees
            // this word must see them too.
            inner.word.store(next.bits(), Release);
        }
        next != word
    }
}

#[cfg(feature = "store")]
impl Circuit {
    pub(crate) fn standing(&self) -> Standing {
        self.inner().load().standing()
    }

    /// Whether a record of it would say anything: it has failed, or was once something else than it began as.
    #[cfg(feature = "keyed")]
    pub(crate) fn has_history(&self) -> bool {
        self.inner().load().era() > super::inner::FIRST_ERA || self.totals().failures > 0
    }

    /// Returns the transitions that began a later era than `era`, oldest first, and how many more there were that are forgotten.
    pub(crate) fn transitions_since(&self, era: u64) -> (Vec<Transition>, u64) {
        let inner = self.inner();
        // Under the lock no transition comes between word and history.
        let cold = inner.cold.lock();
        let known: Vec<_> = cold.history.iter().filter(|edge| edge.era > era).cloned().collect();
        let oldest = known.first().map_or(inner.load().era() + 1, |edge| edge.era);
        // One era each; no transition began the first one, whatever era the caller knows of.
        let forgotten = oldest.saturating_sub(era.max(super::inner::FIRST_ERA) + 1);
        (known, forgotten)
    }

    /// Sets the generation of the record that the circuit is in step with, and nothing else.
    pub(crate) fn stamp(&self, generation: Generation) {
        self.inner().cold.lock().generation = generation;
    }

    /// Hears what orders given here must know of the record: its newest number, the orders that it has, and how long ago the
    /// circuit left closed elsewhere.
    pub(crate) fn heard(&self, latest: Generation, orders: &[String], tripped_for: Option<Duration>) {
        let now = self.inner().now();
        let mut cold = self.inner().cold.lock();
        if cold.past().is_none() && latest == Generation::default() {
            // Most records say nothing, and most circuits never need to know more.
            return;
        }
        let past = cold.past_mut();
        past.latest = past.latest.max(latest);
        orders.iter().for_each(|order| past.remember(order));
        past.tripped_elsewhere = tripped_for.map(|ago| Since::new(now, ago));
    }

    /// The trip that was just taken over is of that long ago.
    pub(crate) fn tripped_before(&self, ago: Duration) {
        let now = self.inner().now();
        let mut cold = self.inner().cold.lock();
        let tripped = &mut cold.past_mut().tripped;
        *tripped = tripped.map(|since| Since::new(now, since.passed(now).max(ago)));
    }
}

/// The circuit is in another era by now.
#[derive(Debug)]
pub(crate) struct Moved;

/// Two deadlines that went through a record and a clock's offset are the same if they are this close.
const SAME_DEADLINE: Duration = Duration::from_millis(250);
