//! Two threads at once: whatever the interleaving, at quiescence no outcome is lost and none counts twice.
//!
//! Which calls a ring holds after a race is open; what it must hold after one more lap by one thread is not.
//!
//! Planted in a copy of `src`: sums paid with a plain store are found each time, totals that forget an outcome that comes too
//! late for its bucket in one run of ten.

use std::sync::mpsc;
use std::thread;

use tower_circuit_breaker::circuit::{Status, To, Totals};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::{ConfigBuilder, OpenDuration};
use tower_circuit_breaker::{Circuit, Failure, State, Window};

use crate::dice::Dice;
use crate::rig::{admit, alice, millis, no_rules, rig, secs};

#[test]
fn after_two_threads_a_call_window_holds_exactly_the_last_calls() {
    for calls in [7, 100, 10_000, 1_000_000] {
        let (circuit, _) = never_opens(|settings| settings.window(Window::calls(calls)));
        let made = race(&circuit, 50_000, || {});
        assert_eq!(circuit.totals(), made.totals, "ring of {calls}: each outcome counts once");
        assert_eq!(circuit.status().tally.calls(), made.recorded().min(calls.into()), "ring of {calls}");
        if made.recorded() <= calls.into() {
            assert_holds(&circuit, &made, "a ring with room for all");
        }
        // A sum that a race put wrong would stay wrong for ever: now every slot is replaced by one that is known.
        let mut lap = Made::default();
        (0..calls).for_each(|call| lap.make(&circuit, if call % 3 == 0 { TIMEOUT } else { SUCCESS }));
        assert_holds(&circuit, &lap, &format!("ring of {calls} after one more lap"));
    }
}

#[test]
fn after_two_threads_a_time_window_holds_exactly_their_calls() {
    for sharded in [false, true] {
        let (circuit, _) = never_opens(|settings| if sharded { settings.sharded() } else { settings });
        let made = race(&circuit, 50_000, || {});
        assert_eq!(circuit.totals(), made.totals, "sharded: {sharded}");
        assert_holds(&circuit, &made, "one bucket of one era");
    }
}

#[test]
fn the_totals_forget_no_outcome_while_eras_and_buckets_change() {
    for (round, window) in (0..50).zip([Window::calls(50), Window::time(secs(1))].into_iter().cycle()) {
        let (circuit, clock) = never_opens(|settings| settings.window(window));
        let made = race(&circuit, 2_000, || next_era(&circuit, |era| clock.advance(millis(era % 2 * 100))));
        let mut totals = circuit.totals();
        // How many came home to another era is chance; they are among the others too.
        totals.stale = 0;
        assert_eq!(totals, made.totals, "round {round}, {window}");
        circuit.reset(&alice(), To::Closed);
        let mut last = Made::default();
        (0..20).for_each(|_| last.make(&circuit, HARD));
        assert_holds(&circuit, &last, "a new era holds what belongs to it");
    }
}

#[test]
fn three_hundred_threads_that_come_and_go_lose_no_outcome() {
    for spread in [false, true] {
        let (circuit, _) = never_opens(|settings| {
            let settings = settings.window(Window::time(secs(24 * 3600)));
            if spread { settings.sharded() } else { settings }
        });
        let mut made = Made::default();
        for generation in 0..60 {
            // More threads at once than there are cells on two cores.
            made = thread::scope(|scope| {
                let callers: Vec<_> = (0..5)
                    .map(|thread| {
                        let circuit = &circuit;
                        scope.spawn(move || {
                            let (mut made, mut dice) = (Made::default(), Dice::new(generation * 5 + thread));
                            (0..2_000).for_each(|_| made.make(circuit, dice.roll(500)));
                            made
                        })
                    })
                    .collect();
                let each = callers.into_iter().map(|caller| caller.join().expect("a caller does not panic"));
                each.fold(made, Made::plus)
            });
            let mut totals = circuit.totals();
            totals.rejected = 0;
            assert_eq!(totals, made.totals, "generation {generation}, spread: {spread}");
            assert_holds(&circuit, &made, &format!("generation {generation}, spread: {spread}"));
        }
    }
}

#[test]
fn a_permit_that_ends_on_another_thread_counts_once() {
    for spread in [false, true] {
        let (circuit, _) = never_opens(|settings| if spread { settings.sharded() } else { settings });
        for round in 1..=2_000 {
            let permit = admit(&circuit);
            if round % 2 == 0 { permit.success() } else { thread::spawn(move || permit.success()).join().unwrap() }
        }
        assert_eq!((circuit.totals().successes, circuit.status().tally.calls()), (2_000, 2_000), "spread: {spread}");
    }
}

#[test]
fn a_circuit_that_spreads_under_concurrent_resets_loses_no_outcome() {
    for round in 0..200 {
        // Not sharded, so that the callers spread it, in whichever era that happens to be.
        let (circuit, _) = never_opens(|settings| settings);
        let made = race(&circuit, 2_000, || next_era(&circuit, |_| {}));
        let mut totals = circuit.totals();
        totals.stale = 0;
        assert_eq!(totals, made.totals, "round {round}");
        let mut last = Made::default();
        circuit.reset(&alice(), To::Closed);
        (0..20).for_each(|_| last.make(&circuit, SUCCESS));
        assert_holds(&circuit, &last, "a new era holds what belongs to it");
    }
}

