//! Waiting without tower: `acquire`, `acquire_within`, `acquire_blocking` and `changed`. Tasks run under the paused clock of tokio,
//! because their timer is tokio's.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use tower_circuit_breaker::call::Observed;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::{Clock, MockClock, TokioClock};
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::{Circuit, Config, Mode, OpenDuration, Permit, State};

use crate::parts::{Count, MINUTE, circuit, operator, settings, state, take_probe, trip};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The answers of a circuit to the small questions.
fn answers(circuit: &Circuit) -> (bool, bool, bool) {
    (circuit.would_admit(), circuit.is_open(), circuit.is_tripped())
}

#[test]
fn a_circuit_answers_whether_the_next_call_would_be_admitted() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    assert_eq!((answers(&circuit), circuit.state()), ((true, false, false), State::Closed));
    trip(&circuit);
    assert_eq!((answers(&circuit), circuit.state()), ((false, true, true), State::Open));
    clock.advance(MINUTE);
    assert_eq!((answers(&circuit), circuit.state()), ((true, false, true), State::Open), "a probe is due");
    let probe = take_probe(&circuit);
    assert_eq!((answers(&circuit), circuit.state()), ((false, false, true), State::HalfOpen), "the slot is taken");
    probe.ignore();
    assert_eq!(answers(&circuit), (true, false, true), "the slot is free");
    circuit.trip(&operator(), Some(MINUTE));
    assert_eq!(answers(&circuit), (false, true, true));
    assert_eq!((circuit.standing().mode, circuit.standing()), (Mode::ForcedOpen, circuit.status().standing()));
    clock.advance(MINUTE);
    assert_eq!(answers(&circuit), (true, false, true), "the hold has ended");
    circuit.disable(&operator(), None);
    assert_eq!(answers(&circuit), (true, false, false));
}

#[test]
fn a_circuit_in_shadow_would_admit_although_it_is_open() {
    let circuit = Circuit::new(settings(&MockClock::new()).shadow().build().unwrap());
    trip(&circuit);
    assert_eq!((answers(&circuit), circuit.state()), ((true, false, true), State::Open));
}

#[test]
fn a_circuit_that_only_a_reset_closes_is_open_for_ever() {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).recovery(Recovery::Manual).build().unwrap());
    trip(&circuit);
    clock.advance(24 * HOUR);
    assert_eq!(answers(&circuit), (false, true, true));
}

