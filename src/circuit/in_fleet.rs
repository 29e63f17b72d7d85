//! The functions of a circuit that the coordinator of its fleet calls. They keep the decision of the fleet for the
//! status, report fleet probes and declined openings, and apply the trip rules to the sums of several instances. A
//! circuit adopts the decisions of its fleet by `adopt`, and gets its leased probes by `lease`.

use std::time::Duration;

use super::Circuit;
use super::trip_rules::{self, Situation};
use crate::config::{Recovery, Rules};
use crate::event::Event;
use crate::state::{FleetBrief, FleetProbe, Reason};
use crate::window::{Tally, run};

impl Circuit {
    /// Keeps the decision of the fleet for the status, and reports a change to the observers.
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

    /// Reports to the observers the number of fleet probes of this instance that ended with this result.
    pub(crate) fn report_fleet_probes(&self, result: FleetProbe, number: u32) {
        if number > 0 {
            self.inner().notify(&Event::FleetProbes { result, number });
        }
    }

    /// Reports to the observers an opening of the fleet that this instance declines.
    pub(crate) fn report_declined(&self) {
        self.inner().notify(&Event::FleetDeclined);
    }

    /// Returns true if the kill switch names the circuit.
    pub(crate) fn is_bypassed(&self) -> bool {
        self.inner().load().bypassed()
    }

    /// Returns the duration, without jitter, of opening number `attempt` in a row. `None` if only a reset ends an
    /// opening.
    pub(crate) fn open_duration(&self, attempt: u32) -> Option<Duration> {
        let config = self.config();
        (config.recovery == Recovery::Automatic).then(|| config.open.of(attempt.min(config.open.last_attempt()), 0.5))
    }

    /// Returns the rule that `tally` meets, or `None` if `tally` meets no rule. `tally` has the sums over the windows
    /// of several instances. The returned number is the attempt of an opening by this rule, which is its place among
    /// the openings in a row. The limits of a run of failures and of a score are limits of one instance, so these rules
    /// are not applied.
    pub(crate) fn trips_with(&self, tally: Tally) -> Option<(u32, Reason)> {
        let inner = self.inner();
        let seen = Situation { run: run::Seen::default(), tally, hanging: 0, has_outcome: true, age: Duration::MAX };
        let rules = Rules { failure_score: None, ..inner.config.rules };
        let rule = trip_rules::trips(&rules, inner.config.window, &seen)?;
        let cold = inner.cold.lock();
        Some((inner.openings_that_count(&cold, inner.load(), inner.now()).saturating_add(1), rule))
    }
}
