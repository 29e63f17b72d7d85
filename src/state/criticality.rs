//! The criticality of a call. A circuit that must reject some calls rejects the less critical calls first.

use std::fmt;

/// The importance of a call for a circuit that must reject some calls. A less critical call is rejected first, and is
/// preferred as a probe.
///
/// The names and their order come from the [Gateway API Inference
/// Extension](https://gateway-api-inference-extension.sigs.k8s.io/) of Kubernetes. Google's *Site Reliability
/// Engineering*, chapter "Handling Overload", has two more levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "a classifier of requests must name a level for each request")]
pub enum Criticality {
    /// The loss of the call does little harm, for example because a batch job will repeat the call.
    Sheddable,
    /// The call matters as much as most calls. This is the default.
    #[default]
    Standard,
    /// The loss of the call is visible to users at once.
    Critical,
}

impl Criticality {
    /// Returns `sheddable`, `standard` or `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::Standard => "standard",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Criticality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
