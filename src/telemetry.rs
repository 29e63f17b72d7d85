//! The observers for metrics and logs that this crate ships.
//!
//! These observers use only events, so that a user's observer can do the same. They make no decisions and do
//! no I/O.

pub(crate) mod audit;
#[cfg(feature = "keyed")]
pub(crate) mod keyed;
#[cfg(feature = "keyed")]
pub(crate) mod label;
#[cfg(feature = "store")]
pub(crate) mod lines;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "store")]
pub(crate) mod store;
#[cfg(feature = "tracing")]
pub mod tracing;

use std::sync::Arc;

use crate::event::Observer;
use crate::group::Group;
#[cfg(feature = "keyed")]
pub(crate) use label::Label;

/// The label of a keyed circuit, of which there are none without the feature `keyed`.
#[cfg(not(feature = "keyed"))]
#[derive(Debug)]
pub(crate) enum Label {}

#[cfg(all(feature = "metrics", not(feature = "keyed")))]
impl Label {
    fn other(&self) -> &Arc<str> {
        match *self {}
    }

    fn is_own(&self) -> bool {
        match *self {}
    }
}

/// Returns new observers for one circuit, one of each kind that this crate ships. With a label, the metrics
/// of the circuit share a label with the metrics of other circuits until the circuit gets its own. `measures` is true
/// if the circuit measures the durations of its calls. `group` is the group of the
/// circuit.
pub(crate) fn shipped(label: Option<&Arc<Label>>, measures: bool, group: Option<&Group>) -> Vec<Arc<dyn Observer>> {
    #[cfg(not(feature = "metrics"))]
    let _unused = (label, measures, group);
    #[cfg_attr(not(feature = "metrics"), expect(unused_mut, reason = "only a circuit in a group has more observers"))]
    let mut shipped: Vec<Arc<dyn Observer>> = vec![
        #[cfg(feature = "metrics")]
        Arc::new(metrics::MetricsObserver::of(label, measures)),
        #[cfg(feature = "tracing")]
        Arc::new(tracing::TracingObserver::new()),
    ];
    #[cfg(feature = "metrics")]
    if let Some(group) = group {
        shipped.push(Arc::new(metrics::GroupObserver::new(group, label)));
    }
    shipped
}

/// Logs the restore of a circuit from a store. `edge` is the transition to the restored standing. `None` stands for a
/// circuit that is closed, as a new circuit is.
#[cfg(feature = "store")]
pub(crate) fn restored(circuit: &str, store: &'static str, edge: Option<&crate::state::Transition>) {
    #[cfg(feature = "tracing")]
    match edge {
        Some(edge) => tracing::restored(circuit, store, edge),
        None => store::note(format_args!("circuit `{circuit}` was restored from {store}: it is closed")),
    }
    #[cfg(not(feature = "tracing"))]
    let _unused = (circuit, store, edge);
}

/// Registers again the metrics that belong to no circuit, so that series that an exporter has dropped come back.
pub(crate) fn refresh() {
    #[cfg(feature = "keyed")]
    keyed::refresh();
    #[cfg(feature = "store")]
    store::refresh();
}

/// Logs an event of a circuit or of the process that needs the attention of its developers or operators.
pub(crate) fn warn(message: &str) {
    #[cfg(feature = "tracing")]
    ::tracing::warn!(target: "circuit_breaker", "{message}");
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}
