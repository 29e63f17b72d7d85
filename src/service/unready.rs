//! The wait of a caller for an inner service that is not ready.
//!
//! An exhausted pool, or a connection without free streams, holds callers in `poll_ready`, before any call. A caller
//! that gives up after `cancelled_counts_after` counts like a call that was dropped, because the caller has waited in
//! vain all the same. Otherwise a service that is never ready would keep its circuit closed, with totals of zero.
//!
//! A service that is used for one call is dropped when its caller gives up. A service that lives on is polled by the
//! next caller, or once more by the timer of the caller. No poll comes while a caller only waits. Therefore a poll that
//! comes `cancelled_counts_after` or more after the last one, and finds the service still not ready, ends a wait in
//! vain.

use std::time::Duration;

use crate::circuit::Circuit;
use crate::clock::Tick;
use crate::outcome::{Failure, FailureKind, Outcome};

/// The wait of the present caller, if the inner service was not ready when it was last polled.
#[derive(Debug)]
pub(super) struct Unready(Option<Wait>);

#[derive(Debug)]
struct Wait {
    circuit: Circuit,
    /// The time of the first poll that is not counted yet.
    since: Tick,
    /// The time of the last poll.
    polled: Tick,
}

impl Unready {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Notes that the service is ready, or was not polled, so that no caller waits for it.
    // A test before the write, because each healthy call comes here.
    #[inline]
    pub(super) fn end(&mut self) {
        if self.0.is_some() {
            self.0 = None;
        }
    }

    /// Notes that the service was polled and is not ready.
    #[cold]
    pub(super) fn poll(&mut self, circuit: &Circuit) {
        if circuit.config().cancelled_counts_after.is_none() {
            return;
        }
        let now = circuit.now();
        let Some(wait) = &mut self.0 else {
            self.0 = Some(Wait { circuit: circuit.clone(), since: now, polled: now });
            return;
        };
        let last = std::mem::replace(&mut wait.polled, now);
        if counts(circuit, now.saturating_since(last)) {
            wait.since = now;
            circuit.record_ready_error(GAVE_UP);
        }
    }
}

/// The drop of a service that a caller still waits for, which ends a wait in vain.
impl Drop for Unready {
    fn drop(&mut self) {
        if let Some(wait) = &self.0
            && counts(&wait.circuit, wait.circuit.now().saturating_since(wait.since))
        {
            wait.circuit.record_ready_error(GAVE_UP);
        }
    }
}

fn counts(circuit: &Circuit, waited: Duration) -> bool {
    // Two polls at the same time are no wait, even if `cancelled_counts_after` is zero.
    !waited.is_zero() && circuit.config().cancelled_counts_after.is_some_and(|after| waited >= after)
}

const GAVE_UP: Outcome = Outcome::Failure(Failure::timeout().with_kind(FailureKind::NotReady));
