//! What is told of stores: a count and a duration for each operation, a line for what humans should know.
//!
//! A cache tier's failures are warnings, a durable tier's are errors. Who tells limits how often: one line a minute is enough.

use std::fmt;
use std::time::Duration;

/// What a store is to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// What it loses is kept elsewhere.
    Cache,
    /// What it loses is lost.
    Durable,
}

/// Counts an operation of a store, and measures it. The result is `ok` or the kind of the error.
pub(crate) fn operation(store: &'static str, operation: &'static str, result: &'static str, took: Duration) {
    #[cfg(feature = "metrics")]
    {
        let labels = [("store", store), ("operation", operation), ("result", result)];
        metrics::counter!("circuit_breaker_store_operations_total", &labels).increment(1);
        let labels = [("store", store), ("operation", operation)];
        metrics::histogram!("circuit_breaker_store_operation_duration_seconds", &labels).record(took);
    }
    #[cfg(not(feature = "metrics"))]
    let _unused = (store, operation, result, took);
}

/// Tells that a store failed; `untold` failures before were not told.
pub(crate) fn failed(rank: Rank, store: &'static str, operation: &'static str, error: &str, untold: u64) {
    #[cfg(feature = "tracing")]
    {
        let more = fmt::from_fn(|f| if untold > 0 { write!(f, " ({untold} more failed before)") } else { Ok(()) });
        match rank {
            Rank::Cache => tracing::warn!(
                target: TARGET, store, operation, error, untold,
                "circuit breaker store {store} failed to {operation}: {error}{more}; the durable tier goes on without it"
            ),
            Rank::Durable => tracing::error!(
                target: TARGET, store, operation, error, untold,
                "circuit breaker store {store} failed to {operation}: {error}{more}; circuits go on in memory"
            ),
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _unused = (rank, store, operation, error, untold);
}

/// Tells that a store answers again.
pub(crate) fn recovered(store: &'static str, failures: u32) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        target: TARGET, store, failures,
        "circuit breaker store {store} answers again after {failures} failures"
    );
    #[cfg(not(feature = "tracing"))]
    let _unused = (store, failures);
}

/// Tells something that is as it should be.
pub(crate) fn note(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, "{message}");
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}

/// Tells something that somebody should look at.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: TARGET, "{message}");
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}

#[cfg(feature = "tracing")]
const TARGET: &str = "circuit_breaker";
