//! Load shedding in a circuit. The circuit refuses heavy calls, and reports the measured load to the observers.
//!
//! A shed call enters no window, takes no probe and counts no failure. The layer measures the load and chooses the
//! calls.

use std::time::Duration;

use super::Circuit;
use super::branch::Branch;
use super::gate::Gate;
use super::inner::Inner;
use super::rejected::{Facts, Rejected};
use crate::clock::{Tick, nanos};
use crate::event::Event;
use crate::state::{Mode, RejectReason, Shed};
use crate::sync::Relaxed;

impl Circuit {
    /// Refuses a call that is too heavy for a busy machine, and returns the rejection. Returns `None` if the circuit
    /// itself rejects the call, if the circuit lets every call through, or if the call is made inside a probe.
    // Not inlined, but also not `#[cold]`, because every heavy call runs this function while the machine is busy.
    #[inline(never)]
    pub(crate) fn shed(&self, now: Tick, retry_after: Duration, shed: impl FnOnce() -> Shed) -> Option<Rejected> {
        let inner = self.inner();
        if !inner.may_shed(now) {
            return None;
        }
        // Relaxed, because the count publishes no other data.
        inner.counts.load_shed.fetch_add(1, Relaxed);
        let reason = RejectReason::LoadShed;
        inner.notify_of_call(&Event::Rejected { reason });
        let branch = Branch::of_shed_call(&self.root.inner, shed());
        Some(Rejected::new(branch, Facts::new(inner.load().era(), reason, nanos(retry_after))))
    }

    /// Reports to the observers the load that the load-shedding layer has measured.
    pub(crate) fn report_load(&self, load: Option<f64>, shedding: bool, news: bool) {
        self.inner().notify(&Event::SystemLoad { load, shedding, news });
    }
}

impl Inner {
    /// Returns true if load shedding may refuse a heavy call. In shadow such a call passes, and is counted as a call
    /// that would have been rejected.
    ///
    /// Load shedding leaves a call alone if the circuit itself rejects the call, because the rejection by the circuit
    /// has the better reason. Load shedding also leaves alone each call inside a probe, and every call while an
    /// operator or the kill switch lets every call through.
    fn may_shed(&self, now: Tick) -> bool {
        let word = self.load();
        let lets_through = match self.settled(word, now) {
            Gate::Counted | Gate::Limited | Gate::Probe => true,
            Gate::Uncounted
            | Gate::Nested
            | Gate::InShadow
            | Gate::Taken { .. }
            | Gate::HeldBack(_)
            | Gate::Closed(_) => false,
        };
        if lets_through && word.beneath() == Mode::Shadow {
            // Relaxed, because the count publishes no other data.
            self.counts.would_reject.fetch_add(1, Relaxed);
            return false;
        }
        lets_through
    }
}
