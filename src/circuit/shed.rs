//! The calls that a load-shedding layer refuses, and the load that the layer measures.
//!
//! A shed call enters no window, takes no probe and counts no failure. The measurement of the load and the choice of the
//! calls are left to the layer.

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
    /// Refuses a call that is too heavy for a busy machine. Returns `None` if the circuit would not admit the call
    /// anyway, or if an operator lets every call through.
    // Out of line, but not cold, because every heavy call comes here while the machine is busy.
    #[inline(never)]
    pub(crate) fn shed(&self, now: Tick, retry_after: Duration, shed: impl FnOnce() -> Shed) -> Option<Rejected> {
        let inner = self.inner();
        if !inner.may_shed(now) {
            return None;
        }
        // Relaxed: a count, publishes nothing.
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
    /// Returns true if a heavy call is to be refused because the machine is busy. In
    /// shadow such a call is only counted.
    ///
    /// Load shedding does not refuse a call that the circuit rejects by itself, because the rejection has the better
    /// reason. It does not refuse a call either while an operator lets every call through, nor a part of a probe.
    fn may_shed(&self, now: Tick) -> bool {
        let word = self.load();
        let lets_through = match self.scene(word, now).settled() {
            Gate::Counted | Gate::Probe => true,
            Gate::Uncounted | Gate::Nested | Gate::InShadow | Gate::Taken { .. } | Gate::Closed(_) => false,
        };
        if lets_through && word.beneath() == Mode::Shadow {
            // Relaxed: a count, publishes nothing.
            self.counts.would_reject.fetch_add(1, Relaxed);
            return false;
        }
        lets_through
    }
}
