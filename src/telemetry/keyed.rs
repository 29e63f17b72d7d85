//! Metrics and log lines of keyed circuits, for evictions and unguarded calls. The callers limit the number of
//! warnings.

/// Counts an eviction.
pub(crate) fn evicted() {
    #[cfg(feature = "metrics")]
    metrics::counter!("circuit_breaker_evictions_total").increment(1);
}

/// Counts a call that passes unguarded.
pub(crate) fn unguarded(reason: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("circuit_breaker_unguarded_calls_total", "reason" => reason).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _unused = reason;
}

/// Warns that calls of new keys pass unguarded, because no key can be evicted, or because the registry has reached its
/// limit.
pub(crate) fn full(prefix: &str, keys: usize, registry: Option<usize>, passed: u64) {
    #[cfg(feature = "tracing")]
    match registry {
        None => tracing::warn!(
            target: TARGET, prefix, keys, passed,
            "all {keys} keyed circuits `{prefix}…` are open, half-open or held, so calls of new keys pass unguarded, {passed} so far"
        ),
        Some(limit) => tracing::warn!(
            target: TARGET, prefix, keys, limit, passed,
            "the registry holds its limit of {limit} circuits, so calls of new keys `{prefix}…` pass unguarded, {passed} so far"
        ),
    }
    #[cfg(not(feature = "tracing"))]
    let _unused = (prefix, keys, registry, passed);
}

/// Warns that the circuit of a key was refused, if a warning is permitted.
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
