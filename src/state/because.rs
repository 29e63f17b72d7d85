//! The cause of a transition in words, for logs, records, the audit, the admin page and rejections. The sentence of the
//! reason comes from `reason`. This module adds the time and the instance of a state from a store, and the last failure.

use std::fmt;

use super::earlier::Utc;
use super::{EarlierReason, Reason, State, Transition};

impl Transition {
    /// Returns the cause of the transition in words that can follow "because". The cause contains the reason
    /// with its numbers, and the last failure with its text.
    ///
    /// For a state that was taken over from a store, the cause begins with the time of the state, and names
    /// the other instance or the restart of this instance, as in `open since 2026-11-21 07:30:05 UTC, before
    /// this restart: failures in a row weighed 5.0, the limit is 5.0`.
    ///
    /// The text of a failure is not for strangers, because it can name the hosts of the service.
    pub fn because(&self) -> impl fmt::Display + '_ {
        Because(self)
    }

    fn write_earlier(&self, earlier: &EarlierReason, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_restored = self.reason == Reason::Restored;
        let (begun, at) = match self.to.state {
            State::Open => ("open", "since"),
            State::Closed => ("closed", "since"),
            // A reason of this instance belongs to its opening. A reason of another instance belongs to the
            // half-open state of that instance.
            State::HalfOpen if earlier.instance().is_none() => ("opened", "at"),
            State::HalfOpen => ("half-open", "since"),
        };
        f.write_str(begun)?;
        if let Some(time) = earlier.began() {
            write!(f, " {at} {}", Utc(time))?;
        }
        if let Some(instance) = earlier.instance() {
            write!(f, " on instance `{instance}`")?;
        }
        if is_restored {
            f.write_str(", before this restart")?;
        }
        write!(f, ": {}", earlier.reason())
    }
}

/// Writes both standings and the cause, as in `closed to open: failures in a row weighed 5.0, the limit is 5.0`. The text
/// of a failure is not for strangers.
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {}", self.from, self.to, self.because())
    }
}

struct Because<'a>(&'a Transition);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(edge) = self;
        match (&edge.reason, &edge.earlier) {
            (Reason::Restored | Reason::Followed, Some(earlier)) => edge.write_earlier(earlier, f)?,
            (reason, _) => write!(f, "{reason}")?,
        }
        if let Some(kind) = edge.failure {
            write!(f, ", last a failure of kind {kind}")?;
            edge.failure_text.as_ref().map_or(Ok(()), |text| write!(f, ": {text}"))?;
        }
        Ok(())
    }
}
