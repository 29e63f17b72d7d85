//! The functions of a circuit for the coordinator of its fleet. These functions store the decision of the fleet for the
//! status, report to the observers the openings that this instance declines and the results of its fleet probes, and
//! apply the trip rules to the sums over the windows of several instances. The file `adopt` applies decisions of the
//! fleet to a circuit, and the file `lease` has the leased probes.

use std::time::Duration;

use super::Circuit;
use super::trip_rules::{self, Situation};
use crate::config::{Recovery, Rules};
use crate::event::Event;
use crate::state::{FleetBrief, FleetProbe, Reason};
use crate::window::{Tally, run};

impl Circuit {
    /// Stores the decision of the fleet for the status. If the decision has changed, notifies the observers.
    pub(crate) fn show_fleet(&self, brief: FleetBrief) {
        let inner = self.inner();
        {
            let mut cold = inner.cold.lock();
            if cold.fleet() == Some(brief) {
                return;
            }
            cold.past_mut().fleet = Some(Box::new(brief));
        }
        inner.notify(&Event::Fleet { brief });
    }

    /// Returns the decision of the fleet. `None` for a circuit without a fleet.
    pub(crate) fn fleet(&self) -> Option<FleetBrief> {
        self.inner().cold.lock().fleet()
    }

    /// Reports to the observers that `number` fleet probes of this instance ended with `result`.
    pub(crate) fn report_fleet_probes(&self, result: FleetProbe, number: u32) {
        if number > 0 {
            self.inner().notify(&Event::FleetProbes { result, number });
        }
    }

    /// Reports to the observers that this instance declines an opening of the fleet.
    pub(crate) fn report_declined(&self) {
        self.inner().notify(&Event::FleetDeclined);
    }

    /// Returns true if the kill switch names the circuit.
    pub(crate) fn is_bypassed(&self) -> bool {
        self.inner().load().bypassed()
    }

    /// Returns the open duration, without jitter, of an opening. `attempt` is the number of openings in a row, this
    /// opening included. `None` if only a reset ends the open state.
    pub(crate) fn open_duration(&self, attempt: u32) -> Option<Duration> {
        let config = self.config();
        (config.recovery == Recovery::Automatic).then(|| config.open.of(attempt.min(config.open.last_attempt()), 0.5))
    }

    /// Returns the rule that `tally` meets, and the number of openings in a row, the new opening included. Returns
    /// `None` if `tally` meets no rule. `tally` has the sums over the windows of several instances. The rules for
    /// failures in a row and for a failure score are not applied, because their limits are for one instance.
    pub(crate) fn trips_with(&self, tally: Tally) -> Option<(u32, Reason)> {
        let inner = self.inner();
        let seen = Situation { run: run::Seen::default(), tally, hanging: 0, has_outcome: true, age: Duration::MAX };
        let rules = Rules { failure_score: None, ..inner.config.rules };
        let rule = trip_rules::trips(&rules, inner.config.window, &seen)?;
        let cold = inner.cold.lock();
        Some((inner.openings_that_count(&cold, inner.load(), inner.now()).saturating_add(1), rule))
    }
}
