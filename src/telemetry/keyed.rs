//! The metrics of evictions of keyed circuits, and the metrics and warnings of unguarded calls, which pass without a
//! circuit.
//!
//! `keyed::Circuits` limits the number of the warnings.

use crate::sync::{AtomicBool, Relaxed};

/// Registers the counters, so that they begin at 0. The function is called for each new set of keyed circuits.
pub(crate) fn begin() {
    // Relaxed: a flag, publishes nothing.
    IS_USED.store(true, Relaxed);
    refresh();
}

/// Registers the counters again, if the process has keyed circuits.
pub(super) fn refresh() {
    #[cfg(feature = "metrics")]
    // Relaxed: a flag, publishes nothing.
    if IS_USED.load(Relaxed) {
        // An increment of 0 shows an exporter that the series is not idle.
        metrics::counter!(EVICTIONS).increment(0);
        for reason in UNGUARDED_BECAUSE {
            metrics::counter!(UNGUARDED, "reason" => reason).increment(0);
        }
    }
}

/// Counts the eviction of a keyed circuit.
pub(crate) fn evicted() {
    #[cfg(feature = "metrics")]
    metrics::counter!(EVICTIONS).increment(1);
}

/// Counts a call that passes unguarded. `reason` is one of `UNGUARDED_BECAUSE`.
pub(crate) fn unguarded(reason: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(UNGUARDED, "reason" => reason).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _unused = reason;
}

/// Warns that calls of new keys pass unguarded (without a circuit). Without `registry`, the reason is that operators
/// hold nearly all circuits, and such circuits are never evicted. With `registry`, the reason is that the registry has
/// reached this number of circuits, which is its limit.
pub(crate) fn full(prefix: &str, keys: usize, registry: Option<usize>, passed: u64) {
    #[cfg(feature = "tracing")]
    match registry {
        None => tracing::warn!(
            target: TARGET, prefix, keys, passed,
            "operators hold nearly all {keys} keyed circuits `{prefix}…`, so calls of new keys pass unguarded, \
             {passed} so far"
        ),
        Some(limit) => tracing::warn!(
            target: TARGET, prefix, keys, limit, passed,
            "the registry holds its limit of {limit} circuits, so calls of new keys `{prefix}…` pass unguarded, \
             {passed} so far"
        ),
    }
    #[cfg(not(feature = "tracing"))]
    let _unused = (prefix, keys, registry, passed);
}

/// Warns that the settings of a key were refused, so that its calls pass unguarded. Logs nothing if `may_warn` is
/// false.
pub(crate) fn refused(name: &str, why: &str, may_warn: bool) {
    #[cfg(feature = "tracing")]
    if may_warn {
        tracing::warn!(target: TARGET, service = name, "{why}; calls of `{name}` pass unguarded");
    }
    #[cfg(not(feature = "tracing"))]
    let _unused = (name, why, may_warn);
}

#[cfg(feature = "tracing")]
const TARGET: &str = "circuit_breaker";
/// The reasons of unguarded calls.
#[cfg(feature = "metrics")]
const UNGUARDED_BECAUSE: [&str; 3] = ["full", "registry_full", "config"];
#[cfg(feature = "metrics")]
const EVICTIONS: &str = "circuit_breaker_evictions_total";
#[cfg(feature = "metrics")]
const UNGUARDED: &str = "circuit_breaker_unguarded_calls_total";

/// True as soon as the process has keyed circuits.
static IS_USED: AtomicBool = AtomicBool::new(false);
