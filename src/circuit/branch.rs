//! A branch: the reference to a circuit that its permits and rejections hold.
//!
//! Two threads that count references on one cache line cost each other more than all the rest of a call. So each branch has a
//! reference count of its own. A circuit begins with the root, and when several threads call it often, each index of a seat gets a
//! branch.

use std::sync::Arc;

use super::inner::Inner;
use super::word::Word;
use crate::clock::Tick;
use crate::state::{Shed, Transition};
use crate::sync::{OnceLock, Relaxed, Release, indices, seat, seat_with_index};

// The reference counts lie on a line of their own in front of the fields.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Branch {
    pub(super) inner: Arc<Inner>,
    /// A branch for each index of a seat. Only the root has these branches, and only once the circuit is spread.
    spread: OnceLock<Box<[Arc<Self>]>>,
    /// The numbers of a shed call. Each shed call has a branch of its own, so that only shed calls pay for them.
    pub(super) shed: Option<Box<Shed>>,
}

impl Branch {
    /// Returns the root of a new circuit.
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

    /// Returns the branch of this thread, where `self` is the root.
    ///
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

    /// Returns the branch of a thread that has no index yet. A thread that gets none shares the branch of another.
    #[cold]
    fn first_or_shared(branches: &[Arc<Self>]) -> &Arc<Self> {
        let seat = seat_with_index();
        branches.get(seat.index()).unwrap_or_else(|| &branches[seat.number() as usize % branches.len()])
    }

    /// Takes note of an outcome or rejection that no cell has counted, where `self` is the root or the circuit is spread. If that
    /// happens often, each seat gets a cell and a branch.
    #[cold]
    #[inline(never)]
    pub(super) fn note_contention(&self, now: impl FnOnce() -> Tick) {
        let inner = &self.inner;
        if !inner.load().is_spread() && inner.contention.note(now) {
            self.spread();
        }
    }

    /// Gives each index of a seat a cell and a branch. Returns false if another thread has the lock.
    pub(super) fn spread(&self) -> bool {
        // Under the lock, so that the circuit is spread once, and no change of the word comes between its load and its store. If
        // another thread has the lock, this call does not wait for it: threads that go on without cells try again.
        let Some(_cold) = self.inner.cold.try_lock() else { return false };
        // Relaxed: the word only changes under the lock that we hold.
        let word = Word::from_bits(self.inner.word.load(Relaxed));
        if !word.is_spread() {
            self.inner.cells.spread();
            self.spread
                .get_or_init(|| (0..indices()).map(|_| Arc::new(Self::new(Arc::clone(&self.inner), None))).collect());
            // Release: pairs with the Acquire in `load`. The data of the era were written under the lock before, and a thread that
            // sees this word must see them too, and the branches.
            self.inner.word.store(word.spread().bits(), Release);
        }
        true
    }

    /// Returns the transition by which the circuit was open in an era, or before it became half-open. `before` returns by how many
    /// eras that era lies before another.
    pub(super) fn opened(&self, before: impl Fn(u64) -> u64) -> Option<Transition> {
        if self.shed.is_some() {
            return None;
        }
        let cold = self.inner.cold.lock();
        // Each transition begins one era, so the history holds the last eras without a gap.
        let later = usize::try_from(before(cold.history.back()?.era)).ok()?;
        let past = cold.history.iter().rev().skip(later);
        past.take_while(|edge| edge.to.is_tripped()).find(|edge| edge.to.is_open()).cloned()
    }
}
