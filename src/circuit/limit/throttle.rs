//! The throttle, which rejects the share of the requests that the service would not accept in any case.
//!
//! The share is that of client-side throttling in Google's *Site Reliability Engineering*, chapter "Handling Overload":
//! `max(0, (requests - k × accepts) ÷ (requests + 1))` over the window. An accept is a call that was no failure. The calls
//! are in the window of the circuit. The failures and the rejections are counted a second time here, because the window of
//! the circuit knows the weight of its failures and not their number, and because a rejection must not enter any rule.

use crate::clock::Tick;
use crate::config::Config;
use crate::outcome::{UNIT, number};
use crate::window::time::TimeWindow;
use crate::window::{Mark, Shape, Stamp, Tally};

#[derive(Debug)]
pub(super) struct Throttle {
    k: f64,
    min_calls: u64,
    /// The failures and the rejections of the throttle. The calls of this window are both, and the units are the rejections.
    refused: TimeWindow,
}

impl Throttle {
    /// Returns the throttle of the configuration, if one is set.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let k = config.throttle()?;
        // The builder refuses a throttle over a window of calls.
        let Shape::Time { length, buckets } = config.window.0 else { return None };
        let refused = TimeWindow::new(length, buckets, false);
        Some(Self { k, min_calls: config.rules.min_calls.into(), refused })
    }

    /// Empties the window for a new era. The caller holds the cold mutex and publishes the era after this call.
    pub(super) fn begin(&self, era: u64) {
        self.refused.begin(era);
    }

    /// Adds the failures of a restored window. The caller holds the cold mutex.
    pub(super) fn seed(&self, era: u64, now: Tick, window: Tally) {
        // A restored window has only the weight of its failures, so that each of them counts as hard.
        let failures = window.units.div_ceil(u64::from(UNIT));
        if failures > 0 {
            self.refused.seed(era, now, Tally { calls: failures, units: 0, slow: 0 });
        }
    }

    pub(super) fn failure(&self, era: u64, now: Tick) {
        self.refused.record(Stamp { era, now }, Mark { units: 0, slow: false });
    }

    pub(super) fn rejection(&self, era: u64, now: Tick) {
        self.refused.record(Stamp { era, now }, Mark { units: 1, slow: false });
    }

    /// Returns the share of the requests that is rejected. `calls` is the number of calls in the window of the circuit.
    pub(super) fn share(&self, era: u64, now: Tick, calls: u64) -> f64 {
        let Tally { calls: refused, units: rejections, .. } = self.refused.tally(era, now);
        let failures = refused.saturating_sub(rejections);
        let requests = calls.saturating_add(rejections);
        if requests < self.min_calls {
            // Few failures are chance, and would reject good calls of a service with little traffic.
            return 0.0;
        }
        let (requests, accepts) = (number(requests), number(calls.saturating_sub(failures)));
        (self.k.mul_add(-accepts, requests) / (requests + 1.0)).max(0.0)
    }
}
