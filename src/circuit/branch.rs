//! The branches of a circuit. A branch is a reference-counted reference to the circuit. Each permit and each rejection
//! holds a branch.
//!
//! Each branch has a reference count of its own. If all threads changed one count, the threads would slow each other
//! down by more than the rest of a call costs. A circuit begins with one branch, the root. When several threads call
//! the circuit often, the circuit is spread. Each live thread has an index (a small number), and each index then gets a
//! branch and a cell (counters with one writing thread).
//!
//! A thread without a cell uses counters that all threads share. `circuit/admit.rs` and `circuit/outcomes.rs` report
//! each use of the shared counters to `note_contention`. `window/contention.rs` counts the uses. If the uses are
//! frequent, the circuit is spread.

use std::sync::Arc;

use super::inner::Inner;
use super::word::Word;
use crate::clock::Tick;
use crate::state::{Shed, Transition, opening};
use crate::sync::{OnceLock, Relaxed, Release, indices, seat, seat_with_index};

// `Arc` stores the reference counts before the fields. Because of the alignment, the reference counts of two branches
// never share a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Branch {
    pub(super) inner: Arc<Inner>,
    /// The branches of the threads, one for each index (the small number of a live thread). Only the root of a spread
    /// circuit has these branches.
    spread: OnceLock<Box<[Arc<Self>]>>,
    /// The load and the limits because of which load shedding has rejected a call. Each rejection refers to a branch.
    /// The rejection of a shed call gets a branch of its own with these numbers, so that other rejections need no space
    /// for the numbers.
    pub(super) shed: Option<Box<Shed>>,
}

impl Branch {
    /// Creates the root branch of a new circuit. If `is_spread` is true, also creates the branches of the threads.
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

    /// Returns the branch of this thread if `self` is the root of a spread circuit. Otherwise returns `self`.
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

    /// Assigns an index to a thread without an index, and returns the branch for the index. If no index is free, the
    /// thread shares the branch of another thread.
    #[cold]
    fn first_or_shared(branches: &[Arc<Self>]) -> &Arc<Self> {
        let seat = seat_with_index();
        branches.get(seat.index()).unwrap_or_else(|| &branches[seat.number() as usize % branches.len()])
    }

    /// Returns true if a permit or a rejection holds a branch other than the root. `self` is the root.
    #[cfg(feature = "keyed")]
    pub(super) fn has_permits_of_threads(&self) -> bool {
        self.spread.get().is_some_and(|branches| branches.iter().any(|branch| Arc::strong_count(branch) > 1))
    }

    /// Counts that a thread had no cell (counters with one writing thread) for an outcome or a rejection. If threads
    /// often have no cell, spreads the circuit, so that each thread gets a cell and a branch. `self` is the root. If
    /// the circuit is already spread, `self` may be the branch of a thread, and the call of this function has no
    /// effect.
    #[cold]
    #[inline(never)]
    pub(super) fn note_contention(&self, now: impl FnOnce() -> Tick) {
        let inner = &self.inner;
        if !inner.load().is_spread() && inner.contention.note(now) {
            self.spread();
        }
    }

    /// Creates a cell and a branch for each index (the small number of a live thread). Returns true if the circuit is
    /// spread now, and false if another thread holds the lock.
    pub(super) fn spread(&self) -> bool {
        // With the lock, the circuit is spread only once, and no other thread changes the word between the load and the
        // store below. This thread does not wait for the lock, because a later call will try again.
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

    /// Returns the transition that last opened the circuit in or before the era of a rejection, so that the rejection
    /// can show the reason. `None` for a shed call, or if the history does not contain the transition. `before` gets
    /// the present era, and returns the number of eras since the rejection.
    pub(super) fn opened(&self, before: impl Fn(u64) -> u64) -> Option<Transition> {
        if self.shed.is_some() {
            return None;
        }
        let cold = self.inner.cold.lock();
        // Each transition begins one era, so the history contains the last eras without a gap.
        let later = usize::try_from(before(cold.history.back()?.era)).ok()?;
        opening(cold.history.iter().rev().skip(later)).cloned()
    }
}
