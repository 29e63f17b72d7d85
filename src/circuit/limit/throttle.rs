//! The throttle (client-side throttling), which rejects a share of the requests while the service fails too many of
//! them.
//!
//! The formula is from Google's *Site Reliability Engineering*, chapter "Handling Overload". The share over the window
//! is `max(0, (requests - k × accepts) ÷ (requests + 1))`. An accept is a call that was no failure. The window of the
//! circuit has the number of calls, and this file counts three further numbers. Failures are counted here, because the
//! window has only the weight of the failures. Rejections are counted here, because a rejection must not enter any
//! rule. Ignored and cancelled calls are counted here, because each of them was a request without a failure. Otherwise
//! a service whose outcomes are mostly ignored would have too few accepts, and would be throttled for ever.

use crate::clock::Tick;
use crate::config::Config;
use crate::outcome::{UNIT, number};
use crate::window::time::TimeWindow;
use crate::window::{Mark, Shape, Stamp, Tally};

#[derive(Debug)]
pub(super) struct Throttle {
    k: f64,
    min_calls: u64,
    /// The window of the failures, of the rejections, and of the ignored or cancelled calls. In the `Tally` of this
    /// window, `calls` counts all three kinds, `units` counts the rejections, and `slow` counts the ignored or
    /// cancelled calls.
    beside: TimeWindow,
}

impl Throttle {
    /// Returns the throttle of the configuration. `None` if the configuration has no throttle.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let k = config.throttle()?;
        // The builder refuses a throttle if the window is a number of calls.
        let Shape::Time { length, buckets } = config.window.0 else { return None };
        let beside = TimeWindow::new(length, buckets, true);
        Some(Self { k, min_calls: config.rules.min_calls.into(), beside })
    }

    /// Empties the window for a new era. The caller holds the cold mutex, and publishes the era afterwards.
    pub(super) fn begin(&self, era: u64) {
        self.beside.begin(era);
    }

    /// Adds the failures of a restored window. The caller holds the cold mutex.
    pub(super) fn seed(&self, era: u64, now: Tick, window: Tally) {
        // A restored window has only the weight of its failures, and not their number. The total weight, rounded up to
        // a whole number, counts as the number of failures.
        let failures = window.units.div_ceil(u64::from(UNIT));
        if failures > 0 {
            self.beside.seed(era, now, Tally { calls: failures, units: 0, slow: 0 });
        }
    }

    pub(super) fn failure(&self, era: u64, now: Tick) {
        self.beside.record(Stamp { era, now }, Mark { units: 0, slow: false });
    }

    /// Counts a call that was ignored or cancelled.
    pub(super) fn unjudged(&self, era: u64, now: Tick) {
        self.beside.record(Stamp { era, now }, Mark { units: 0, slow: true });
    }

    pub(super) fn rejection(&self, era: u64, now: Tick) {
        self.beside.record(Stamp { era, now }, Mark { units: 1, slow: false });
    }

    /// Returns the share of the requests that the throttle rejects. `calls` is the number of calls in the window of the
    /// circuit.
    pub(super) fn share(&self, era: u64, now: Tick, calls: u64) -> f64 {
        let Tally { calls: beside, units: rejections, slow: unjudged } = self.beside.tally(era, now);
        let failures = beside.saturating_sub(rejections).saturating_sub(unjudged);
        let calls = calls.saturating_add(unjudged);
        let requests = calls.saturating_add(rejections);
        if requests < self.min_calls {
            // With few requests, failures can be chance, and the throttle would reject good calls.
            return 0.0;
        }
        let (requests, accepts) = (number(requests), number(calls.saturating_sub(failures)));
        (self.k.mul_add(-accepts, requests) / (requests + 1.0)).max(0.0)
    }
}
