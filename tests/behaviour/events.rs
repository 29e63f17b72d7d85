//! Observers: transitions are told once and by the winner, rejections in summaries, calls to those who want them.

mod sums;
mod wakers;

use std::sync::{Arc, Barrier, OnceLock, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::event::{Ended, Event, Observer, observer_fn};
use tower_circuit_breaker::state::{Mode, RejectReason, State, Transition};
use tower_circuit_breaker::{Circuit, Failure, OpenDuration};

use crate::rig::{admit, alice, close, fail, last, no_rules, open, probe, reject, rig, secs};

/// An event, without what it borrows.
#[derive(Debug, PartialEq)]
enum Told {
    Transition(Box<Transition>, ThreadId),
    Rejections { rejected: u64, over: Duration, retry_after: Option<Duration> },
    Finished(Ended, Option<Duration>),
    Rejected(RejectReason),
    Stale,
}

impl Told {
    fn of(event: &Event<'_>) -> Option<Self> {
        Some(match *event {
            Event::Transition(edge) => Self::Transition(Box::new(edge.clone()), thread::current().id()),
            Event::Rejections { rejected, over, retry_after, .. } => Self::Rejections { rejected, over, retry_after },
            Event::Finished { ended, elapsed, .. } => Self::Finished(ended, elapsed),
            Event::Rejected { reason, .. } => Self::Rejected(reason),
            Event::Stale => Self::Stale,
            Event::Refresh { .. } | _ => return None,
        })
    }

    fn edge(&self) -> Option<(State, State)> {
        if let Self::Transition(edge, _) = self { Some((edge.from.state, edge.to.state)) } else { None }
    }
}

#[derive(Debug)]
struct Teller {
    to: mpsc::Sender<Told>,
    wants_calls: bool,
}

impl Observer for Teller {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        assert_eq!(circuit, "payments");
        Told::of(event).map(|told| self.to.send(told));
    }

    fn wants_calls(&self) -> bool {
        self.wants_calls
    }
}

fn teller(wants_calls: bool) -> (Teller, mpsc::Receiver<Told>) {
    let (to, told) = mpsc::channel();
    (Teller { to, wants_calls }, told)
}

fn edges(told: &mpsc::Receiver<Told>) -> Vec<(State, State)> {
    told.try_iter().filter_map(|told| told.edge()).collect()
}

#[test]
fn each_transition_is_reported_once_by_its_own_thread() {
    const THREADS: usize = 8;
    let (teller, told) = teller(false);
    let (circuit, clock) = rig(|settings| settings.observer(teller).open_for(OpenDuration::fixed(secs(5))));
    for round in 1..=50 {
        // Every one of them completes the evidence, and one trips.
        fail(&circuit, 4);
        let permits: Vec<_> = (0..THREADS).map(|_| admit(&circuit)).collect();
        let barrier = Barrier::new(THREADS);
        let racers = thread::scope(|scope| {
            let race = |permit: tower_circuit_breaker::Permit| {
                barrier.wait();
                permit.failure(Failure::hard());
                thread::current().id()
            };
            let racers: Vec<_> = permits.into_iter().map(|permit| scope.spawn(move || race(permit))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
        });
        let all: Vec<_> = told.try_iter().collect();
        let [Told::Transition(edge, teller)] = &all[..] else { panic!("round {round}: {all:?}") };
        assert_eq!((edge.from.state, edge.to.state), (State::Closed, State::Open));
        assert!(racers.contains(teller), "nobody else tells it");
        assert_eq!(**edge, last(&circuit), "and it is in the history");
        close(&circuit, &clock);
        assert_eq!(edges(&told), [(State::Open, State::HalfOpen), (State::HalfOpen, State::Closed)]);
    }
    assert_eq!(circuit.status().era, 151, "eras grow by one with each transition");
}

#[derive(Debug)]
struct Panicking;

impl Observer for Panicking {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        panic!("a bug in an observer: {event:?}");
    }

    fn wants_calls(&self) -> bool {
        true
    }
}

