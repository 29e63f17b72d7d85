//! Tasks that wait for a circuit to change.

use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use tower_circuit_breaker::State;
use tower_circuit_breaker::circuit::To;

use crate::rig::{admit, alice, fail, rig, secs, succeed};

struct Bell(mpsc::Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.send(()).ok();
    }
}

fn bell() -> (Waker, mpsc::Receiver<()>) {
    let (sender, rung) = mpsc::channel();
    (Arc::new(Bell(sender)).into(), rung)
}

#[test]
fn every_transition_wakes_a_poller_for_changes() {
    let (circuit, clock) = rig(|settings| settings);
    let (waker, rung) = bell();
    let context = Context::from_waker(&waker);
    let mut era = 0;
    let mut poll = || circuit.poll_changed(&context, &mut era).map(|standing| standing.state);
    assert_eq!(poll(), Poll::Ready(State::Closed), "the first look is free");
    assert_eq!(poll(), Poll::Pending);
    assert_eq!(poll(), Poll::Pending, "asking twice is asking once");
    succeed(&circuit, 10);
    fail(&circuit, 4);
    assert_eq!(rung.try_iter().count(), 0, "no outcome changes it");
    fail(&circuit, 1);
    assert_eq!((rung.try_iter().count(), poll()), (1, Poll::Ready(State::Open)));

    assert_eq!(poll(), Poll::Pending);
    clock.advance(secs(5));
    let probe = admit(&circuit);
    assert_eq!((rung.try_iter().count(), poll()), (1, Poll::Ready(State::HalfOpen)));
    assert_eq!(poll(), Poll::Pending);
    drop(probe);
    assert_eq!((rung.try_iter().count(), poll()), (1, Poll::Pending), "a slot is free, which is no change");
    circuit.trip(&alice(), None);
    circuit.reset(&alice(), To::Closed);
    assert_eq!((rung.try_iter().count(), poll()), (1, Poll::Ready(State::Closed)), "the newest is what counts");
}

#[test]
fn no_poller_sleeps_through_a_change() {
    const CHANGES: u64 = 5_000;
    let (circuit, _) = rig(|settings| settings);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (waker, rung) = bell();
                let mut era = 0;
                while era <= CHANGES {
                    if circuit.poll_changed(&Context::from_waker(&waker), &mut era).is_pending() {
                        rung.recv_timeout(secs(10)).unwrap_or_else(|_| panic!("asleep in era {era}"));
                    }
                }
            });
        }
        for _ in 0..CHANGES {
            circuit.reset(&alice(), To::Closed);
        }
    });
}

#[test]
fn a_task_that_panics_when_woken_keeps_no_other_task_asleep() {
    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of somebody else's");
        }
    }

    let (circuit, _) = rig(|settings| settings);
    let (waker, rings) = bell();
    let mut era = circuit.status().era;
    for waker in [Waker::from(Arc::new(Panics)), waker] {
        assert_eq!(circuit.poll_changed(&Context::from_waker(&waker), &mut era), Poll::Pending);
    }
    circuit.trip(&alice(), None);
    assert_eq!(rings.try_iter().count(), 1);
}
