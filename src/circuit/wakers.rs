//! Tasks that wait for a circuit to change, or for a probe's slot.
//!
//! Registering and waking meet in one flag that both change by exchange. Whichever comes second sees what the first did:
//! either the waker finds the registered task, or the task's look after registering finds the change. So nobody needs a
//! lock to find out that nobody waits.

use std::task::Waker;

use crate::event::guarded;
use crate::sync::{AcqRel, AtomicBool, Mutex};

#[derive(Debug)]
pub(super) struct Wakers {
    waiting: AtomicBool,
    tasks: Mutex<Tasks>,
}

impl Wakers {
    pub(super) fn new() -> Self {
        Self { waiting: AtomicBool::new(false), tasks: Mutex::new(Tasks::default()) }
    }

    /// Registers a task, once however often it asks. The caller must look again afterwards, and only then wait.
    pub(super) fn register(&self, waker: &Waker) {
        // Dropped after the statement, outside the lock: a task is foreign code, and may have a place of its own to leave.
        let _replaced = self.tasks.lock().add(Place::default(), waker);
        self.raise();
    }

    /// Registers the task in the place of a waiter, which it takes first if it has none. To be given back with
    /// [`leave`](Self::leave).
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

    /// Forgets the task of a waiter that waits no longer.
    pub(super) fn leave(&self, place: Place) {
        let mut tasks = self.tasks.lock();
        let at = tasks.waiting.iter().position(|(taken, _)| *taken == place);
        let left = at.map(|at| tasks.waiting.swap_remove(at));
        drop(tasks);
        // Outside the lock, as in `register`.
        drop(left);
    }

    fn raise(&self) {
        // AcqRel: pairs with the exchange in `wake`. Release: whoever takes the flag finds the task. Acquire: if the flag was
        // taken just before, the caller's next look sees the change that it was taken for.
        self.waiting.swap(true, AcqRel);
    }

    /// Wakes everyone who registered before.
    pub(super) fn wake(&self) {
        // AcqRel: pairs with the exchange in `raise`, as said there.
        if self.waiting.swap(false, AcqRel) {
            let tasks = std::mem::take(&mut self.tasks.lock().waiting);
            for (_, task) in tasks {
                // A task that panics must not keep the others asleep, nor the observers untold.
                guarded(|| task.wake());
            }
        }
    }
}

/// Where a waiter that comes and goes is registered; zero is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place(u64);

#[derive(Debug, Default)]
struct Tasks {
    waiting: Vec<(Place, Waker)>,
    places: u64,
}

impl Tasks {
    /// Returns the task that was there.
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