#[test]
fn a_panicking_observer_aborts_nothing_and_is_counted() {
    let (teller, told) = teller(false);
    let (circuit, clock) = rig(|settings| settings.observer(Panicking).observer(teller));
    open(&circuit);
    reject(&circuit);
    close(&circuit, &clock);
    assert_eq!(edges(&told).len(), 3, "the next observer is told all the same");
    // Its making, five failures and three successes, two rejections, three transitions.
    assert_eq!(circuit.totals().observer_panics, 1 + 5 + 3 + 2 + 3);
}

/// An observer that acts on its own circuit.
#[derive(Debug, Default)]
struct Meddling(OnceLock<Circuit>);

#[derive(Debug)]
struct Shared(Arc<Meddling>);

impl Observer for Shared {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        let Some(circuit) = self.0.0.get() else { return };
        drop((circuit.status(), circuit.snapshot(), circuit.totals()));
        drop(circuit.try_acquire());
        match event {
            Event::Transition(edge) if edge.to.state == State::Open && edge.to.mode == Mode::Automatic => {
                circuit.trip(&alice(), Some(secs(60)));
            }
            Event::Rejections { .. } => drop(circuit.reset(&alice(), To::Closed)),
            Event::Transition(_) | Event::Finished { .. } | _ => {}
        }
    }
}

#[test]
fn a_notified_observer_may_act_on_the_circuit() {
    let (sender, done) = mpsc::channel();
    // In a thread of its own, so that a deadlock is a failure and not a test that never ends.
    thread::spawn(move || {
        let meddling = Arc::new(Meddling::default());
        let (circuit, clock) = rig(|settings| settings.observer(Shared(Arc::clone(&meddling))));
        meddling.0.set(circuit.clone()).unwrap();
        fail(&circuit, 5);
        let tripped = circuit.status().mode;
        clock.advance(secs(30));
        reject(&circuit);
        sender.send((tripped, circuit.status().state, circuit.totals().observer_panics)).ok();
    });
    assert_eq!(done.recv_timeout(secs(10)), Ok((Mode::ForcedOpen, State::Closed, 0)));
}

#[test]
fn observers_get_the_transitions_of_all_threads_in_their_order() {
    let (sender, eras) = mpsc::channel();
    let reset_by_another_thread: Arc<OnceLock<Circuit>> = Arc::default();
    let other = Arc::clone(&reset_by_another_thread);
    let interrupting = OnceLock::new();
    let interrupted = observer_fn(move |_, event| {
        if let Event::Transition(_) = event
            && interrupting.set(()).is_ok()
        {
            let circuit = other.get().unwrap().clone();
            // The other thread returns although its transition is not reported yet.
            thread::spawn(move || circuit.reset(&alice(), To::Closed)).join().unwrap();
        }
    });
    let noted = observer_fn(move |_, event| {
        if let Event::Transition(edge) = event {
            sender.send(edge.era).unwrap();
        }
    });
    let (circuit, _clock) = rig(|settings| settings.observer(interrupted).observer(noted));
    reset_by_another_thread.set(circuit.clone()).unwrap();
    fail(&circuit, 5);
    assert_eq!(eras.try_iter().collect::<Vec<_>>(), [2, 3], "the opening, then the reset");
    circuit.trip(&alice(), None);
    assert_eq!(eras.try_iter().collect::<Vec<_>>(), [4], "no thread is reporting any more");
}

#[test]
fn rejections_are_summed_up_at_most_every_ten_seconds() {
    let (teller, told) = teller(false);
    let (circuit, clock) = rig(|settings| settings.observer(teller).open_for(OpenDuration::fixed(secs(60))));
    let reject_for = |seconds: u64| {
        for _ in 0..seconds {
            reject(&circuit);
            clock.advance(secs(1));
        }
        told.try_iter().filter(|told| matches!(told, Told::Rejections { .. })).collect::<Vec<_>>()
    };
    let summary =
        |rejected, over, retry| Told::Rejections { rejected, over: secs(over), retry_after: Some(secs(retry)) };
    open(&circuit);
    assert_eq!(reject_for(10), [], "ten calls in ten seconds, and no summary yet");
    assert_eq!(reject_for(10), [summary(11, 10, 50)], "the first rejection after ten seconds tells");
    assert_eq!(reject_for(1), [summary(10, 10, 40)]);
    clock.advance(secs(20));
    assert_eq!(reject_for(9), [summary(1, 21, 19)], "over the time it did take");

    probe(&circuit, &clock).failure(Failure::hard());
    assert_eq!(reject_for(10), [], "a new opening, a new count");
    assert_eq!(reject_for(1), [summary(11, 10, 50)]);
}

