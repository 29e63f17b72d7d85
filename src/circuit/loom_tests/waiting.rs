//! Loom models of waiting. A task that waits for a change is woken by the change or sees the change, and no event is
//! reported twice.

use std::task::{Context, Poll};

use super::*;
use crate::circuit::wakers::Wakers;
use crate::circuit::{Peek, Place};
use crate::state::HealthResult;
use crate::sync::{AtomicU32, Relaxed};

/// The wakers under test, and the number of changes, such as freed slots. The accesses to the number are Relaxed, so
/// that a waiter is sure to see a change only if the wakers order the two threads.
type Changing = Arc<(Wakers, AtomicU32)>;

#[test]
fn loom_a_waiter_is_woken_or_sees_both_changes() {
    in_every_order(|| {
        let (waker, woken) = waker();
        let changing = changing();
        let threads = [(); 2].map(|()| {
            let changing = Arc::clone(&changing);
            spawn(move || change(&changing))
        });
        begin();
        let seen = wait(&changing, &waker);
        threads.into_iter().for_each(joined);
        assert!(seen == 2 || woken.try_recv().is_ok(), "the waiter saw {seen} of 2 changes, and sleeps");
    });
}

#[test]
fn loom_two_waiters_are_woken_or_see_the_change() {
    in_every_order(|| {
        let changing = changing();
        let threads = [(); 2].map(|()| {
            let changing = Arc::clone(&changing);
            spawn(move || {
                let (waker, woken) = waker();
                (wait(&changing, &waker), woken)
            })
        });
        begin();
        change(&changing);
        for (seen, woken) in threads.map(joined) {
            assert!(seen == 1 || woken.try_recv().is_ok(), "the waiter saw no change, and sleeps");
        }
    });
}

#[test]
fn loom_a_slot_waiter_is_woken_or_finds_the_slot() {
    in_every_order(|| {
        let circuit = circuit(rules());
        half_open(&circuit);
        let held = call(&circuit);
        is_woken_or_finds_the_slot(&circuit, |_| drop(held));
    });
}

#[test]
fn loom_a_waiter_for_a_grant_is_woken_or_finds_the_slot() {
    in_every_order(|| {
        let circuit = circuit(rules());
        circuit.lease_probes(TEN);
        half_open(&circuit);
        is_woken_or_finds_the_slot(&circuit, |circuit| assert!(circuit.grant(2)));
    });
}

#[test]
fn loom_a_waiter_for_the_end_of_the_leases_is_woken_or_sees_it() {
    in_every_order(|| {
        let circuit = circuit(rules());
        circuit.lease_probes(TEN);
        half_open(&circuit);
        is_woken_or_finds_the_slot(&circuit, |circuit| circuit.lease_probes(Duration::ZERO));
    });
}

#[test]
fn loom_a_waiter_for_a_health_probe_is_woken_or_may_pass() {
    in_every_order(|| {
        let circuit = circuit(rules());
        let runner = circuit.begin_checks(TEN, TEN, true);
        half_open_before_this_process(&circuit);
        assert_ne!(circuit.peek(), Peek::MayPass, "the circuit holds calls back");
        let passed = move |circuit: &Circuit| circuit.checked(runner, 2, HealthResult::Passed, None);
        is_woken_or_finds_the_slot(&circuit, passed);
    });
}

#[test]
fn loom_a_waiter_sleeps_through_no_lost_race_for_a_grant() {
    in_most_orders(|| {
        let (waker, woken) = waker();
        let circuit = circuit(rules().probes_in_flight(2).probes(2));
        circuit.lease_probes(TEN);
        half_open(&circuit);
        circuit.grant(2);
        let its = circuit.clone();
        // The waiter (the thread of `look`) and the other thread may both try to take the first grant. The thread that
        // gets no slot is counted as a probe for a moment, although it makes no probe. If the waiter checks the circuit
        // while the other thread is counted, the verdict permits no further probe, although a grant is left. The waiter
        // must be woken afterwards.
        let look = || {
            let first = circuit.try_acquire();
            circuit.grant(2);
            circuit.register_at(&mut Place::default(), &Context::from_waker(&waker));
            (first, circuit.peek() == Peek::MayPass)
        };
        let (other, (first, seen)) = beside(move || its.try_acquire(), look);
        let admitted = usize::from(first.is_ok()) + usize::from(other.is_ok());
        assert!(admitted == 2 || seen || woken.try_recv().is_ok(), "a grant is left, and the waiter sleeps");
    });
}

