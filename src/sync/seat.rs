//! The seats of threads. A seat is two small numbers that select the counters of one live thread.
//!
//! A counter that only one thread writes needs no atomic exchange. The two numbers of a seat select the counters that
//! only the thread of this seat writes.
//!
//! * The `number` is the lowest number that is free when the thread first counts. Therefore there are at most as many
//!   numbers as threads that live at the same time.
//! * The `index` selects the cell (counters) and the branch (reference count) of the thread in a spread circuit, which
//!   is a circuit that several threads call often. A spread circuit has cells for a few threads only. Therefore a
//!   thread takes an index only at its first call of a spread circuit. Otherwise threads without such calls would take
//!   indices away from other threads.
//!
//! A thread returns its number and its index when the thread ends. A lock guards the free numbers, and an atomic word
//! guards the free indices. The lock and the atomic word ensure that the writes of a thread are ordered before the
//! writes of the next thread with the same number or index.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::{Acquire, AtomicU64, Mutex, Relaxed, Release};

/// The seat of a thread, which is its number and its index, or [`Seat::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    number: u32,
    index: u32,
}

impl Seat {
    /// The seat of a thread that is ending.
    pub(crate) const NONE: Self = Self::of(u32::MAX);
    /// The seat of a thread that has not counted yet.
    #[cfg(not(breaker_loom))]
    const UNTAKEN: Self = Self::of(u32::MAX - 1);

    const fn of(number: u32) -> Self {
        Self { number, index: NO_INDEX }
    }

    pub(crate) const fn with_index(self, index: u32) -> Self {
        Self { index, ..self }
    }

    #[cfg(all(test, breaker_loom))]
    pub(crate) const fn with_both(number: u32) -> Self {
        Self::of(number).with_index(number)
    }

    pub(crate) const fn number(self) -> u32 {
        self.number
    }

    /// Returns the index of the thread in spread circuits (circuits that several threads call often). For a thread
    /// without an index, the result is larger than any index.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.index as usize
    }
}

/// The pool of the numbers that no live thread has.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<Free>);

#[derive(Debug, Default)]
struct Free {
    left: BTreeSet<u32>,
    /// The lowest number that no thread ever had.
    next: u32,
}

impl Numbers {
    /// Takes the lowest free number, and returns the seat with this number and without an index.
    pub(crate) fn take(&self) -> Seat {
        let mut free = self.0.lock();
        Seat::of(free.left.pop_first().unwrap_or_else(|| {
            free.next += 1;
            free.next - 1
        }))
    }

    /// Frees the number for a later thread. Afterwards the caller must not write the counts that the number selects.
    pub(crate) fn leave(&self, seat: Seat) {
        self.0.lock().left.insert(seat.number);
    }
}

/// The set of the indices that live threads have, one bit for each index.
#[derive(Debug, Default)]
pub(crate) struct Indices(AtomicU64);

impl Indices {
    /// Takes the lowest free index below `count`. Returns `None` if all these indices are taken. `count` is at most 64.
    pub(crate) fn take(&self, count: usize) -> Option<u32> {
        // Relaxed, because the exchange below checks the value again.
        let mut taken = self.0.load(Relaxed);
        loop {
            let index = taken.trailing_ones();
            if index as usize >= count {
                return None;
            }
            // Acquire: pairs with the Release in `leave`, so that this thread sees all counts of the last thread with
            // this index.
            match self.0.compare_exchange_weak(taken, taken | 1 << index, Acquire, Relaxed) {
                Ok(_) => return Some(index),
                Err(now) => taken = now,
            }
        }
    }

    /// Frees the index for a later thread. Afterwards the caller must not write the counts that the index selects.
    pub(crate) fn leave(&self, index: u32) {
        // Release: pairs with the Acquire in `take`, so that the next thread sees all counts of this thread.
        self.0.fetch_and(!(1 << index), Release);
    }
}

/// Returns the number of indices. This is one more than the number of threads that can run at the same time, but at
/// least 3 and at most 33.
pub(crate) fn indices() -> usize {
    static COUNT: LazyLock<usize> = LazyLock::new(|| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        cores.clamp(2, MOST_INDICES - 1) + 1
    });
    *COUNT
}

