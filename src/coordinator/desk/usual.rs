//! The usual error rate of the circuit in the last minutes. The advice of another instance lets fewer failures open the
//! circuit, but only if that number of failures is unlikely at the usual rate.
//!
//! The totals since the start of a process do not show that a service has become worse. [`Usual`] forgets half of its
//! calls in ten minutes, so its rate follows the change. The circuit uses the higher of two rates: the rate of
//! [`Usual`] and the rate of the totals.
//!
//! Calls are left out while the circuit is not closed, because probes of a service that is down are not usual. A call
//! is added only after the call has left the window, and is no longer among the failures since the last success (the
//! run). Otherwise the failures of an outage would raise the usual rate during the outage.

use std::time::Duration;

use crate::circuit::{Before, usual_rate};
use crate::clock::Tick;
use crate::outcome::{number, score_from_units};

/// The number of recent calls, and the weight of their failures. Both values gradually lose half of their size in ten
/// minutes.
#[derive(Debug, Default)]
pub(super) struct Usual {
    calls: f64,
    /// The weight of the failures among these calls.
    failures: f64,
    /// The highest counts that `look` has received so far. `look` adds only calls beyond these counts. A restore of the
    /// circuit can lower the counts. Then no call is added until the counts exceed the old values.
    counted: Before,
    /// The time of the last look.
    at: Tick,
}

impl Usual {
    /// Forgets a part of the earlier calls. If the circuit is closed, also adds the calls that `before` has counted
    /// since the last look. `before` counts the calls of the circuit that have left its window and its run (the
    /// failures since the last success).
    pub(super) fn look(&mut self, before: Before, is_closed: bool, now: Tick) {
        let counted =
            Before { calls: before.calls.max(self.counted.calls), units: before.units.max(self.counted.units) };
        let (calls, units) = (counted.calls - self.counted.calls, counted.units - self.counted.units);
        let kept = 0.5_f64.powf(now.saturating_since(self.at).as_secs_f64() / HALVED_IN.as_secs_f64());
        (self.counted, self.at) = (counted, now);
        (self.calls, self.failures) = (self.calls * kept, self.failures * kept);
        if is_closed {
            self.calls += number(calls);
            self.failures += score_from_units(units);
        }
    }

    /// Returns the error rate of the last minutes, or zero if there were fewer than [`FEW`] calls.
    pub(super) fn rate(&self) -> f64 {
        if self.calls < FEW { 0.0 } else { usual_rate(self.failures, self.calls) }
    }
}

/// The time in which half of the calls are forgotten.
const HALVED_IN: Duration = Duration::from_secs(600);
/// The number of calls below which the rate is zero. The circuit then uses the rate of its totals instead. A service
/// with one call a minute has too few calls in ten minutes for a rate.
const FEW: f64 = 50.0;
