//! Seats: a small number for each live thread.
//!
//! A count that only one thread writes needs no exchange. The seat of a thread says which of the counts is its own. A thread
//! takes the lowest free seat when it first counts, and leaves the seat when it ends, so that the seats stay as few as the
//! threads that live at once. The lock of the free seats orders the writes of a thread before those of the next one on its seat.

use std::collections::BTreeSet;

use super::Mutex;

/// The number of a thread, or [`Seat::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat(u32);

impl Seat {
    /// Not a seat: of a thread that is ending, and of a count that belongs to no thread yet.
    pub(crate) const NONE: Self = Self(u32::MAX);
    /// Not a seat: of a thread that has not counted yet.
    #[cfg(not(breaker_loom))]
    const UNASKED: Self = Self(u32::MAX - 1);

    #[cfg(all(test, breaker_loom))]
    pub(crate) const fn of(number: u32) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The seats that no thread has.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Free>);

#[derive(Debug, Default)]
struct Free {
    left: BTreeSet<u32>,
    /// The first seat that no thread ever had.
    next: u32,
}

impl Seats {
    /// Takes the lowest free seat.
    pub(crate) fn take(&self) -> Seat {
        let mut free = self.0.lock();
        Seat(free.left.pop_first().unwrap_or_else(|| {
            free.next += 1;
            free.next - 1
        }))
    }

    /// Frees the seat for a later thread. The caller must not count on the seat any more.
    pub(crate) fn leave(&self, seat: Seat) {
        self.0.lock().left.insert(seat.0);
    }
}

pub(crate) use of_thread::seat;

#[cfg(not(breaker_loom))]
mod of_thread {
    use std::cell::Cell;
    use std::sync::LazyLock;

    use super::{Seat, Seats};

    static SEATS: LazyLock<Seats> = LazyLock::new(Seats::default);

    thread_local! {
        // Apart from its destructor, so that a reading needs no check and also works while the thread ends.
        static SEAT: Cell<Seat> = const { Cell::new(Seat::UNASKED) };
        static LEAVE: Leave = const { Leave };
    }

    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            // A destructor that runs later may still make a call, which then counts on no seat.
            SEATS.leave(SEAT.replace(Seat::NONE));
        }
    }

    /// Returns the seat of this thread, or [`Seat::NONE`] while the thread ends.
    #[inline(always)]
    pub(crate) fn seat() -> Seat {
        let seat = SEAT.get();
        if seat == Seat::UNASKED { take() } else { seat }
    }

    #[cold]
    fn take() -> Seat {
        // The destructor of a thread-local value may be the first to ask, when `LEAVE` has been dropped already.
        let seat = if LEAVE.try_with(|_| ()).is_ok() { SEATS.take() } else { Seat::NONE };
        SEAT.set(seat);
        seat
    }
}

#[cfg(breaker_loom)]
mod of_thread {
    use super::Seat;
    use crate::sync::Relaxed;

    loom::lazy_static! {
        // Not one of loom's: which thread has which seat is no step of a model. The model of `Seats` uses them directly.
        static ref NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    }

    loom::thread_local! {
        static SEAT: Seat = Seat(NEXT.fetch_add(1, Relaxed));
    }

    pub(crate) fn seat() -> Seat {
        SEAT.with(|seat| *seat)
    }
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use std::cell::RefCell;
    use std::sync::{Barrier, mpsc};
    use std::thread;

    use super::*;

    #[test]
    fn live_threads_never_share_a_seat() {
        let barrier = &Barrier::new(20);
        let seats: BTreeSet<u32> = thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        let seat = seat();
                        barrier.wait();
                        seat.number()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        assert_eq!(seats.len(), 20);
    }

    #[test]
    fn a_seat_is_taken_again_lowest_first() {
        let seats = Seats::default();
        let [a, b, c] = [(); 3].map(|()| seats.take());
        assert_eq!([a, b, c].map(Seat::number), [0, 1, 2]);
        seats.leave(b);
        seats.leave(a);
        assert_eq!([(); 3].map(|()| seats.take().number()), [0, 1, 3]);
    }

    #[test]
    fn a_thread_that_ends_leaves_its_seat() {
        let taken = || thread::spawn(|| seat().number()).join().expect("it does not panic");
        let first = taken();
        assert!((0..100).map(|_| taken()).max() < Some(first + 64), "the seats of ended threads are taken again");
    }

    #[test]
    fn a_destructor_that_runs_after_the_seat_was_left_has_none() {
        struct Late(mpsc::Sender<Seat>);

        impl Drop for Late {
            fn drop(&mut self) {
                self.0.send(seat()).expect("the test listens");
            }
        }

        thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
        let asks_in_its_destructor = |seated_first: bool| {
            let (sender, seen) = mpsc::channel();
            let thread = thread::spawn(move || {
                if seated_first {
                    seat();
                }
                LATE.set(Some(Late(sender)));
                seat()
            });
            assert_ne!(thread.join().expect("it does not panic"), Seat::NONE);
            seen.recv().expect("the value is dropped with its thread")
        };
        // Which of two thread-local values is dropped first is not promised, so both orders are tried.
        let seen = [true, false].map(asks_in_its_destructor);
        assert!(seen.contains(&Seat::NONE), "one of the destructors runs after the seat was left: {seen:?}");
    }
}
