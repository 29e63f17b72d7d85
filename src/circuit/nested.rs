//! Nested calls, which are calls inside a probe of the same circuit, in the same task.
//!
//! One service can be inside two layers of the same circuit, for example if an outer router and its nested router both
//! have a layer. While the circuit is half-open, the outer call is a probe. The inner call must not need a slot of its
//! own, because a rejection of the inner call would end the probe without a verdict. Therefore the circuit notes in a
//! thread-local list that the probe is being polled. A call on the same thread during that poll goes through uncounted,
//! and the outer probe alone decides. A call that a random draw of a ramp or a throttle has admitted is noted too.
//! Otherwise a second draw could reject a call inside the admitted call.
//!
//! Other calls of a closed circuit are not noted, because the note would slow every healthy call down. Therefore, in a
//! closed circuit, two nested layers count each request twice, and a threshold is reached with half the requests.

use std::cell::{Cell, RefCell};

use super::inner::Inner;
use super::mark::Mark;
use super::permit::{Admission, Permit};

thread_local! {
    /// The noted calls that this thread polls, the innermost last. Each entry has the address of the circuit and the
    /// mark of the call.
    static POLLED: RefCell<Vec<(usize, Mark)>> = const { RefCell::new(Vec::new()) };
    /// The number of calls in `POLLED`. While the number is zero, `POLLED` is not read, because `DEPTH` has no
    /// destructor and is therefore quicker to read.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Keeps a call in `POLLED` while the call is polled. `drop` removes the call, also after a panic.
#[derive(Debug)]
struct Polled(());

impl Polled {
    fn new(circuit: usize, mark: Mark) -> Self {
        DEPTH.set(DEPTH.get() + 1);
        POLLED.with_borrow_mut(|polled| polled.push((circuit, mark)));
        Self(())
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        POLLED.with_borrow_mut(Vec::pop);
    }
}

/// Returns true if this thread polls a noted call that the circuit admitted in `era`.
#[inline]
pub(super) fn is_inside(inner: &Inner, era: u64) -> bool {
    DEPTH.get() > 0 && is_polled(inner, era)
}

#[cold]
fn is_polled(inner: &Inner, era: u64) -> bool {
    POLLED.with_borrow(|polled| polled.iter().any(|(circuit, mark)| *circuit == address(inner) && mark.is_of(era)))
}

/// Returns a number that identifies the circuit while the circuit exists.
fn address(inner: &Inner) -> usize {
    std::ptr::from_ref(inner).addr()
}

impl Permit {
    /// Runs a part of the call. `POLLED` lists the call while the part runs, if the call is noted.
    #[inline(always)]
    pub(crate) fn noted<T>(&self, part: impl FnOnce() -> T) -> T {
        if self.mark.is_noted() { noted(address(&self.branch.inner), self.mark, part) } else { part() }
    }
}

impl Admission<'_> {
    /// Runs a part of the call. `POLLED` lists the call while the part runs, if the call is noted.
    #[inline(always)]
    pub(crate) fn noted<T>(self, part: impl FnOnce() -> T) -> T {
        if self.mark.is_noted() { noted(address(&self.branch.inner), self.mark, part) } else { part() }
    }
}

// Not inlined, because few calls are noted.
#[cold]
#[inline(never)]
fn noted<T>(circuit: usize, mark: Mark, part: impl FnOnce() -> T) -> T {
    let _polled = Polled::new(circuit, mark);
    part()
}
