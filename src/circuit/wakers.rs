//! Wakers: the tasks that wait for a change of the circuit, or for a slot of a probe.
//!
//! A task registers and a thread wakes by exchanging one flag. The later of the two sees the change that the earlier
//! one made. Either the waking thread finds the registered task, or the task finds the change when it checks again
//! after registering. So a thread needs no lock to find out that no task waits.

use std::task::Waker;

use crate::event::guarded;
use crate::sync::{AcqRel, AtomicBool, Mutex};

/// The flag, and the tasks behind a lock.
#[derive(Debug)]
pub(super) struct Wakers {
    waiting: AtomicBool,
    tasks: Mutex<Tasks>,
}

impl Wakers {
    pub(super) fn new() -> Self {
        Self { waiting: AtomicBool::new(false), tasks: Mutex::new(Tasks::default()) }
    }

    /// Registers a task, once even if called again. The caller must check again afterwards for
    /// the change, and only then wait.
    pub(super) fn register(&self, waker: &Waker) {
        // Dropped after the statement and outside the lock, because a task is foreign code, and its drop may call `leave`.
        let _replaced = self.tasks.lock().add(Place::default(), waker);
        self.raise();
    }

    /// Registers the task at the place of a waiter, after assigning a place if the waiter has none. The waiter must
    /// give the place back with [`leave`](Self::leave).
    pub(super) fn register_at(&self, place: &mut Place, waker: &Waker) {
        let mut tasks = self.tasks.lock();
        if *place == Place::default() {
            tasks.places += 1;
            *place = Place(tasks.places);
        }
        let replaced = tasks.add(*place, waker);
        drop(tasks);
        // Outside the lock, as in `register`.
        drop(replaced);
        self.raise();
    }

    /// Removes the task of a waiter that has stopped waiting.
    pub(super) fn leave(&self, place: Place) {
        let mut tasks = self.tasks.lock();
        let at = tasks.waiting.iter().position(|(taken, _)| *taken == place);
        let left = at.map(|at| tasks.waiting.swap_remove(at));
        drop(tasks);
        // Outside the lock, as in `register`.
        drop(left);
    }

    fn raise(&self) {
        // AcqRel: pairs with the exchange in `wake`. Release: a thread that takes the flag finds the task. Acquire: if
        // a thread has just taken the flag, the next check of the caller sees the change for which that thread wakes.
        self.waiting.swap(true, AcqRel);
    }

    /// Wakes every task that has registered, and removes it.
    pub(super) fn wake(&self) {
        // AcqRel: pairs with the exchange in `raise`, for the reasons given there.
        if self.waiting.swap(false, AcqRel) {
            let tasks = std::mem::take(&mut self.tasks.lock().waiting);
            for (_, task) in tasks {
                // The panic of one task must not prevent the wake of the others, or the report to the observers.
                guarded(|| task.wake());
            }
        }
    }
}

/// The place of a waiter that comes and goes. Zero is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place(u64);

/// The registered tasks. `places` is the number of the last place that was assigned.
#[derive(Debug, Default)]
struct Tasks {
    waiting: Vec<(Place, Waker)>,
    places: u64,
}

impl Tasks {
    /// Adds the task, and returns the waker that it replaces. The caller drops that waker outside the lock.
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