#[tokio::test(start_paused = true)]
async fn a_task_gets_its_permit_at_once_while_the_circuit_is_closed() {
    let circuit = circuit(&TokioClock::new());
    let Poll::Ready(permit) = poll(pin!(circuit.acquire())) else { panic!("it does not wait") };
    permit.success();
    assert_eq!(circuit.totals().successes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_waits_for_the_end_of_the_opening_and_counts_no_rejection() {
    let clock = TokioClock::new();
    let circuit = circuit(&clock);
    trip(&circuit);
    let began = clock.now();
    let permit = circuit.acquire().await;
    assert!(permit.is_probe());
    assert_eq!(clock.now().saturating_since(began), MINUTE);
    permit.success();
    assert_eq!((state(&circuit), circuit.totals().rejected), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_transition_wakes_a_task_that_waits() {
    let circuit = circuit(&TokioClock::new());
    circuit.trip(&operator(), None);
    let mut permit = pin!(circuit.acquire());
    assert!(tokio::time::timeout(24 * HOUR, permit.as_mut()).await.is_err(), "no deadline ends a hold without an end");
    circuit.reset(&operator(), To::Closed);
    permit.await.success();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_hold_wakes_a_task_that_waits() {
    let clock = TokioClock::new();
    let circuit = circuit(&clock);
    circuit.trip(&operator(), Some(HOUR));
    let began = clock.now();
    circuit.acquire().await.success();
    assert_eq!(clock.now().saturating_since(began), HOUR);
}

#[tokio::test(start_paused = true)]
async fn no_change_that_is_due_rejects_a_task_that_waits() {
    let clock = TokioClock::new();
    let half_open = || {
        let circuit = Circuit::new(settings(&clock).probes(10).build().unwrap());
        circuit.reset(&operator(), To::HalfOpen);
        circuit
    };
    // An overdue probe gives its slot back, and the probe beside it has the only slot from then on.
    let circuit = half_open();
    take_probe(&circuit).cancel();
    let overdue = take_probe(&circuit);
    tokio::time::sleep(20 * SECOND).await;
    let beside = take_probe(&circuit);
    tokio::time::sleep(10 * SECOND).await;
    let began = clock.now();
    let permit = circuit.acquire().await;
    assert_eq!((clock.now().saturating_since(began), circuit.totals().rejected), (20 * SECOND, 0));
    drop((overdue, beside, permit));

    // The probes hang for too long, so that the circuit opens again for a minute.
    let circuit = half_open();
    let hangs = take_probe(&circuit);
    tokio::time::sleep(MINUTE).await;
    let began = clock.now();
    let permit = circuit.acquire().await;
    assert_eq!((clock.now().saturating_since(began), circuit.totals().rejected), (MINUTE, 0));
    drop((hangs, permit));

    // A hold ends over an opening of a minute.
    let circuit = self::circuit(&clock);
    trip(&circuit);
    circuit.disable(&operator(), Some(SECOND));
    tokio::time::sleep(SECOND).await;
    let began = clock.now();
    let permit = circuit.acquire().await;
    assert_eq!((clock.now().saturating_since(began), circuit.totals().rejected), (MINUTE - SECOND, 0));
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_wait_for_one_slot_get_it_in_turn() {
    let clock = TokioClock::new();
    let circuit = Circuit::new(settings(&clock).probes(10).build().unwrap());
    trip(&circuit);
    let calls = (0..10).map(|_| async {
        let permit = circuit.acquire().await;
        assert!(permit.is_probe());
        assert_eq!(circuit.status().probes.in_flight, 1, "one probe at a time");
        tokio::time::sleep(SECOND).await;
        permit.success();
    });
    futures_util::future::join_all(calls).await;
    assert_eq!((state(&circuit), circuit.totals().rejected), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_does_not_keep_a_task_waiting_for_ever() {
    let circuit = circuit(&TokioClock::new());
    trip(&circuit);
    tokio::time::advance(MINUTE).await;
    let hangs = take_probe(&circuit);
    let permit = tokio::time::timeout(HOUR, circuit.acquire()).await.expect("the hanging probe is overdue");
    assert!(permit.is_probe());
    hangs.ignore();
    permit.success();
}

#[test]
fn a_wait_that_is_dropped_leaves_no_task_and_takes_no_permit() {
    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    let clock = MockClock::new();
    let circuit = circuit(&clock);
    circuit.trip(&operator(), None);
    let task = Arc::new(Task);
    let mut observed = Observed::default();
    assert!(poll(pin!(circuit.changed(&mut observed))).is_ready());
    for _ in 0..10 {
        let waker = Waker::from(Arc::clone(&task));
        let mut context = Context::from_waker(&waker);
        assert!(pin!(circuit.acquire()).poll(&mut context).is_pending());
        assert!(pin!(circuit.changed(&mut observed)).poll(&mut context).is_pending());
    }
    assert_eq!(Arc::strong_count(&task), 1);
    circuit.reset(&operator(), To::HalfOpen);
    assert!(circuit.would_admit(), "the one slot is free");
}

#[test]
fn a_wait_leaves_the_tasks_of_poll_changed_alone() {
    struct Woken(Count);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.add();
        }
    }

    let circuit = circuit(&MockClock::new());
    let woken = Count::default();
    let waker = Waker::from(Arc::new(Woken(woken.clone())));
    let mut era = 0;
    while circuit.poll_changed(&Context::from_waker(&waker), &mut era).is_ready() {}
    drop(poll(pin!(circuit.acquire())));
    assert!(poll(pin!(circuit.changed(&mut Observed::default()))).is_ready());
    circuit.trip(&operator(), None);
    assert_eq!(woken.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_without_patience_is_rejected_and_counted_once() {
    let clock = TokioClock::new();
    let circuit = circuit(&clock);
    trip(&circuit);
    let began = clock.now();
    let rejected = circuit.acquire_within(MINUTE / 2).await.unwrap_err();
    assert_eq!((rejected.retry_after(), clock.now().saturating_since(began)), (Some(MINUTE / 2), MINUTE / 2));
    assert!(circuit.acquire_within(Duration::ZERO).await.is_err());
    assert_eq!(circuit.totals().rejected, 2);
    assert!(circuit.acquire_within(MINUTE).await.unwrap().is_probe(), "patience outlasts the opening");
}

#[tokio::test(start_paused = true)]
async fn a_task_observes_that_a_probe_is_due_without_a_call() {
    let clock = TokioClock::new();
    let circuit = circuit(&clock);
    let mut observed = Observed::default();
    assert_eq!(circuit.changed(&mut observed).await.state, State::Closed, "the present standing comes at once");
    assert!(observed.would_admit);
    trip(&circuit);
    assert_eq!(circuit.changed(&mut observed).await.state, State::Open);
    assert!(!observed.would_admit);
    let (began, before) = (clock.now(), observed);
    assert_eq!(circuit.changed(&mut observed).await.state, State::Open, "no call came, so no transition was made");
    assert!(observed.would_admit && observed.era == before.era);
    assert_eq!(clock.now().saturating_since(began), MINUTE);
    let again = tokio::time::timeout(HOUR, circuit.changed(&mut observed)).await;
    assert!(again.is_err(), "one deadline is observed once");
}

#[tokio::test(start_paused = true)]
async fn a_task_observes_that_a_hold_over_an_opening_is_over() {
    let clock = TokioClock::new();
    let circuit = circuit(&clock);
    trip(&circuit);
    circuit.disable(&operator(), Some(Duration::from_secs(5)));
    let mut observed = Observed::default();
    circuit.changed(&mut observed).await;
    assert!(observed.would_admit, "the hold lets calls through");
    let began = clock.now();
    circuit.changed(&mut observed).await;
    assert!(!observed.would_admit, "the opening goes on");
    assert_eq!(clock.now().saturating_since(began), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_between_two_waits_is_not_missed() {
    let circuit = circuit(&TokioClock::new());
    trip(&circuit);
    let mut observed = Observed::default();
    circuit.changed(&mut observed).await;
    assert!(!observed.would_admit);
    tokio::time::advance(MINUTE).await;
    assert!(poll(pin!(circuit.changed(&mut observed))).is_ready());
    assert!(observed.would_admit);
}

#[test]
fn a_thread_gets_its_permit_at_once_while_the_circuit_is_closed() {
    let circuit = circuit(&MockClock::new());
    circuit.acquire_blocking(Duration::ZERO).unwrap().success();
    assert_eq!(circuit.totals().successes, 1);
}

#[test]
fn a_thread_without_patience_is_rejected() {
    let circuit = circuit(&MockClock::new());
    trip(&circuit);
    let rejected = circuit.acquire_blocking(Duration::from_millis(1)).unwrap_err();
    assert_eq!((rejected.retry_after(), circuit.totals().rejected), (Some(MINUTE), 1));
}

#[test]
fn a_transition_wakes_a_thread_that_waits() {
    let circuit = circuit(&MockClock::new());
    circuit.trip(&operator(), None);
    thread::scope(|scope| {
        let waits = scope.spawn(|| circuit.acquire_blocking(Duration::MAX).map(Permit::success));
        circuit.reset(&operator(), To::Closed);
        assert!(waits.join().unwrap().is_ok());
    });
}

#[test]
fn threads_that_wait_for_one_slot_get_it_in_turn() {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).probes(8).build().unwrap());
    trip(&circuit);
    clock.advance(MINUTE);
    let first = take_probe(&circuit);
    thread::scope(|scope| {
        for _ in 0..7 {
            scope.spawn(|| circuit.acquire_blocking(HOUR).unwrap().success());
        }
        first.success();
    });
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn the_end_of_the_opening_wakes_a_thread_that_waits() {
    // On the clock of the system, because a thread sleeps in real time.
    let open_for = OpenDuration::fixed(Duration::from_millis(20)).jitter(0.0);
    let circuit = Circuit::new(Config::builder("payments").open_for(open_for).build().unwrap());
    trip(&circuit);
    assert!(circuit.acquire_blocking(HOUR).unwrap().is_probe());
}

/// The futures can be spawned.
#[test]
fn waits_are_send() {
    fn send<T: Send>(future: T) {
        drop(future);
    }

    let circuit = circuit(&MockClock::new());
    let mut observed = Observed::default();
    send(circuit.acquire());
    send(circuit.acquire_within(SECOND));
    send(circuit.changed(&mut observed));
}
