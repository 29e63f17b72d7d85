//! The metrics and warnings about keyed circuits. They report evictions of circuits, and unguarded calls, which are
//! calls that pass without a circuit.
//!
//! `keyed::Circuits` limits the number of these warnings.

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
        // An increment of 0 keeps an exporter from dropping the series as idle.
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

/// Counts a call that passes unguarded (without a circuit). `reason` is one of `UNGUARDED_BECAUSE`.
pub(crate) fn unguarded(reason: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(UNGUARDED, "reason" => reason).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _unused = reason;
}

/// Logs a warning that calls of new keys pass unguarded (without a circuit). `registry` is the limit of the registry's
/// circuits, if the registry has reached this limit. If `registry` is `None`, operators hold nearly all keyed circuits,
/// and held circuits are never evicted.
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

/// Logs a warning that the settings of a key were refused, and that calls of this key pass unguarded. Logs nothing if
/// `may_warn` is false.
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

/// True after the process has created keyed circuits.
static IS_USED: AtomicBool = AtomicBool::new(false);
