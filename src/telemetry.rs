//! The observers that ship: metrics and logs. They know events only; they decide nothing and do no I/O of their own.

pub(crate) mod audit;
#[cfg(feature = "keyed")]
pub(crate) mod keyed;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "store")]
pub(crate) mod store;
#[cfg(feature = "tracing")]
pub mod tracing;

use std::sync::Arc;

use crate::event::Observer;

/// Returns a new one of each shipped observer, for one circuit. With a label, it shares that with others in metrics.
pub(crate) fn shipped(label: Option<&Arc<str>>) -> Vec<Arc<dyn Observer>> {
    #[cfg(not(feature = "metrics"))]
    let _unused = label;
    vec![
        #[cfg(feature = "metrics")]
        Arc::new(label.map_or_else(metrics::MetricsObserver::new, metrics::MetricsObserver::with_label)),
        #[cfg(feature = "tracing")]
        Arc::new(tracing::TracingObserver::new()),
    ]
}