pub(crate) const MOST_INDICES: usize = 33;
const NO_INDEX: u32 = u32::MAX;

pub(crate) use of_thread::{seat, seat_with_index};

#[cfg(not(breaker_loom))]
mod of_thread {
    use std::cell::Cell;
    use std::sync::LazyLock;

    use super::{Indices, NO_INDEX, Numbers, Seat, indices};

    static NUMBERS: LazyLock<Numbers> = LazyLock::new(Numbers::default);
    static INDICES: LazyLock<Indices> = LazyLock::new(Indices::default);

    thread_local! {
        // `SEAT` has no destructor, so that a read needs no check and also works while the thread ends. `LEAVE` has the
        // destructor instead.
        static SEAT: Cell<Seat> = const { Cell::new(Seat::UNTAKEN) };
        static LEAVE: Leave = const { Leave };
    }

    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            // The destructor of another value may run later and make a call. This call is counted without a seat.
            let seat = SEAT.replace(Seat::NONE);
            if seat.index != NO_INDEX {
                INDICES.leave(seat.index);
            }
            NUMBERS.leave(seat);
        }
    }

    /// Returns the seat of this thread, or [`Seat::NONE`] while the thread ends.
    #[inline(always)]
    pub(crate) fn seat() -> Seat {
        let seat = SEAT.get();
        if seat == Seat::UNTAKEN { take() } else { seat }
    }

    #[cold]
    fn take() -> Seat {
        // If a destructor of another thread-local value makes the first call of the thread, `LEAVE` may have been
        // dropped already.
        let seat = if LEAVE.try_with(|_| ()).is_ok() { NUMBERS.take() } else { Seat::NONE };
        SEAT.set(seat);
        seat
    }

    /// Returns the seat of this thread. If the thread has no index yet, first takes an index, unless all indices are
    /// taken.
    #[cold]
    pub(crate) fn seat_with_index() -> Seat {
        let seat = seat();
        if seat == Seat::NONE || seat.index != NO_INDEX {
            return seat;
        }
        let seat = INDICES.take(indices()).map_or(seat, |index| seat.with_index(index));
        SEAT.set(seat);
        seat
    }
}

#[cfg(breaker_loom)]
mod of_thread {
    use super::Seat;
    use crate::sync::Relaxed;

    loom::lazy_static! {
        // The counter is an atomic of `std`, so that loom does not explore the orders in which threads get seats. The
        // models of `Numbers` and `Indices` take and leave seats directly.
        static ref NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    }

    loom::thread_local! {
        static SEAT: Seat = {
            let number = NEXT.fetch_add(1, Relaxed);
            Seat::of(number).with_index(number)
        };
    }

    pub(crate) fn seat() -> Seat {
        SEAT.with(|seat| *seat)
    }

    pub(crate) fn seat_with_index() -> Seat {
        seat()
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
        let seats = Numbers::default();
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
        // The order in which two thread-local values are dropped is not specified, so the test tries both.
        let seen = [true, false].map(asks_in_its_destructor);
        assert!(seen.contains(&Seat::NONE), "one of the destructors runs after the seat was left: {seen:?}");
    }

    #[test]
    fn an_index_is_taken_again_lowest_first_and_only_below_the_count() {
        let indices = Indices::default();
        assert_eq!([(); 4].map(|()| indices.take(3)), [Some(0), Some(1), Some(2), None]);
        indices.leave(1);
        assert_eq!([(); 2].map(|()| indices.take(3)), [Some(1), None]);
        let all = Indices::default();
        assert_eq!((0..65).filter_map(|_| all.take(64)).collect::<Vec<_>>(), (0..64).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_takes_an_index_on_demand_and_returns_the_index() {
        let index = |first: fn() -> Seat| {
            let indexed = move || {
                first();
                seat().index()
            };
            thread::spawn(indexed).join().expect("it does not panic")
        };
        assert!(index(seat) >= MOST_INDICES, "a number alone takes no index");
        // Other tests of this process hold some indices, but not all of them in each of a hundred tries.
        assert!((0..100).map(|_| index(seat_with_index)).any(|index| index < indices()));
    }
}
