//! Metrics and log lines of stores. Each operation has a count and a duration, and each important change has
//! a line.
//!
//! The failure of a cache is logged as a warning, and the failure of a durable store is logged as an error.
//! The callers limit the number of their lines with [`Lines`].

use std::fmt;
use std::time::Duration;

use crate::clock::Tick;

/// The importance of a store for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// A cache, whose lost data are still in the durable tier.
    Cache,
    /// A durable store, whose lost data cannot be restored.
    Durable,
}

/// Counts an operation of a store and records its duration. The result is `ok` or the kind of the error.
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

/// Logs the failure of a store. `untold` is the number of earlier failures that were not logged.
pub(crate) fn failed(rank: Rank, store: &'static str, operation: &'static str, error: &str, untold: u64) {
    #[cfg(feature = "tracing")]
    {
        let more = if untold > 0 { format!(" ({untold} more failed before)") } else { String::new() };
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

/// Logs that a store answers again after failures.
pub(crate) fn recovered(store: &'static str, failures: u32) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        target: TARGET, store, failures,
        "circuit breaker store {store} answers again after {failures} failures"
    );
    #[cfg(not(feature = "tracing"))]
    let _unused = (store, failures);
}

/// Logs an expected event of a store, such as the restore of circuits.
pub(crate) fn note(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, "{message}");
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}

/// Logs an event of a store that needs attention, in one line of at most 1000 characters, because the message can contain
/// texts of the store.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: TARGET, "{}", crate::shown::one_line(&message.to_string(), 1_000));
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}

/// Limits the log lines about one subject to one line a minute.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The time from which the next line may be logged.
    next: Tick,
    /// The number of lines that were omitted since the last logged line.
    unlogged: u64,
}

impl Lines {
    /// Returns the number of earlier lines that were omitted, if this line may be logged. Returns `None` if
    /// this line must be omitted.
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
