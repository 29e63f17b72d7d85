//! The label under which an event is counted, and the change of a keyed circuit from the shared label to its own label.
//!
//! The label can change while another thread reports an event of the circuit. If the event read the label twice, it
//! could find two different labels, and set the gauges of all circuits to the values of one circuit. Therefore each
//! event reads its label once, and passes the label on together with the handles. The gauges of the standing (state and
//! mode) are an exception. The exchange of [`Last`] decides which label shows a standing, because this exchange orders
//! the change of the label and the changes of the standing.

use super::MetricsObserver;
use super::handles::Handles;
use super::kept::Kept;
use super::last::Last;
use super::pool::{Pool, Pooled};
use crate::sync::{AcqRel, Acquire, Relaxed};

/// The label under which one event is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Under<'a> {
    pub(super) label: &'a str,
    /// The metric handles of the label.
    pub(super) kept: &'a Kept,
    /// The pool of the circuits that share the label. `None` if the label belongs to the circuit.
    pub(super) pool: Option<&'a Pool>,
}

impl Under<'_> {
    /// Registers the handles of the label.
    pub(super) fn register(self, recorder: usize, measures: bool) -> Handles {
        Handles::register(recorder, self.label, self.pool.is_none(), measures)
    }
}

impl MetricsObserver {
    /// Returns the label under which an event of the circuit is counted.
    pub(super) fn under<'a>(&'a self, circuit: &'a str) -> Under<'a> {
        // Relaxed: an event that sees the change of the label late is still counted under the shared label.
        match self.pool.as_deref().filter(|_| !Last(self.last.load(Relaxed)).is_own()) {
            Some(Pooled { pool, .. }) => Under { label: &pool.label, kept: &pool.kept, pool: Some(pool) },
            None => Under { label: circuit, kept: &self.own, pool: None },
        }
    }

    /// Moves the circuit from the pool to its own label, if the circuit has got its own label since its last event.
    pub(super) fn leave_pool(&self, circuit: &str) {
        let Some(Pooled { label, pool }) = self.pool.as_deref() else { return };
        // Relaxed: a circuit that sees its label late leaves the pool with its next event.
        let last = Last(self.last.load(Relaxed));
        if !label.is_own() || last.is_own() || last.is_gone() {
            return;
        }
        // AcqRel: pairs with the exchanges in `show` and `change`. A circuit that left its registry meanwhile keeps the
        // shared label, because `go` has removed the circuit from the counts of the pool already.
        let left = self.last.fetch_update(AcqRel, Acquire, |last| {
            let last = Last(last);
            (!last.is_own() && !last.is_gone()).then_some(last.0 | Last::OWN)
        });
        if let Ok(last) = left {
            pool.moved(Some(Last(last)), None);
            pool.show();
            self.show(circuit);
        }
    }
}
