//! The observers that ship: metrics and logs. They know events only; they decide nothing and do no I/O of their own.

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "store")]
pub(crate) mod store;
#[cfg(feature = "tracing")]
pub mod tracing;

use std::sync::Arc;

use crate::event::Observer;

/// Returns a new one of each shipped observer, for one circuit.
pub(crate) fn shipped() -> Vec<Arc<dyn Observer>> {
    vec![
        #[cfg(feature = "metrics")]
        Arc::new(metrics::MetricsObserver::new()),
        #[cfg(feature = "tracing")]
        Arc::new(tracing::TracingObserver::new()),
    ]
}
