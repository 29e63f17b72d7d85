//! What is told of stores: a count and a duration for each operation, a line for what humans should know.
//!
//! A cache tier's failures are warnings, a durable tier's are errors. The caller limits its lines by [`Lines`].

use std::fmt;
use std::time::Duration;

use crate::clock::Tick;

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

/// Limits the lines about one subject to one a minute.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// When the next line may be logged.
    next: Tick,
    /// Lines that were not logged since the last one.
    unlogged: u64,
}

impl Lines {
    /// Returns the number of lines that were left out before this one, if this one may be logged now.
    #[must_use = "the caller logs the line"]
    pub(crate) fn next(&mut self, now: Tick) -> Option<u64> {
        if now < self.next {
            self.unlogged += 1;
            return None;
        }
        self.next = now.saturating_add(EVERY);
        Some(std::mem::take(&mut self.unlogged))
    }
}

const EVERY: Duration = Duration::from_secs(60);
#[cfg(feature = "tracing")]
const TARGET: &str = "circuit_breaker";