#[test]
fn a_call_does_not_wait_for_a_transition_of_another_thread() {
    for sharded in [false, true] {
        let (asked, is_asked) = mpsc::channel();
        let (answer, answered) = mpsc::channel();
        #[expect(clippy::disallowed_types, reason = "a receiver is not `Sync`, and this lock belongs to the test")]
        let ends = std::sync::Mutex::new(Some((asked, answered)));
        // Runs under the lock of a transition, which lasts until the calls are done.
        let open = OpenDuration::from_fn(move |_| {
            if let Some((asked, answered)) = ends.lock().unwrap().take() {
                asked.send(()).unwrap();
                answered.recv_timeout(secs(30)).unwrap();
            }
            secs(5)
        });
        let (circuit, _) = rig(|settings| {
            let settings = settings.consecutive_failures(1).open_for(open);
            if sharded { settings.sharded() } else { settings }
        });
        thread::scope(|scope| {
            // The first cell is this thread's, so the calls of the others are contended.
            admit(&circuit).success();
            let permit = admit(&circuit);
            let failing = scope.spawn(move || permit.failure(Failure::hard()));
            is_asked.recv_timeout(secs(30)).expect("the transition has begun");
            let calls = || (0..5_000).for_each(|_| admit(&circuit).success());
            for caller in [scope.spawn(calls), scope.spawn(calls)] {
                caller.join().expect("a caller does not panic");
            }
            assert!(!failing.is_finished(), "the calls were made during the transition");
            answer.send(()).unwrap();
        });
        assert_eq!((circuit.status().state, circuit.totals().successes), (State::Open, 10_001), "sharded: {sharded}");
    }
}

/// Keeps a window because of a rule that is never met: no call takes a day.
fn never_opens(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock) {
    rig(|settings| {
        let settings = change(no_rules(settings).min_calls(1).cancelled_never_counts().without_shipped_observers());
        settings.slow_call_rate(1.0).slower_than(secs(24 * 3600))
    })
}

/// Makes calls on two threads, and meanwhile `act`s on this one.
fn race(circuit: &Circuit, calls: u32, mut act: impl FnMut()) -> Made {
    thread::scope(|scope| {
        let callers = [1, 2].map(|seed| {
            scope.spawn(move || {
                let (mut made, mut dice) = (Made::default(), Dice::new(seed));
                (0..calls).for_each(|_| made.make(circuit, dice.roll(8)));
                made
            })
        });
        while callers.iter().any(|caller| !caller.is_finished()) {
            act();
            thread::yield_now();
        }
        let made = callers.map(|caller| caller.join().expect("a caller does not panic"));
        made.into_iter().fold(Made::default(), Made::plus)
    })
}

/// Resets the circuit after every ten successes, to its hundredth era: no thread, however long it is not scheduled, sleeps through
/// more eras than a tag tells apart.
fn next_era(circuit: &Circuit, then: impl FnOnce(u64)) {
    let Status { era, .. } = circuit.status();
    if era < 100 && circuit.totals().successes >= era * 10 {
        circuit.reset(&alice(), To::Closed);
        then(era);
    }
}

#[track_caller]
fn assert_holds(circuit: &Circuit, made: &Made, what: &str) {
    let tally = circuit.status().tally;
    assert_eq!((tally.calls(), tally.score()), (made.recorded(), made.score()), "{what}");
}

/// What callers know that they did.
#[derive(Debug, Default)]
struct Made {
    totals: Totals,
    /// In halves of a hard failure, the only other weight here.
    halves: u32,
}

impl Made {
    fn make(&mut self, circuit: &Circuit, how: u64) {
        let permit = admit(circuit);
        match how {
            HARD => {
                self.failed(2);
                permit.failure(Failure::hard());
            }
            TIMEOUT => {
                self.failed(1);
                permit.failure(Failure::timeout());
            }
            IGNORED => {
                self.totals.ignored += 1;
                permit.ignore();
            }
            DROPPED => {
                self.totals.cancelled += 1;
                permit.cancel();
            }
            _ => {
                self.totals.successes += 1;
                permit.success();
            }
        }
    }

    fn failed(&mut self, halves: u32) {
        self.totals.failures += 1;
        self.halves += halves;
    }

    /// Returns how many outcomes enter a window.
    fn recorded(&self) -> u64 {
        self.totals.successes + self.totals.failures
    }

    fn score(&self) -> f64 {
        f64::from(self.halves) / 2.0
    }

    fn plus(mut self, Self { totals: other, halves }: Self) -> Self {
        self.totals.successes += other.successes;
        self.totals.failures += other.failures;
        self.totals.ignored += other.ignored;
        self.totals.cancelled += other.cancelled;
        self.halves += halves;
        self
    }
}

const HARD: u64 = 0;
const TIMEOUT: u64 = 1;
const IGNORED: u64 = 2;
const DROPPED: u64 = 3;
const SUCCESS: u64 = 4;