#[test]
fn loom_a_poll_for_a_change_is_woken_or_sees_it() {
    in_every_order(|| {
        let (waker, woken) = waker();
        let circuit = circuit(rules().consecutive_failures(1));
        let last = call(&circuit);
        let mut era = 1;
        match beside(|| fail(last), || circuit.poll_changed(&Context::from_waker(&waker), &mut era)).1 {
            Poll::Ready(standing) => assert_eq!((era, standing.state), (2, State::Open)),
            Poll::Pending => assert!(woken.try_recv().is_ok(), "the circuit is open, and the waiter sleeps"),
        }
    });
}

#[test]
fn loom_a_waiter_for_the_restore_is_woken_or_sees_it() {
    in_every_order(|| {
        let (waker, woken) = waker();
        let circuit = circuit(rules());
        circuit.await_restore();
        let its = circuit.clone();
        let look = || {
            circuit.register_at(&mut Place::default(), &Context::from_waker(&waker));
            circuit.peek() == Peek::MayPass
        };
        let (_, seen) = beside(move || its.restored(), look);
        assert!(seen || woken.try_recv().is_ok(), "the circuit is restored, and the waiter sleeps");
    });
}

#[test]
fn loom_a_rule_met_while_the_wait_ends_is_not_lost() {
    in_every_order(|| {
        let circuit = circuit(rules().consecutive_failures(1));
        circuit.await_restore();
        let last = call(&circuit);
        let its = circuit.clone();
        beside(move || its.restored(), || fail(last));
        assert_eq!(era_and_state(&circuit), (2, State::Open), "whichever came first");
        assert_eq!(circuit.peek(), Peek::Rejecting(Some(TEN)), "no service waits any more");
    });
}

#[test]
fn loom_the_end_of_the_wait_hides_no_deadline() {
    in_most_orders(|| {
        let circuit = circuit(rules().consecutive_failures(1));
        circuit.await_restore();
        let (last, restored) = (call(&circuit), circuit.clone());
        let threads = [spawn(move || fail(last)), spawn(move || restored.restored())];
        begin();
        if let Err(rejected) = circuit.try_acquire() {
            assert_eq!(rejected.retry_after(), Some(TEN), "whichever thread published the word");
        }
        threads.into_iter().for_each(joined);
    });
}

#[test]
fn loom_one_caller_sums_up_the_rejections() {
    in_every_order(|| {
        let (circuit, reports) = observed(rules());
        half_open(&circuit);
        // The clock of the test never moves, so the test makes the first summary due at the time zero.
        circuit.inner().counts.next_summary.store(0, Relaxed);
        let _held = call(&circuit);
        assert!(matches!(acquire_two(&circuit), [Err(_), Err(_)]));
        assert_eq!(all(&reports), [Report::Edge(2, State::HalfOpen), Report::Rejections]);
    });
}

fn changing() -> Changing {
    Arc::new((Wakers::new(), AtomicU32::new(0)))
}

fn change(changing: &Changing) {
    // Relaxed, because the exchanges of the wakers order the accesses to the number.
    changing.1.fetch_add(1, Relaxed);
    changing.0.wake();
}

/// Registers the waker, and returns the number of changes that are visible after the registration.
fn wait(changing: &Changing, waker: &Waker) -> u32 {
    changing.0.register(waker);
    changing.1.load(Relaxed)
}

/// Registers a waiter and checks the circuit while another thread makes a slot free. Asserts that the waiter finds the
/// slot or is woken.
fn is_woken_or_finds_the_slot(circuit: &Circuit, free: impl FnOnce(&Circuit) + Send + 'static) {
    let (waker, woken) = waker();
    let its = circuit.clone();
    let look = || {
        circuit.register_at(&mut Place::default(), &Context::from_waker(&waker));
        circuit.peek() == Peek::MayPass
    };
    let (_, seen) = beside(move || free(&its), look);
    assert!(seen || woken.try_recv().is_ok(), "the slot is free, and the waiter sleeps");
}
