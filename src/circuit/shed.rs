//! What a load-shedding layer tells its circuit: the calls that it refuses, and the load that it sees.
//!
//! A shed call is none of the circuit's business otherwise: it is in no window, takes no probe, and fails nothing.

use core::time::Duration;
use std::sync::Arc;

use super::Circuit;
use crate::clock::Tick;
use crate::error::{Opened, Rejected};
use crate::event::Event;
use crate::state::{RejectReason, Shed, Transition};
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
        let call = ShedCall { circuit: self.clone(), shed: shed() };
        Some(Rejected::new(Arc::new(call), reason, Some(retry_after), inner.load().era()))
    }

    /// Tells the observers what a look at the load has shown.
    pub(crate) fn tell_load(&self, load: Option<f64>, shedding: bool, news: bool) {
        self.inner().tell(&Event::SystemLoad { load, shedding, news });
    }
}

/// What a rejection points to that has more to say than its circuit: the price of the numbers is paid by shed calls only.
struct ShedCall {
    circuit: Circuit,
    shed: Shed,
}

impl Opened for ShedCall {
    fn name(&self) -> &str {
        self.circuit.name()
    }

    fn opened(&self, _: u64) -> Option<Transition> {
        None
    }

    fn shed(&self) -> Option<&Shed> {
        Some(&self.shed)
    }
}
