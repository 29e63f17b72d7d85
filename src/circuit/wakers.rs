//! Tasks that wait for a circuit to change, or for a probe's slot.
//!
//! Registering and waking meet in one flag that both change by exchange. Whichever comes second sees what the first did:
//! either the waker finds the registered task, or the task's look after registering finds the change. So nobody needs a
//! lock to find out that nobody waits.

use core::task::Waker;

use crate::sync::{AcqRel, AtomicBool, Mutex};

#[derive(Debug)]
pub(super) struct Wakers {
    waiting: AtomicBool,
    tasks: Mutex<Vec<Waker>>,
}

impl Wakers {
    pub(super) fn new() -> Self {
        Self { waiting: AtomicBool::new(false), tasks: Mutex::new(Vec::new()) }
    }

    /// Registers a task, once however often it asks. The caller must look again afterwards, and only then wait.
    pub(super) fn register(&self, waker: &Waker) {
        let mut tasks = self.tasks.lock();
        if !tasks.iter().any(|task| task.will_wake(waker)) {
            tasks.push(waker.clone());
        }
        drop(tasks);
        // AcqRel: pairs with the exchange in `wake`. Release: whoever takes the flag finds the task. Acquire: if the flag was
        // taken just before, the caller's next look sees the change that it was taken for.
        self.waiting.swap(true, AcqRel);
    }

    /// Wakes everyone who registered before.
    pub(super) fn wake(&self) {
        // AcqRel: pairs with the exchange in `register`, as said there.
        if self.waiting.swap(false, AcqRel) {
            let tasks = core::mem::take(&mut *self.tasks.lock());
            tasks.into_iter().for_each(Waker::wake);
        }
    }
}
