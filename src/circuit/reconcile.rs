//! What the coordinator asks of a circuit, beside snapshots and advice: what has happened since it last looked, and to let
//! services wait for the restore.
//!
//! The wait is a bit of the word, so that a circuit that awaits nothing pays nothing for it. It begins and ends within an era:
//! permits stay valid, and whatever changes meanwhile leaves it alone.

#[cfg(feature = "store")]
use core::time::Duration;

use super::Circuit;
#[cfg(feature = "store")]
use super::past::Since;
use super::word::Word;
#[cfg(feature = "store")]
use crate::clock::Tick;
#[cfg(feature = "store")]
use crate::state::{Generation, Standing, Transition};
use crate::sync::{Relaxed, Release};

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

    /// Returns the tick that it is by the circuit's clock.
    pub(crate) fn now(&self) -> Tick {
        self.inner().now()
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

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use core::time::Duration;

    use super::super::{Peek, To};
    use super::*;
    use crate::config::{Config, OpenDuration};
    use crate::outcome::{Failure, Outcome};
    use crate::state::{By, State};

    fn circuit() -> Circuit {
        let open_for = OpenDuration::fixed(Duration::from_secs(60));
        Circuit::new(
            Config::builder("orders").consecutive_failures(1).open_for(open_for).build().expect("they are valid"),
        )
    }

    fn by() -> By {
        By::new("alice", "a test").expect("it is valid")
    }

    #[test]
    fn whoever_does_not_poll_for_readiness_does_not_wait_for_a_restore() {
        let circuit = circuit();
        circuit.await_restore();
        assert_eq!((circuit.peek(), circuit.status().retry_after), (Peek::AwaitsRestore, None));
        circuit.try_acquire().expect("it is closed").success();
        circuit.try_acquire().expect("it is closed").failure(Failure::hard());
        assert!(circuit.try_acquire().is_err(), "it opens as ever");
        assert!(circuit.status().retry_after.is_some(), "and says for how long");
        assert_eq!(circuit.totals().stale, 0);
        assert_eq!(circuit.peek(), Peek::AwaitsRestore, "no transition ends the wait");
        circuit.restored();
        assert!(matches!(circuit.peek(), Peek::Rejecting(Some(_))));
        circuit.reset(&by(), To::Closed);
        assert_eq!(circuit.peek(), Peek::MayPass, "nor does it come back");
    }

    #[test]
    fn the_wait_begins_and_ends_within_an_era() {
        let circuit = circuit();
        let before = circuit.try_acquire().expect("it is closed");
        circuit.await_restore();
        circuit.await_restore();
        let between = circuit.try_acquire().expect("it is closed");
        circuit.restored();
        circuit.restored();
        before.success();
        assert_eq!(circuit.totals().successes, 1);
        between.failure(Failure::hard());
        assert_eq!((circuit.status().state, circuit.status().era, circuit.totals().stale), (State::Open, 2, 0));
    }

    #[test]
    fn a_transition_decided_before_the_wait_changed_is_not_lost() {
        let circuit = circuit();
        for change in [Circuit::await_restore, Circuit::restored] {
            circuit.reset(&by(), To::Closed);
            let seen = circuit.inner().load();
            change(&circuit);
            let reason = crate::state::Reason::ProbesPassed { successes: 1, half_open_for: Duration::ZERO };
            circuit.inner().trip(seen, circuit.inner().now(), reason, None);
            assert_eq!(circuit.status().state, State::Open);
        }
    }

    #[test]
    fn an_error_of_readiness_counts_while_a_restore_is_awaited() {
        let circuit = circuit();
        circuit.await_restore();
        circuit.record_ready_error(Outcome::failure());
        assert_eq!(circuit.status().state, State::Open);
        circuit.record_ready_error(Outcome::failure());
        assert_eq!(circuit.totals().rejected, 0, "no call was made");
    }

    #[cfg(feature = "store")]
    #[test]
    fn transitions_since_an_era_are_oldest_first_and_the_forgotten_are_counted() {
        let circuit = circuit();
        assert_eq!((circuit.status().era, circuit.transitions_since(0)), (1, (Vec::new(), 0)));
        for _ in 0..2 {
            circuit.reset(&by(), To::Closed);
        }
        let eras = |since| {
            let (edges, forgotten) = circuit.transitions_since(since);
            (edges.iter().map(|edge| edge.era).collect::<Vec<_>>(), forgotten)
        };
        assert_eq!([eras(0), eras(1), eras(2)], [(vec![2, 3], 0), (vec![2, 3], 0), (vec![3], 0)]);
        assert_eq!([eras(3), eras(77), eras(u64::MAX - 1)], [(vec![], 0), (vec![], 0), (vec![], 0)]);
        for _ in 0..128 {
            circuit.reset(&by(), To::Closed);
        }
        assert_eq!(eras(1), ((4..=131).collect(), 2), "two and three are forgotten");
        assert_eq!(eras(2).1, 1);
        assert_eq!(eras(3), ((4..=131).collect(), 0));
        assert_eq!((eras(130), circuit.status().era), ((vec![131], 0), 131));
    }

    #[cfg(feature = "store")]
    #[test]
    fn a_stamp_changes_the_generation_and_nothing_else() {
        let circuit = circuit();
        circuit.try_acquire().expect("it is closed").success();
        let in_flight = circuit.try_acquire().expect("it is closed");
        let mut expected = circuit.status();
        circuit.stamp(Generation::new(7));
        let mut after = circuit.status();
        expected.generation = Generation::new(7);
        (expected.since, after.since) = (Duration::ZERO, Duration::ZERO);
        assert_eq!(after, expected);
        in_flight.success();
        assert_eq!(circuit.totals().stale, 0);
        assert!(circuit.now() > Tick::ZERO);
    }
}