#[test]
fn a_transition_says_how_many_were_rejected_since_the_circuit_was_closed() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    for _ in 0..7 {
        reject(&circuit);
    }
    clock.advance(secs(5));
    let probe = admit(&circuit);
    assert_eq!(last(&circuit).rejected, 7, "while it was open");
    for _ in 0..3 {
        reject(&circuit);
    }
    probe.failure(Failure::hard());
    assert_eq!(last(&circuit).rejected, 10, "while it was half-open as well");
    close(&circuit, &clock);
    assert_eq!(last(&circuit).rejected, 11, "in all, with the one that asked how long to wait");
    open(&circuit);
    assert_eq!(last(&circuit).rejected, 0, "a new opening, a new count");
}

#[test]
fn calls_are_reported_only_to_observers_that_want_calls() {
    let ((wants, calls), (wants_not, edges)) = (teller(true), teller(false));
    let (circuit, clock) =
        rig(|settings| no_rules(settings).failure_score(1.0).measure_durations().observer(wants).observer(wants_not));
    let straggler = admit(&circuit);
    let slow = admit(&circuit);
    clock.advance(secs(2));
    slow.success();
    admit(&circuit).ignore();
    admit(&circuit).cancel();
    admit(&circuit).failure(Failure::hard());
    reject(&circuit);
    straggler.success();
    let calls: Vec<_> = calls.try_iter().filter(|told| told.edge().is_none()).collect();
    let finished = |ended, took| Told::Finished(ended, Some(secs(took)));
    assert_eq!(
        calls,
        [
            finished(Ended::Success, 2),
            finished(Ended::Ignored, 0),
            finished(Ended::Cancelled, 0),
            finished(Ended::Failure(Failure::hard()), 0),
            Told::Rejected(RejectReason::Tripped),
            Told::Stale,
            finished(Ended::Success, 2),
        ]
    );
    assert_eq!(edges.try_iter().count(), 1, "the transition");
}

#[test]
fn the_last_128_transitions_are_remembered() {
    let (circuit, _) = rig(|settings| settings);
    for _ in 0..1_000 {
        circuit.reset(&alice(), To::Closed);
    }
    let status = circuit.status();
    let eras: Vec<_> = status.transitions.iter().map(|edge| edge.era).collect();
    assert_eq!(eras, (874..=1_001).collect::<Vec<u64>>(), "oldest first");
    assert_eq!(status.era, 1_001);
}

#[test]
fn a_rejection_forgets_its_reason_with_the_history_of_the_circuit() {
    let (circuit, _) = rig(|settings| settings);
    open(&circuit);
    let rejected = reject(&circuit);
    assert_eq!(rejected.why(), Some(last(&circuit)));
    for _ in 0..128 {
        circuit.reset(&alice(), To::Closed);
    }
    assert_eq!(rejected.why(), None);
    assert!(rejected.to_string().contains("payments"), "and still says something");
}

#[test]
fn a_circuit_that_never_opened_sums_up_rejections_since_half_open() {
    let (teller, told) = teller(false);
    let (circuit, clock) = rig(|settings| settings.observer(teller));
    circuit.reset(&alice(), To::HalfOpen);
    let probe = admit(&circuit);
    let summaries = || told.try_iter().filter(|told| matches!(told, Told::Rejections { .. })).collect::<Vec<_>>();
    reject(&circuit);
    assert_eq!(summaries(), [], "ten seconds have not passed");
    clock.advance(secs(10));
    reject(&circuit);
    assert_eq!(summaries(), [Told::Rejections { rejected: 2, over: secs(10), retry_after: None }]);
    drop(probe);
}
