//! `WhenOpen::Pend`: not ready instead of rejecting, and woken when that ends. Under tokio's paused clock, as its timer is
//! tokio's.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::{Clock, TokioClock};
use tower_circuit_breaker::state::RejectReason;
use tower_circuit_breaker::{Circuit, CircuitBreaker, CircuitBreakerLayer, Rejected, State, WhenOpen};
use tower_test::mock::Spawn;

use crate::parts::{Ask, Count, MINUTE, Strict, circuit, operator, settings, state, take_probe, trip};

fn pending(circuit: &Circuit) -> CircuitBreaker<Strict> {
    CircuitBreakerLayer::new(circuit).when_open(WhenOpen::Pend).layer(Strict::default())
}

/// The service on a task that knows whether it was woken.
fn spawned(circuit: &Circuit) -> Spawn<CircuitBreaker<Strict>> {
    Spawn::new(pending(circuit))
}

fn is_ready(service: &mut Spawn<CircuitBreaker<Strict>>) -> bool {
    match service.poll_ready::<Ask>() {
        Poll::Ready(result) => result.is_ok(),
        Poll::Pending => false,
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_pending_and_leaves_the_inner_service_alone() {
    let circuit = circuit(&TokioClock::new());
    let mut service = spawned(&circuit);
    assert!(is_ready(&mut service), "closed, it is as ready as the inner service");
    trip(&circuit);
    assert!(!is_ready(&mut service));
    assert!(!service.is_woken());
    assert_eq!(service.get_ref().get_ref().polls.get(), 1);
    assert_eq!(circuit.status().totals.rejected, 0, "nobody was rejected");
}

#[tokio::test(start_paused = true)]
async fn a_service_forced_open_is_pending_and_woken_by_the_reset() {
    let circuit = circuit(&TokioClock::new());
    let mut service = spawned(&circuit);
    circuit.trip(&operator(), None);
    assert!(!is_ready(&mut service));
    tokio::time::advance(60 * MINUTE).await;
    assert!(!service.is_woken(), "no deadline wakes what is held until a reset");
    circuit.reset(&operator(), To::Closed);
    assert!(service.is_woken());
    assert!(is_ready(&mut service));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_hold_wakes_a_pending_service() {
    let circuit = circuit(&TokioClock::new());
    let mut service = spawned(&circuit);
    circuit.trip(&operator(), Some(10 * MINUTE));
    assert!(!is_ready(&mut service));
    tokio::time::advance(10 * MINUTE).await;
    assert!(service.is_woken());
    assert!(is_ready(&mut service));
}

#[tokio::test(start_paused = true)]
async fn every_transition_wakes_a_pending_service() {
    let circuit = circuit(&TokioClock::new());
    let mut service = spawned(&circuit);
    trip(&circuit);
    assert!(!is_ready(&mut service));
    circuit.trip(&operator(), Some(MINUTE / 2));
    assert!(service.is_woken());
    assert!(!is_ready(&mut service), "still open, and from now on it waits for the earlier end");
    tokio::time::advance(MINUTE / 2).await;
    assert!(service.is_woken());
    assert!(is_ready(&mut service));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_wakes_a_pending_service() {
    let circuit = circuit(&TokioClock::new());
    let mut service = spawned(&circuit);
    trip(&circuit);
    assert!(!is_ready(&mut service));
    tokio::time::advance(MINUTE - Duration::from_secs(1)).await;
    assert!(!service.is_woken());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(service.is_woken());
    assert!(is_ready(&mut service));
    assert!(service.call(Ask::Succeed).await.is_ok());
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_probe_wakes_a_service_that_waits_for_slots() {
    for end in ["succeeds", "is ignored", "is dropped"] {
        let clock = TokioClock::new();
        let circuit = Circuit::new(settings(&clock).probes(2).build().unwrap());
        let mut service = spawned(&circuit);
        trip(&circuit);
        tokio::time::advance(MINUTE).await;
        let probe = take_probe(&circuit);
        assert!(!is_ready(&mut service), "the probe that {end} has the slot");
        assert!(!service.is_woken());
        match end {
            "succeeds" => probe.success(),
            "is ignored" => probe.ignore(),
            _ => drop(probe),
        }
        assert!(service.is_woken(), "the probe that {end} frees the slot");
        assert!(is_ready(&mut service));
    }
}

#[tokio::test(start_paused = true)]
async fn the_probe_deadline_wakes_a_service_when_a_probe_hangs() {
    let circuit = circuit(&TokioClock::new());
    let mut service = spawned(&circuit);
    trip(&circuit);
    tokio::time::advance(MINUTE).await;
    let _hanging = take_probe(&circuit);
    assert!(!is_ready(&mut service));
    tokio::time::advance(MINUTE / 2).await;
    assert!(service.is_woken(), "without it, a probe that hangs would be the last call ever");
    assert!(is_ready(&mut service));
    assert!(service.call(Ask::Succeed).await.is_ok(), "the probe that hangs has given its slot back");
}

#[tokio::test(start_paused = true)]
async fn one_of_two_waiting_services_probes_and_the_other_waits_on() {
    let circuit = circuit(&TokioClock::new());
    let (mut first, mut second) = (spawned(&circuit), spawned(&circuit));
    trip(&circuit);
    assert!(!is_ready(&mut first) && !is_ready(&mut second));
    tokio::time::advance(MINUTE).await;
    assert!(first.is_woken() && second.is_woken());
    assert!(is_ready(&mut first));
    let probe = first.call(Ask::Succeed);
    assert!(!is_ready(&mut second), "the slot is taken");
    assert!(probe.await.is_ok());
    assert!(second.is_woken());
    assert!(is_ready(&mut second));
}

#[tokio::test(start_paused = true)]
async fn a_trip_between_readiness_and_call_rejects() {
    let circuit = circuit(&TokioClock::new());
    let mut service = spawned(&circuit);
    assert!(is_ready(&mut service));
    trip(&circuit);
    let error = service.call(Ask::Succeed).await.unwrap_err();
    assert_eq!(Rejected::find(error.as_ref()).unwrap().reason(), RejectReason::Tripped);
    assert!(!is_ready(&mut service));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_waits_a_minute_is_polled_twice() {
    let clock = TokioClock::new();
    let circuit = circuit(&clock);
    let mut service = CountedPolls { inner: pending(&circuit), polls: Count::default() };
    trip(&circuit);
    let before = clock.now();
    // Nothing else runs, so the paused clock jumps to whatever is waited for.
    assert!(tokio::time::timeout(60 * MINUTE, service.ready()).await.is_ok_and(|ready| ready.is_ok()));
    let waited = clock.now().saturating_since(before);
    assert!((MINUTE..MINUTE + Duration::from_millis(10)).contains(&waited), "waited {waited:?}");
    assert_eq!(service.polls.get(), 2, "once to wait, once to be ready");
}

#[tokio::test(start_paused = true)]
async fn a_reset_ends_the_wait_at_once() {
    let clock = TokioClock::new();
    let circuit = circuit(&clock);
    let mut service = pending(&circuit);
    trip(&circuit);
    let before = clock.now();
    let reset = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        circuit.reset(&operator(), To::HalfOpen);
    };
    let (ready, ()) = futures_util::future::join(service.ready(), reset).await;
    assert!(ready.is_ok());
    assert_eq!(clock.now().saturating_since(before), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn each_clone_of_a_pending_service_waits_independently() {
    let circuit = circuit(&TokioClock::new());
    trip(&circuit);
    let mut first = spawned(&circuit);
    assert!(!is_ready(&mut first));
    let mut second = first.clone();
    assert!(!is_ready(&mut second));
    drop(first);
    tokio::time::advance(MINUTE).await;
    assert!(second.is_woken(), "the first one's timer went with it, the second has its own");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_may_go_because_its_task_is_forgotten() {
    /// A task that ends with its last waker, as those of some executors do, and that waits as well.
    struct Task {
        _waits: CircuitBreaker<Strict>,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    let circuit = circuit(&TokioClock::new());
    // Without a deadline, so that no timer holds the tasks as well.
    circuit.trip(&operator(), None);
    let waiting = || {
        let mut service = pending(&circuit);
        assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending());
        Waker::from(Arc::new(Task { _waits: service }))
    };
    let mut service = pending(&circuit);
    for task in [waiting(), waiting()] {
        // The second one replaces the first, which takes its own place along.
        assert!(service.poll_ready(&mut Context::from_waker(&task)).is_pending());
    }
    drop(service);
}

struct CountedPolls<S> {
    inner: S,
    polls: Count,
}

impl<S: Service<Ask>> Service<Ask> for CountedPolls<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.polls.add();
        self.inner.poll_ready(context)
    }

    fn call(&mut self, ask: Ask) -> S::Future {
        self.inner.call(ask)
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_gives_up_waiting_leaves_no_task_behind() {
    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    let circuit = circuit(&TokioClock::new());
    circuit.trip(&operator(), None);

    let task = Arc::new(Task);
    let before = Arc::strong_count(&task);
    for _ in 0..100 {
        let waker = Waker::from(Arc::clone(&task));
        let mut service = pending(&circuit);
        let poll = Service::<Ask>::poll_ready(&mut service, &mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    assert_eq!(Arc::strong_count(&task), before, "a hold without an end must not keep every caller that left");
}
