//! What a load-shedding layer tells its circuit: the calls that it refuses, and the load that it sees.
//!
//! A shed call is none of the circuit's business otherwise: it is in no window, takes no probe, and fails nothing.

use core::time::Duration;

use super::branch::Branch;
use super::rejected::Facts;
use super::{Circuit, Rejected};
use crate::clock::{Tick, nanos};
use crate::event::Event;
use crate::state::{RejectReason, Shed};
use crate::sync::Relaxed;

impl Circuit {
    /// Refuses a call that is too heavy for a busy machine, unless the circuit would not let it through anyway, or an operator
    /// lets everything through.
    // Out of line, but not cold: while the machine is busy this is the path of every heavy call.
    #[inline(never)]
    pub(crate) fn shed(&self, now: Tick, retry_after: Duration, shed: impl FnOnce() -> Shed) -> Option<Rejected> {
        let inner = self.inner();
        if !inner.may_shed(now) {
            return None;
        }
        // Relaxed: a count, publishes nothing.
        inner.counts.load_shed.fetch_add(1, Relaxed);
        let reason = RejectReason::LoadShed;
        inner.tell_call(&Event::Rejected { reason });
        let branch = Branch::of_shed_call(&self.root.inner, shed());
        Some(Rejected::new(branch, Facts::new(inner.load().era(), reason, nanos(retry_after))))
    }

    /// Tells the observers what a look at the load has shown.
    pub(crate) fn tell_load(&self, load: Option<f64>, shedding: bool, news: bool) {
        self.inner().tell(&Event::SystemLoad { load, shedding, news });
    }
}
