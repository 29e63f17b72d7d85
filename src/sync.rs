//! The one door to atomics and to the cold mutex; it numbers the threads for the shards, too.
//!
//! Aliases, not re-exports: the ban on naming the originals elsewhere sees through a re-export. Under `--cfg breaker_loom`
//! the same names are loom's, so that the loom models run the code that ships.

#[cfg(not(breaker_loom))]
mod imp {
    #![expect(clippy::disallowed_types, reason = "this is the door")]
    pub(crate) type AtomicBool = core::sync::atomic::AtomicBool;
    pub(crate) type AtomicU32 = core::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = core::sync::atomic::AtomicU64;
    pub(super) type RawMutex<T> = std::sync::Mutex<T>;
    pub(crate) type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;
}

#[cfg(breaker_loom)]
mod imp {
    pub(crate) type AtomicBool = loom::sync::atomic::AtomicBool;
    pub(crate) type AtomicU32 = loom::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = loom::sync::atomic::AtomicU64;
    pub(super) type RawMutex<T> = loom::sync::Mutex<T>;
    pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;
}

pub(crate) use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
pub(crate) use imp::{AtomicBool, AtomicU32, AtomicU64, MutexGuard};

/// A mutex that does not know poison: what it guards is written so that a panic leaves it usable.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(imp::RawMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::RawMutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// Returns the number of this thread: 0 for the first that asked, then 1, and so on.
pub(crate) fn thread_number() -> usize {
    // Not through the aliases: loom's atomics cannot be constants, and no model is about who gets which number.
    #[expect(clippy::disallowed_types, reason = "a process-wide counter in a static, which loom cannot have")]
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local! {
        // Relaxed: a count, publishes nothing.
        static NUMBER: usize = NEXT.fetch_add(1, Relaxed);
    }
    NUMBER.with(|number| *number)
}
