//! The metrics, the log lines and the lines of the audit, with the observers for metrics and logs that this crate
//! ships.
//!
//! The public observers use only events, so an application can write an observer with the same abilities. Observers
//! never change a circuit.

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

/// The label of a keyed circuit. Without the feature `keyed` there are no keyed circuits, so this type has no values.
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

/// Creates the observers that this crate ships, for one circuit. `label` is given for a keyed circuit, whose metrics
/// share a label with other circuits until the circuit gets its own label. `measures` is true if the circuit measures
/// the durations of its calls. `group` is the group of the circuit.
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

/// Logs the restore of a circuit from a store. `edge` is the transition to the restored state and mode. `edge` is
/// `None` if the circuit was restored as closed, which needs no transition.
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

/// Registers the metrics of the stores again, and the metrics that all keyed circuits of the process share. Series that
/// an exporter has dropped then appear again.
pub(crate) fn refresh() {
    #[cfg(feature = "keyed")]
    keyed::refresh();
    #[cfg(feature = "store")]
    store::refresh();
}

/// Logs a warning about a circuit or about the process, for developers and operators.
pub(crate) fn warn(message: &str) {
    #[cfg(feature = "tracing")]
    ::tracing::warn!(target: "circuit_breaker", "{message}");
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}
