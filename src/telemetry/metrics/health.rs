//! The counters of health probes, `circuit_breaker_health_probes_total`, by result.
//!
//! The series are registered when the health probes of a circuit begin, and on every refresh after that. They are not
//! registered for each new circuit, because most circuits have no health probes.

use metrics::{Counter, counter};

use super::MetricsObserver;
use super::under::Under;
use crate::state::HealthResult;
use crate::sync::Relaxed;

impl MetricsObserver {
    /// Registers the counters of health probes, when the health probes of the circuit begin.
    pub(super) fn begin_health(&self, under: Under<'_>) {
        // Relaxed: a flag, publishes nothing.
        self.has_health.store(true, Relaxed);
        HealthResult::ALL.iter().for_each(|result| probes(under.label, *result).increment(0));
    }

    /// Registers the counters again. Counters that an exporter has dropped then appear again.
    pub(super) fn renew_health(&self, under: Under<'_>) {
        // Relaxed: a flag, publishes nothing.
        if self.has_health.load(Relaxed) {
            self.begin_health(under);
        }
    }
}

pub(super) fn probes(label: &str, result: HealthResult) -> Counter {
    counter!(HEALTH_PROBES, "service" => label.to_owned(), "result" => result.as_str())
}

pub(super) const HEALTH_PROBES: &str = "circuit_breaker_health_probes_total";
