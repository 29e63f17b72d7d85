//! The atomics and the mutex of this crate, and the seats (small numbers) of threads. No other module names the atomics
//! or the mutex of `std`.
//!
//! The types are aliases and not re-exports, because the lint that forbids the types of `std` elsewhere would also
//! forbid their re-exports. Under `--cfg breaker_loom`, the aliases name the types of loom, so that the loom models run
//! the real code of this crate.

#[cfg_attr(all(breaker_loom, not(test)), expect(dead_code, reason = "a model takes its seats by itself"))]
mod seat;

use std::sync::TryLockError;

#[cfg(not(breaker_loom))]
mod imp {
    #![expect(clippy::disallowed_types, reason = "this is the door")]
    pub(crate) type AtomicBool = std::sync::atomic::AtomicBool;
    pub(crate) type AtomicU32 = std::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = std::sync::atomic::AtomicU64;
    pub(crate) type OnceLock<T> = std::sync::OnceLock<T>;
    pub(super) type RawMutex<T> = std::sync::Mutex<T>;
    pub(crate) use std::sync::atomic::fence;
    pub(crate) type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;
}

#[cfg(breaker_loom)]
mod imp {
    pub(crate) type AtomicBool = loom::sync::atomic::AtomicBool;
    pub(crate) type AtomicU32 = loom::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = loom::sync::atomic::AtomicU64;
    pub(super) type RawMutex<T> = loom::sync::Mutex<T>;
    pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;
    pub(crate) use loom::sync::atomic::fence;

    use super::{Acquire, Release};

    /// A `OnceLock` for loom models, because loom has none. The flag `is_set` shows loom the order of the writes. If
    /// `get` finds the value, the thread that calls `get` also sees all writes that another thread made before that
    /// other thread called `get_or_init`.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        is_set: AtomicBool,
        value: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            // Acquire: pairs with the Release in `get_or_init`.
            if self.is_set.load(Acquire) { self.value.get() } else { None }
        }

        pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            let value = self.value.get_or_init(init);
            // Release: pairs with the Acquire in `get`.
            self.is_set.store(true, Release);
            value
        }
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self::new()
        }
    }
}

pub(crate) use imp::{AtomicBool, AtomicU32, AtomicU64, MutexGuard, OnceLock, fence};
#[cfg(all(test, breaker_loom))]
pub(crate) use seat::{Indices, Numbers};
pub(crate) use seat::{MOST_INDICES, Seat, indices, seat, seat_with_index};
pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// A mutex that ignores poisoning. Code under a lock writes its data in an order that leaves the data usable after a
/// panic.
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

    /// Returns the guard, or `None` if another thread holds the mutex.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
