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

use crate::circuit::{Circuit, Text};
use crate::clock::Tick;
use crate::outcome::{Failure, FailureKind, Outcome};

/// The wait of the present caller, if the inner service was not ready when it was last polled.
#[derive(Debug)]
pub(super) struct Unready {
    /// True while a caller waits. A flag of its own, so that a healthy call writes one byte and tests nothing.
    waits: bool,
    /// The wait, which is over unless `waits`. In a box, so that services that are always ready stay small.
    wait: Option<Box<Wait>>,
}

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
        Self { waits: false, wait: None }
    }

    /// Notes that the service is ready, or was not polled, so that no caller waits for it.
    #[inline]
    pub(super) const fn end(&mut self) {
        self.waits = false;
    }

    /// Notes that the service was polled and is not ready.
    #[cold]
    pub(super) fn poll(&mut self, circuit: &Circuit) {
        if circuit.config().cancelled_counts_after.is_none() {
            return;
        }
        let now = circuit.now();
        let wait =
            self.wait.get_or_insert_with(|| Box::new(Wait { circuit: circuit.clone(), since: now, polled: now }));
        if !std::mem::replace(&mut self.waits, true) {
            (wait.since, wait.polled) = (now, now);
            return;
        }
        let last = std::mem::replace(&mut wait.polled, now);
        if counts(circuit, now.saturating_since(last)) {
            wait.since = now;
            circuit.record_ready_error(GAVE_UP, Text::NONE);
        }
    }
}

/// The drop of a service that a caller still waits for, which ends a wait in vain.
impl Drop for Unready {
    fn drop(&mut self) {
        if let Some(wait) = self.wait.as_ref().filter(|_| self.waits)
            && counts(&wait.circuit, wait.circuit.now().saturating_since(wait.since))
        {
            wait.circuit.record_ready_error(GAVE_UP, Text::NONE);
        }
    }
}

fn counts(circuit: &Circuit, waited: Duration) -> bool {
    // Two polls at the same time are no wait, even if `cancelled_counts_after` is zero.
    !waited.is_zero() && circuit.config().cancelled_counts_after.is_some_and(|after| waited >= after)
}

const GAVE_UP: Outcome = Outcome::Failure(Failure::timeout().with_kind(FailureKind::NotReady));
