//! The runners of the health probes of a registry.
//!
//! Each health probe has a runner of its own (`health/run.rs`), which sleeps while its circuit is closed. The runners
//! share one limit on the number of checks at the same time. A shutdown ends the runners before the last writes,
//! because a process that ends must not begin checks. The health probes stay in the ledger, so that the next task runs
//! them again.

use super::Task;
use crate::circuit::Circuit;
use crate::health::HealthProbe;

impl Task {
    /// Adds the new health probes from the inbox, and starts their runners. During a shutdown, ends all runners
    /// instead.
    pub(super) fn run_health(&mut self, given: Vec<HealthProbe>) {
        if self.closing {
            self.ledger.health.extend(given);
            self.end_health();
        } else if self.runs_health {
            given.into_iter().for_each(|probe| self.add_health(probe));
        } else {
            self.runs_health = true;
            self.ledger.health.extend(given);
            self.ledger.health.clone().into_iter().for_each(|probe| self.spawn_health(probe));
        }
    }

    /// Runs the health probe of a new circuit, if the configuration of the circuit has an address for health probes.
    pub(super) fn run_health_of(&mut self, circuit: &Circuit) {
        #[cfg(feature = "health")]
        if let Some(probe) = circuit.health_probe() {
            self.add_health(probe);
        }
        #[cfg(not(feature = "health"))]
        let _unused = circuit;
    }

    fn add_health(&mut self, probe: HealthProbe) {
        self.ledger.health.push(probe.clone());
        if self.runs_health {
            self.spawn_health(probe);
        }
    }

    fn spawn_health(&mut self, probe: HealthProbe) {
        // The times of the probe were checked earlier, so `run` returns no error here.
        if let Ok(run) = probe.or_limit(&self.hub.health_limit).run() {
            self.runners.spawn(run);
        }
    }

    fn end_health(&mut self) {
        self.runs_health = false;
        self.runners.abort_all();
    }

    /// Counts a runner that has ended. Once the count exceeds half of the number of health probes, this function
    /// removes the health probes whose circuits are gone. A search after each end would cost too much work.
    pub(super) fn health_ended(&mut self) {
        self.ended_runners += 1;
        if self.ended_runners.saturating_mul(2) > self.ledger.health.len() {
            self.ended_runners = 0;
            self.ledger.health.retain(HealthProbe::has_circuit);
        }
    }
}
