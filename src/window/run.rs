//! The run, which is the weight of the failures since the last success. One bit of the run is set while the era
//! (version of the state) is on trust, as explained below.
//!
//! ```text
//! number   of a `Tagged` word: 39 on trust | 38..0 weight
//! ```
//!
//! A success of a healthy service only reads the run. While the run is empty, successes do not write the run, so that
//! the cache line stays shared between the processors.
//!
//! If a circuit closes without a verdict of its probes, the new era is on trust until its first success. The bit and
//! the weight are in one number. The first success sets the whole number to zero, as every success does, and thereby
//! clears the bit too. Each change is one exchange of this number. Therefore each failure comes clearly before or after
//! the first success.
//!
//! In a half-open era the run has the weight of the doubts. A doubt is a probe that gave no verdict, but has perhaps
//! failed (`circuit/verdict.rs`).

use super::tagged::Tagged;

#[derive(Debug)]
pub(crate) struct Run(Tagged);

/// The run of an era at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// The weight of the failures since the last success, in 1/256.
    pub(crate) weight: u64,
    /// True if the era began on trust (the circuit closed without a verdict) and has had no success.
    pub(crate) on_trust: bool,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self(Tagged::new())
    }

    /// Ends the run after a success, if the present era is `era`. The weight becomes zero.
    #[inline]
    pub(crate) fn success(&self, era: u64) {
        if !self.0.is(era, 0) {
            self.0.update(era, |_| 0);
        }
    }

    /// Adds a failure to the run if the present era is `era`.
    pub(crate) fn failure(&self, era: u64, units: u16) {
        self.seed(era, u64::from(units));
    }

    /// Adds the weight of a failure or of a restored run, in 1/256. Does nothing if the present era is not `era`.
    pub(crate) fn seed(&self, era: u64, units: u64) {
        self.0.update(era, |run| run & ON_TRUST | (run & WEIGHT).saturating_add(units).min(WEIGHT));
    }

    /// Returns the run of `era`, or an empty run if the era is over.
    pub(crate) fn get(&self, era: u64) -> Seen {
        let run = self.0.get(era).unwrap_or(0);
        Seen { weight: run & WEIGHT, on_trust: run & ON_TRUST != 0 }
    }

    /// Starts an era with a run, which is empty except after a restore or a closing without a verdict.
    pub(crate) fn begin(&self, era: u64, Seen { weight, on_trust }: Seen) {
        self.0.begin(era, weight.min(WEIGHT) | if on_trust { ON_TRUST } else { 0 });
    }
}

const ON_TRUST: u64 = 1 << 39;
const WEIGHT: u64 = ON_TRUST - 1;
