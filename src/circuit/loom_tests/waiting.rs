//! Nobody sleeps through what they wait for, and nobody hears twice what is told once.

use core::task::{Context, Poll};

use loom::thread;

use super::*;
use crate::circuit::wakers::Wakers;
use crate::circuit::{Peek, Place};
use crate::sync::{AtomicU32, Relaxed};

/// Wakers, and a change as a freed slot is one: Relaxed, so that only the wakers can make it visible.
type Changing = Arc<(Wakers, AtomicU32)>;

#[test]
fn loom_a_waiter_is_woken_or_sees_both_changes() {
    in_every_order(|| {
        let (waker, woken) = waker();
        let changing = changing();
        let threads = [change(&changing), change(&changing)];
        changing.0.register(&waker);
        let seen = changing.1.load(Relaxed);
        threads.into_iter().for_each(joined);
        assert!(seen == 2 || woken.try_recv().is_ok(), "it saw {seen} of 2 changes, and sleeps");
    });
}

#[test]
fn loom_two_waiters_are_woken_or_see_the_change() {
    in_every_order(|| {
        let changing = changing();
        let threads = [(); 2].map(|()| {
            let changing = Arc::clone(&changing);
            thread::spawn(move || {
                let (waker, woken) = waker();
                changing.0.register(&waker);
                (changing.1.load(Relaxed), woken)
            })
        });
        joined(change(&changing));
        for (seen, woken) in threads.map(joined) {
            assert!(seen == 1 || woken.try_recv().is_ok(), "it saw no change, and sleeps");
        }
    });
}

#[test]
fn loom_a_waiter_for_a_slot_is_woken_or_sees_it() {
    in_every_order(|| {
        let (waker, woken) = waker();
        let circuit = circuit(rules());
        half_open(&circuit);
        let held = call(&circuit);
        let thread = thread::spawn(|| drop(held));
        circuit.register_at(&mut Place::default(), &Context::from_waker(&waker));
        let seen = circuit.peek() == Peek::MayPass;
        joined(thread);
        assert!(seen || woken.try_recv().is_ok(), "the slot is free, and the waiter sleeps");
    });
}

#[test]
fn loom_who_polls_for_a_change_is_woken_or_sees_it() {
    in_every_order(|| {
        let (waker, woken) = waker();
        let circuit = circuit(rules().consecutive_failures(1));
        let thread = fail(call(&circuit));
        let mut era = 1;
        let poll = circuit.poll_changed(&Context::from_waker(&waker), &mut era);
        joined(thread);
        match poll {
            Poll::Ready(standing) => assert_eq!((era, standing.state), (2, State::Open)),
            Poll::Pending => assert!(woken.try_recv().is_ok(), "it is open, and the waiter sleeps"),
        }
    });
}

#[test]
fn loom_one_caller_sums_up_the_rejections() {
    in_every_order(|| {
        let (circuit, told) = observed(rules());
        // Half-open without an opening, which would have put the first summary off: it is due at once.
        half_open(&circuit);
        let _held = call(&circuit);
        assert!(matches!(acquire_two(&circuit), [Err(_), Err(_)]));
        assert_eq!(all(&told), [Told::Edge(2, State::HalfOpen), Told::Rejections]);
    });
}

fn changing() -> Changing {
    Arc::new((Wakers::new(), AtomicU32::new(0)))
}

fn change(changing: &Changing) -> JoinHandle<()> {
    let changing = Arc::clone(changing);
    thread::spawn(move || {
        changing.1.fetch_add(1, Relaxed);
        changing.0.wake();
    })
}
