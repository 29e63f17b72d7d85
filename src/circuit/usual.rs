//! The usual error rate of a circuit. While advice of another instance lasts, the trip rules compare the evidence with
//! this rate.
//!
//! The rate is the weight of the failures divided by the number of calls, as in the rules. The present evidence, which
//! is the window and the run (failures in a row), is left out. Otherwise the failures of an outage would count as
//! usual.

#[cfg(feature = "store")]
use super::Circuit;
use super::inner::Inner;
use super::status::Totals;
use super::trip_rules;
use crate::outcome::{Weight, number, score_from_units};
#[cfg(feature = "store")]
use crate::state::State;
use crate::sync::Relaxed;
use crate::window::Tally;

/// The calls of this process since the circuit was created, without the calls of the present evidence (window and run).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Before {
    pub(crate) calls: u64,
    /// The weight of the failures among these calls, in units of 1/256.
    pub(crate) units: u64,
}

impl Inner {
    /// Returns the usual rate of failed calls. This is the rate in all calls before the present evidence (the window
    /// and the run), or the rate that came with the last advice ([`usual`](Self::usual)), whichever is higher. Returns
    /// `None` if no call has ever succeeded. A success in a restored window counts too, but the window does not say how
    /// many of its calls succeeded, because a window has only the weight of its failures. Therefore the window is
    /// assumed to contain a success if the average weight of its calls is below the weight of a timeout.
    pub(super) fn usual_rate(&self, window: Tally, run: u64) -> Option<f64> {
        let totals = self.totals();
        let is_only_failures = window.calls <= totals.failures
            || window.units >= window.calls.saturating_mul(Weight::TIMEOUT.units().into());
        if totals.successes == 0 && is_only_failures {
            return None;
        }
        let Before { calls, units } = self.before(totals, window, run);
        let before = trip_rules::usual_rate(score_from_units(units), number(calls));
        Some(before.max(self.usual()))
    }

    /// Returns the rate that came with the last advice, which is the rate of failed calls in the last minutes. Zero if
    /// the advice had no rate.
    fn usual(&self) -> f64 {
        // Relaxed, because the rate publishes no other data.
        self.limit().map_or(0.0, |limit| f64::from_bits(limit.usual.load(Relaxed)))
    }

    /// Stores the rate that came with advice, which is the rate of failed calls in the last minutes.
    pub(super) fn set_usual(&self, usual: f64) {
        if usual > 0.0 || self.limit().is_some() {
            // Relaxed, because the rate publishes no other data.
            self.limit_or_new().usual.store(usual.to_bits(), Relaxed);
        }
    }

    /// Returns the calls of the totals without the calls of the present evidence. This evidence is the window or the
    /// run, whichever is larger, because a run can be longer than the window. The totals do not contain restored
    /// evidence, but the window does. Therefore the result is too low until restored evidence has expired.
    fn before(&self, totals: Totals, window: Tally, run: u64) -> Before {
        // Relaxed, because `lacking` publishes no other data. `lacking` may already contain a failure that
        // `totals.failures` does not contain yet. The weight of the failures in the result is then a little too low.
        let lacking = self.counts.lacking.load(Relaxed);
        let hard = totals.failures.saturating_mul(Weight::HARD.units().into());
        let units = hard.saturating_sub(lacking).saturating_sub(window.units.max(run));
        // A call weighs at most 1, so that a run has at least as many calls as its weight.
        let evidence = window.calls.max(run / u64::from(Weight::HARD.units()));
        let calls = totals.successes.saturating_add(totals.failures).saturating_sub(evidence);
        Before { calls, units: units.min(calls.saturating_mul(Weight::HARD.units().into())) }
    }
}

#[cfg(feature = "store")]
impl Circuit {
    /// Returns the calls before the present evidence, and true if the circuit is closed.
    pub(crate) fn calls_before(&self) -> (Before, bool) {
        let inner = self.inner();
        // The lock is held so that no transition empties the window between the reads.
        let _cold = inner.cold.lock();
        let (word, now) = (inner.load(), inner.now());
        let (window, run) = (inner.tally(word.era(), now), inner.run.get(word.era()).weight);
        let before = inner.before(inner.totals(), window, run);
        (before, word.state() == State::Closed)
    }
}
