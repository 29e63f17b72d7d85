//! The run: the weight of the failures since the last success.
//!
//! A success of a healthy service only reads the run. As long as the run is empty no thread writes, so
//! that the cache line stays shared.

use super::tagged::{MAX, Tagged};

#[derive(Debug)]
pub(crate) struct Run(Tagged);

impl Run {
    pub(crate) fn new() -> Self {
        Self(Tagged::new())
    }

    /// Ends the run, if it is of `era`.
    #[inline]
    pub(crate) fn success(&self, era: u64) {
        if !self.0.is(era, 0) {
            self.0.update(era, |_| 0);
        }
    }

    /// Adds a failure to the run, if it is of `era`.
    pub(crate) fn failure(&self, era: u64, units: u16) {
        self.seed(era, u64::from(units));
    }

    /// Adds the weight of a failure, or of the run that a restore brings along, in 1/256. Does nothing in another era.
    pub(crate) fn seed(&self, era: u64, units: u64) {
        self.0.update(era, |weight| weight.saturating_add(units).min(MAX));
    }

    /// Returns the weight of the run in 1/256, or 0 if the run is of another era.
    pub(crate) fn weight(&self, era: u64) -> u64 {
        self.0.get(era).unwrap_or(0)
    }

    /// Starts an era with a run of `units`, which is 0 except after a restore.
    pub(crate) fn begin(&self, era: u64, units: u64) {
        self.0.begin(era, units);
    }
}
