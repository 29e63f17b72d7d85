//! The wait of a caller in `poll_ready` for an inner service that is not ready. A long wait counts as a failure.
//!
//! An exhausted pool, or a connection without free streams, holds callers in `poll_ready`, before any call. A caller
//! that gives up after `cancelled_counts_after` counts like a dropped call, because such a caller has also waited
//! without an answer. Otherwise a service that is never ready would keep its circuit closed, with totals of zero.
//!
//! A service that is used for one call is dropped when its caller gives up. A service that lives longer is polled again
//! by the next caller, or when a timer of the caller fires. Between two polls the service cannot detect that its caller
//! has given up. Therefore the caller counts as having given up if at least `cancelled_counts_after` passes between two
//! polls, and the inner service is still not ready.

use std::time::Duration;

use crate::circuit::{Circuit, Text};
use crate::clock::Tick;
use crate::outcome::{Failure, FailureKind, Outcome};

/// The wait of the present caller, if the inner service was not ready at the last poll.
#[derive(Debug)]
pub(super) struct Unready {
    /// True while a caller waits. The flag is separate from `wait`, so that a healthy call only writes one byte.
    waits: bool,
    /// The last wait, which is under way only while `waits` is true. The wait is boxed, so that services that are
    /// always ready stay small.
    wait: Option<Box<Wait>>,
}

#[derive(Debug)]
struct Wait {
    circuit: Circuit,
    /// The time of the first poll of the present wait. After a counted failure, the time of this failure.
    since: Tick,
    /// The time of the last poll of the present wait.
    polled: Tick,
}

impl Unready {
    pub(super) const fn new() -> Self {
        Self { waits: false, wait: None }
    }

    /// Ends the wait of the caller, because the inner service is ready or was not polled.
    #[inline]
    pub(super) const fn end(&mut self) {
        self.waits = false;
    }

    /// Records a poll that found the inner service not ready. Counts a failure if the previous poll of this wait was so
    /// long ago that the caller must have given up.
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

/// The drop of the service ends the wait of the present caller. Counts this wait as a failure if it was long enough.
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
    // A wait of zero does not count, even if `cancelled_counts_after` is zero.
    !waited.is_zero() && circuit.config().cancelled_counts_after.is_some_and(|after| waited >= after)
}

const GAVE_UP: Outcome = Outcome::Failure(Failure::timeout().with_kind(FailureKind::NotReady));
