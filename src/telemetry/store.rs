//! Metrics and log lines of stores. They report the number and the durations of operations, and failures and
//! recoveries.
//!
//! The failure of a cache is logged as a warning, and the failure of a durable store is logged as an error. The callers
//! limit the number of their lines with [`Lines`](super::lines::Lines).

#[cfg(feature = "metrics")]
use std::collections::BTreeSet;
#[cfg(any(feature = "keyed", feature = "tracing"))]
use std::fmt;
#[cfg(feature = "metrics")]
use std::sync::LazyLock;
use std::time::Duration;

#[cfg(feature = "metrics")]
use crate::sync::Mutex;

/// The importance of a store for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// A cache, whose lost data are still in the durable tier.
    Cache,
    /// A durable store, whose lost data cannot be restored.
    Durable,
}

/// Registers the metrics of a kind of store, so that the counters of all results begin at 0. This function must be
/// called before the first operation of the store.
pub(crate) fn begin(store: &'static str) {
    #[cfg(feature = "metrics")]
    {
        let mut stores = STORES.lock();
        if stores.len() < MOST_STORES {
            stores.insert(store);
        }
        drop(stores);
        register(store);
    }
    #[cfg(not(feature = "metrics"))]
    let _unused = store;
}

/// Registers the metrics of all stores of the process again.
pub(super) fn refresh() {
    #[cfg(feature = "metrics")]
    {
        // The set is copied, so that no code of a recorder runs under the lock.
        let stores = STORES.lock().clone();
        stores.into_iter().for_each(register);
    }
}

#[cfg(feature = "metrics")]
fn register(store: &'static str) {
    for operation in OPERATIONS {
        for result in RESULTS {
            let labels = [("store", store), ("operation", operation), ("result", result)];
            // An increment of 0 keeps an exporter from dropping the series as idle.
            metrics::counter!(COUNT, &labels).increment(0);
        }
        drop(metrics::histogram!(DURATION, &[("store", store), ("operation", operation)]));
    }
}

/// Counts an operation of a store and records its duration. `result` is `ok` or the kind of the error.
pub(crate) fn operation(store: &'static str, operation: &'static str, result: &'static str, took: Duration) {
    #[cfg(feature = "metrics")]
    {
        let labels = [("store", store), ("operation", operation), ("result", result)];
        metrics::counter!(COUNT, &labels).increment(1);
        let labels = [("store", store), ("operation", operation)];
        metrics::histogram!(DURATION, &labels).record(took);
    }
    #[cfg(not(feature = "metrics"))]
    let _unused = (store, operation, result, took);
}

/// Sets the gauge of the live members in the fleet of this instance. An unknown number is NaN, so that a graph has a
/// gap.
pub(crate) fn members(live: Option<u32>) {
    #[cfg(feature = "metrics")]
    metrics::gauge!(INSTANCES).set(live.map_or(f64::NAN, f64::from));
    #[cfg(not(feature = "metrics"))]
    let _unused = live;
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
        "circuit breaker store {store} answers again after {failures} {}",
        if failures == 1 { "failure" } else { "failures" }
    );
    #[cfg(not(feature = "tracing"))]
    let _unused = (store, failures);
}

/// Logs an expected event of a store as information, such as the restore of circuits.
#[cfg(any(feature = "keyed", feature = "tracing"))]
pub(crate) fn note(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, "{message}");
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}

#[cfg(feature = "tracing")]
const TARGET: &str = "circuit_breaker";
/// The operations that are counted.
#[cfg(feature = "metrics")]
const OPERATIONS: [&str; 8] =
    ["load", "list", "compare_and_set", "delete", "append_audit", "trim_audit", "audit", "watch"];
/// The results that are counted, which are success and the kinds of errors.
#[cfg(feature = "metrics")]
const RESULTS: [&str; 5] = ["ok", "unavailable", "timed_out", "refused", "corrupt"];
#[cfg(feature = "metrics")]
const COUNT: &str = "circuit_breaker_store_operations_total";
#[cfg(feature = "metrics")]
const DURATION: &str = "circuit_breaker_store_operation_duration_seconds";
#[cfg(feature = "metrics")]
const INSTANCES: &str = "circuit_breaker_instances";
/// The largest number of kinds of stores whose metrics a refresh registers. A process uses one or two kinds.
#[cfg(feature = "metrics")]
const MOST_STORES: usize = 64;

/// The kinds of the stores that the process has used.
#[cfg(feature = "metrics")]
static STORES: LazyLock<Mutex<BTreeSet<&'static str>>> = LazyLock::new(Mutex::default);
