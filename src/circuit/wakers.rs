//! The wakers of the tasks that wait for a change of the circuit or for the slot of a probe.
//!
//! A task that registers exchanges a flag, and a thread that wakes the tasks exchanges the same flag. The later
//! exchange sees everything that the other thread did before the earlier exchange. Either the waking thread finds the
//! registered task, or the task finds the change when the task checks again after the registration. So a waking thread
//! needs no lock if no task waits.

use std::task::Waker;

use crate::event::guarded;
use crate::sync::{AcqRel, AtomicBool, Mutex};

/// The registered tasks behind a lock, and a flag that is set if tasks may be registered.
#[derive(Debug)]
pub(super) struct Wakers {
    waiting: AtomicBool,
    tasks: Mutex<Tasks>,
}

impl Wakers {
    pub(super) fn new() -> Self {
        Self { waiting: AtomicBool::new(false), tasks: Mutex::new(Tasks::default()) }
    }

    /// Registers a task. A task that is already registered is not registered twice. Afterwards, the caller must check
    /// once more for the change before the task waits.
    pub(super) fn register(&self, waker: &Waker) {
        // The replaced waker is dropped at the end of the function and outside the lock, because a waker is foreign
        // code and its drop may call `leave`.
        let _replaced = self.tasks.lock().add(Place::default(), waker);
        self.raise();
    }

    /// Registers the task at the place of a waiter. A waiter without a place gets a new place. The waiter must give the
    /// place back with [`leave`](Self::leave).
    pub(super) fn register_at(&self, place: &mut Place, waker: &Waker) {
        let mut tasks = self.tasks.lock();
        if *place == Place::default() {
            tasks.places += 1;
            *place = Place(tasks.places);
        }
        let replaced = tasks.add(*place, waker);
        drop(tasks);
        // The waker is dropped outside the lock, because a waker is foreign code and its drop may call `leave`.
        drop(replaced);
        self.raise();
    }

    /// Removes the task of a waiter that has stopped waiting.
    pub(super) fn leave(&self, place: Place) {
        let mut tasks = self.tasks.lock();
        let at = tasks.waiting.iter().position(|(taken, _)| *taken == place);
        let left = at.map(|at| tasks.waiting.swap_remove(at));
        drop(tasks);
        // The waker is dropped outside the lock, because a waker is foreign code and its drop may call `leave`.
        drop(left);
    }

    fn raise(&self) {
        // AcqRel, because the exchange pairs with the exchange in `wake`. By the Release, a thread that later clears
        // the flag in `wake` finds the registered task. By the Acquire, if a thread has cleared the flag before, the
        // next check of this task sees the change that the thread has made.
        self.waiting.swap(true, AcqRel);
    }

    /// Wakes every registered task, and removes the tasks.
    pub(super) fn wake(&self) {
        // AcqRel, because the exchange pairs with the exchange in `raise`. By the Acquire, this thread finds the
        // registered tasks. By the Release, a task that registers later sees the change when the task checks again.
        if self.waiting.swap(false, AcqRel) {
            let tasks = std::mem::take(&mut self.tasks.lock().waiting);
            for (_, task) in tasks {
                // The panic of one waker must not prevent the wake of the other tasks or the report to the observers.
                guarded(|| task.wake());
            }
        }
    }
}

/// The number of the place of a waiter that will call [`Wakers::leave`]. The default, zero, is the shared place of
/// tasks that stay registered until the next wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place(u64);

/// The registered tasks. `places` is the number of the last place that was assigned.
#[derive(Debug, Default)]
struct Tasks {
    waiting: Vec<(Place, Waker)>,
    places: u64,
}

impl Tasks {
    /// Adds the task. Returns the waker that was replaced, or `None` if no waker was replaced. The caller drops the
    /// replaced waker outside the lock.
    #[must_use]
    fn add(&mut self, place: Place, waker: &Waker) -> Option<Waker> {
        let nowhere = place == Place::default();
        let there = |(taken, task): &&mut (Place, Waker)| *taken == place && (!nowhere || task.will_wake(waker));
        match self.waiting.iter_mut().find(there) {
            Some((_, task)) if task.will_wake(waker) => None,
            Some((_, task)) => Some(std::mem::replace(task, waker.clone())),
            None => {
                self.waiting.push((place, waker.clone()));
                None
            }
        }
    }
}
