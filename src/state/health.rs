//! The results of health probes. A health probe is a check of a service, and not a call of a user.
//!
//! The types only describe the results, so that a status, an event and a metric use the same words. `circuit/health.rs`
//! applies a result to the circuit, and `health` runs the probes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of one health probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthResult {
    /// The service answered that it is healthy.
    Passed,
    /// The service answered that it is not healthy, or the check returned an error.
    Failed,
    /// The check reached its deadline.
    TimedOut,
    /// The check panicked.
    Panicked,
}

impl HealthResult {
    /// Returns the result in the spelling of a metric label, which is `passed`, `failed`, `timed_out` or `panicked`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
        }
    }

    /// All results.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::TimedOut, Self::Panicked];
}

impl fmt::Display for HealthResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The health probes of one circuit, as a [`Status`](crate::Status) shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthStatus {
    /// True while a runner makes the health probes of the circuit, and false after the runner has ended.
    pub running: bool,
    /// True if calls of users may be probes only after a health probe has succeeded.
    pub required: bool,
    /// True if the circuit holds calls back at present, because no health probe has succeeded since the opening.
    pub holds_back: bool,
    /// The result of the last health probe. `None` before the first health probe has ended.
    pub last: Option<HealthResult>,
    /// The time since the last health probe ended. `None` before the first health probe has ended.
    pub last_for: Option<Duration>,
    /// The error that the check of the last health probe returned, in one line of at most 200 characters. The secrets
    /// of addresses are removed. `None` after a success, and after a check that reached its deadline or panicked.
    pub last_text: Option<Arc<str>>,
    /// The number of health probes that succeeded since the circuit was created.
    pub passed: u64,
    /// The number of health probes that failed, reached their deadline or panicked since the circuit was created.
    pub failed: u64,
}
