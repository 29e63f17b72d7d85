//! Stub.
use std::time::Duration;

use super::Circuit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probed {
    pub(crate) era: u64,
    pub(crate) successes: u32,
    pub(crate) failures: u32,
    pub(crate) granted: u32,
    pub(crate) under_way: u32,
    pub(crate) oldest: Duration,
}

impl Circuit {
    pub(crate) fn lease_probes(&self, _lasts: Duration) {}
    pub(crate) fn grant(&self, _era: u64) -> bool {
        false
    }
    pub(crate) fn withhold(&self, _era: u64) {}
    pub(crate) fn probing(&self) -> Option<Probed> {
        None
    }
}
