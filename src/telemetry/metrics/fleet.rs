//! The metrics of fleets, which are the decision, the votes, the probes and the declined openings of a circuit.
//!
//! A circuit gets these series with the first decision of its fleet ([`FleetBrief`]). Otherwise each circuit without a
//! fleet would have a dozen useless series. The series are registered on every use and on every refresh. Circuits that
//! share a label have only the counters, because they would overwrite each other's gauges.

use std::sync::Arc;

use metrics::{Counter, counter, gauge};

use super::MetricsObserver;
use super::last::Last;
use super::under::Under;
use crate::state::{FleetBrief, FleetProbe, State};
use crate::sync::{AcqRel, Relaxed};

impl MetricsObserver {
    /// Sets the gauges to the decision of the fleet, and registers the counters of the fleet.
    pub(super) fn show_fleet(&self, under: Under<'_>, brief: FleetBrief) {
        // Relaxed: the exchange below publishes the flag.
        self.has_fleet.store(true, Relaxed);
        if under.pool.is_none() {
            // An exchange that changes nothing is used instead of a load. AcqRel: pairs with the exchange in `go`. If
            // the exchange in `go` is later, the thread in `go` sees the flag and sets the gauges to 0. If the exchange
            // in `go` is earlier, this exchange finds that the circuit has left its registry.
            if Last(self.last.fetch_or(0, AcqRel)).is_gone() {
                return;
            }
            show(under.label, Some(brief));
            // If the circuit has left its registry meanwhile, the gauges become 0.
            if self.is_gone() {
                show(under.label, None);
            }
        }
        FleetProbe::ALL.iter().for_each(|result| probes(under.label, *result).increment(0));
        declined(under.label).increment(0);
    }

    /// Sets the gauges of the fleet to 0, because the circuit has left its registry.
    pub(super) fn leave_fleet(&self, circuit: &str) {
        // Relaxed: the exchange in `go` has published the flag.
        if self.has_fleet.load(Relaxed) {
            show(circuit, None);
        }
    }
}

/// Sets the gauges of the fleet. `None` sets them to 0, for a circuit that has left its registry.
fn show(circuit: &str, brief: Option<FleetBrief>) {
    let service: Arc<str> = circuit.into();
    for state in [State::Closed, State::Open, State::HalfOpen] {
        let is = brief.is_some_and(|brief| brief.state == state);
        gauge!(FLEET_STATE, "service" => Arc::clone(&service), "state" => state.as_str()).set(f64::from(is));
    }
    let (votes, needed) = brief.map_or((0, 0), |brief| (brief.votes, brief.needed));
    gauge!(FLEET_VOTES, "service" => Arc::clone(&service)).set(f64::from(votes));
    gauge!(FLEET_VOTES_NEEDED, "service" => service).set(f64::from(needed));
}

pub(super) fn probes(label: &str, result: FleetProbe) -> Counter {
    counter!(FLEET_PROBES, "service" => label.to_owned(), "result" => result.as_str())
}

pub(super) fn declined(label: &str) -> Counter {
    counter!(FLEET_DECLINED, "service" => label.to_owned())
}

pub(super) const FLEET_STATE: &str = "circuit_breaker_fleet_state";
pub(super) const FLEET_VOTES: &str = "circuit_breaker_fleet_votes";
pub(super) const FLEET_VOTES_NEEDED: &str = "circuit_breaker_fleet_votes_needed";
pub(super) const FLEET_PROBES: &str = "circuit_breaker_fleet_probes_total";
pub(super) const FLEET_DECLINED: &str = "circuit_breaker_fleet_declined_total";

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;
    use crate::event::{Event, Observer};

    #[test]
    fn a_circuit_that_has_left_its_registry_shows_no_fleet() {
        let recorder = DebuggingRecorder::new();
        let brief = FleetBrief { state: State::Open, votes: 2, needed: 2, live: None, leases: 0, passed: 0 };
        metrics::with_local_recorder(&recorder, || {
            let observer = MetricsObserver::new();
            observer.on_event("payments", &Event::Fleet { brief });
            observer.on_event("payments", &Event::Forgotten);
            observer.on_event("payments", &Event::Fleet { brief });
        });
        let gauges = recorder.snapshotter().snapshot().into_vec().into_iter().filter_map(|(key, .., value)| {
            let DebugValue::Gauge(value) = value else { return None };
            key.key().name().contains("_fleet_").then_some(value.into_inner())
        });
        assert_eq!(gauges.collect::<Vec<_>>(), [0.0; 5]);
    }
}
