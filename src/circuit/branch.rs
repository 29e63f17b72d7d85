//! The branches of a circuit. A branch is a reference to the circuit, which permits and rejections hold.
//!
//! Each branch has a reference count of its own, because two threads that count references on one cache line cost each
//! other more than the rest of a call. A circuit begins with one branch, the root. When several threads call the
//! circuit often, the circuit is spread. Each index (a small number that one live thread has) then gets a branch, and a
//! cell for the counts of its thread.
//!
//! A thread without a cell uses the counts that all threads share. `circuit/admit.rs` and `circuit/outcomes.rs` report
//! each such use to `note_contention`. `window/contention.rs` counts the uses, and so finds that the circuit should be
//! spread.

use std::sync::Arc;

use super::inner::Inner;
use super::word::Word;
use crate::clock::Tick;
use crate::state::{Shed, Transition, opening};
use crate::sync::{OnceLock, Relaxed, Release, indices, seat, seat_with_index};

// The struct is aligned, so that the reference counts of two branches never share a cache line. `Arc` keeps the counts
// in front of the fields.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Branch {
    pub(super) inner: Arc<Inner>,
    /// The branches of the threads, one for each index (a small number that one live thread has). Only the root has
    /// these branches, and only once the circuit is spread.
    spread: OnceLock<Box<[Arc<Self>]>>,
    /// The load and the limits by which load shedding has rejected a call. Such a call gets a branch of its own, so
    /// that other rejections need no room for these numbers.
    pub(super) shed: Option<Box<Shed>>,
}

impl Branch {
    /// Returns the root of a new circuit, with all branches if the circuit is spread from the start.
    pub(super) fn root(inner: Arc<Inner>, is_spread: bool) -> Arc<Self> {
        let root = Arc::new(Self::new(inner, None));
        if is_spread {
            root.spread();
        }
        root
    }

    #[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
    pub(super) fn of_shed_call(inner: &Arc<Inner>, shed: Shed) -> Arc<Self> {
        Arc::new(Self::new(Arc::clone(inner), Some(Box::new(shed))))
    }

    fn new(inner: Arc<Inner>, shed: Option<Box<Shed>>) -> Self {
        Self { inner, spread: OnceLock::new(), shed }
    }

    /// Returns the branch of this thread if `self` is the root of a spread circuit. Otherwise returns `self`, because
    /// only such a root has other branches.
    #[inline(always)]
    pub(super) fn own(self: &Arc<Self>, word: Word) -> &Arc<Self> {
        if !word.is_spread() {
            return self;
        }
        match self.spread.get() {
            Some(branches) => branches.get(seat().index()).unwrap_or_else(|| Self::first_or_shared(branches)),
            None => self,
        }
    }

    /// Assigns an index to a thread that has none yet, and returns the branch of the index. If no index is free, the
    /// thread shares the branch of another thread.
    #[cold]
    fn first_or_shared(branches: &[Arc<Self>]) -> &Arc<Self> {
        let seat = seat_with_index();
        branches.get(seat.index()).unwrap_or_else(|| &branches[seat.number() as usize % branches.len()])
    }

    /// Returns true if permits or rejections hold one of the branches of the threads. `self` is the root.
    #[cfg(feature = "keyed")]
    pub(super) fn has_permits_of_threads(&self) -> bool {
        self.spread.get().is_some_and(|branches| branches.iter().any(|branch| Arc::strong_count(branch) > 1))
    }

    /// Notes that a thread had no cell (counts with one writing thread) for an outcome or a rejection. If this happens
    /// often, the circuit is spread, which gives each thread a cell and a branch. `self` is the root, unless the
    /// circuit is already spread.
    #[cold]
    #[inline(never)]
    pub(super) fn note_contention(&self, now: impl FnOnce() -> Tick) {
        let inner = &self.inner;
        if !inner.load().is_spread() && inner.contention.note(now) {
            self.spread();
        }
    }

    /// Gives each index (a small number that one live thread has) a cell and a branch. Returns true once the circuit is
    /// spread, and false if another thread holds the lock.
    pub(super) fn spread(&self) -> bool {
        // The lock makes sure that the circuit is spread once, and that no other change of the word comes between its
        // load and its store. The thread does not wait for the lock, because a thread without a cell will try again.
        let Some(_cold) = self.inner.cold.try_lock() else { return false };
        // Relaxed, because the word changes only under the lock, which this thread holds.
        let word = Word::from_bits(self.inner.word.load(Relaxed));
        if !word.is_spread() {
            self.inner.cells.spread();
            self.spread
                .get_or_init(|| (0..indices()).map(|_| Arc::new(Self::new(Arc::clone(&self.inner), None))).collect());
            // Release, which pairs with the Acquire in `load`. A thread that sees this word must see the branches, and
            // the data of the era, which another thread may have written under the lock before.
            self.inner.word.store(word.spread().bits(), Release);
        }
        true
    }

    /// Returns the last transition that opened the circuit up to a given era, so that a rejection of that era can give
    /// the reason. `None` for a shed call, or if the history has no such transition. `before` gets the present era, and
    /// returns the number of eras since the given era.
    pub(super) fn opened(&self, before: impl Fn(u64) -> u64) -> Option<Transition> {
        if self.shed.is_some() {
            return None;
        }
        let cold = self.inner.cold.lock();
        // Each transition begins one era, so the history has the last eras without a gap.
        let later = usize::try_from(before(cold.history.back()?.era)).ok()?;
        opening(cold.history.iter().rev().skip(later)).cloned()
    }
}
