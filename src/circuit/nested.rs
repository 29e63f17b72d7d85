//! Nested calls: a call inside a probe of the same circuit, in the same task.
//!
//! Two layers of one circuit can lie around one service, for example on a router and on a router that is nested in it.
//! In half-open the outer call is a probe. Its inner call must not need a slot of its own, because a rejection of the
//! inner call would end the probe without a verdict. Therefore the probe notes that it is being polled. A call on the
//! same thread during that poll goes through uncounted, and the outer probe alone decides.
//!
//! Calls of a closed circuit make no such note, because the note would slow every healthy call down. A closed circuit
//! counts both calls, so that nested layers reach a limit with half the requests.

use std::cell::{Cell, RefCell};

use super::inner::Inner;
use super::mark::Mark;
use super::permit::{Admission, Permit};

thread_local! {
    /// The probes that this thread polls, the innermost last, each with its circuit.
    static POLLED: RefCell<Vec<(usize, Mark)>> = const { RefCell::new(Vec::new()) };
    /// The number of these probes. A rejection reads only this number, which needs no destructor and is quick to read.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The note that a probe is being polled. The note ends when this value is dropped, also by a panic.
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

/// Returns true if this thread polls a probe of the circuit in that era.
#[inline]
pub(super) fn is_in_probe(inner: &Inner, era: u64) -> bool {
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
    /// Runs a part of the call. A probe notes that it is being polled.
    #[inline(always)]
    pub(crate) fn noted<T>(&self, part: impl FnOnce() -> T) -> T {
        if self.mark.is_probe() { noted(address(&self.branch.inner), self.mark, part) } else { part() }
    }
}

impl Admission<'_> {
    /// Runs a part of the call. A probe notes that it is being polled.
    #[inline(always)]
    pub(crate) fn noted<T>(self, part: impl FnOnce() -> T) -> T {
        if self.mark.is_probe() { noted(address(&self.branch.inner), self.mark, part) } else { part() }
    }
}

// Out of line, because healthy calls are no probes.
#[cold]
#[inline(never)]
fn noted<T>(circuit: usize, mark: Mark, part: impl FnOnce() -> T) -> T {
    let _polled = Polled::new(circuit, mark);
    part()
}
