//! The cause of a transition in words, for logs, records, the audit, the admin page and rejections.
//!
//! The module `reason` has the sentence of each reason. This module adds the last failure and, for a state from a
//! store, the time and the instance. This module also finds the transition that opened a circuit. Therefore a rejection
//! and a status at the same moment name the same cause.

use std::fmt;

use super::earlier::Utc;
use super::{EarlierReason, Reason, State, Transition};

impl Transition {
    /// Returns the cause of the transition in words that can follow "because". The cause contains the reason
    /// with its numbers, and the last failure with its text.
    ///
    /// If the state comes from a store, the cause begins with the state and the time at which the state began. The
    /// cause then names the other instance or the restart of this instance, as in `open since 2026-11-21 07:30:05 UTC,
    /// before this restart: failures in a row weighed 5.0, the limit is 5.0`.
    ///
    /// The text of a failure is not for strangers, because it can name the hosts of the service.
    pub fn because(&self) -> impl fmt::Display + '_ {
        Because(self)
    }

    /// Writes `word` and the cause, as in `open: failures in a row weighed 5.0, the limit is 5.0`. `word` is the state
    /// or the mode of the circuit. If the cause itself begins with `word`, as in `open since ..`, writes only the
    /// cause.
    pub(crate) fn write_standing(&self, word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_taken_over() || self.to.state.as_str() != word {
            write!(f, "{word}: ")?;
        }
        write!(f, "{}", Because(self))
    }

    /// Writes the cause of the opening of a circuit that is half-open now, as in `; it opened because a probe failed`.
    pub(crate) fn write_opening(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = if self.is_taken_over() { "it was" } else { "it opened because" };
        write!(f, "; {before} {}", Because(self))
    }

    /// Returns true if the circuit took its state and the reason of the state over from a store. The text of the cause
    /// then begins with the state, as in `open since ..`.
    fn is_taken_over(&self) -> bool {
        self.earlier.is_some() && matches!(self.reason, Reason::Restored | Reason::Followed)
    }

    /// Returns true if the text of [`because`](Self::because) is the cause of an opening. If the transition restored
    /// the circuit to half-open, `earlier` is the cause of the opening. If the circuit followed another instance to
    /// half-open, `earlier` is only the cause of the half-open state.
    fn is_opening(&self) -> bool {
        self.to.is_open() || self.is_taken_over() && self.reason == Reason::Restored
    }

    fn write_earlier(&self, earlier: &EarlierReason, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_restored = self.reason == Reason::Restored;
        let (begun, at) = match self.to.state {
            State::Open => ("open", "since"),
            State::Closed => ("closed", "since"),
            // If this instance was half-open before its restart, the store has the reason of the opening. If another
            // instance is half-open, the store has the reason of the half-open state.
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

/// Writes the state or mode before and after the transition, and then the cause. An example is `closed to open:
/// failures in a row weighed 5.0, the limit is 5.0`. Do not show this text to strangers, because it can contain the
/// text of a failure.
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {}", self.from, self.to, self.because())
    }
}

/// Returns the transition that opened a circuit, or `None` if the circuit has closed or was disabled after the opening.
/// `newest_first` are the transitions of the circuit, from the newest to the oldest. A circuit that was open only on
/// another instance may have taken over the half-open state of that instance. For such a circuit, returns the
/// transition to half-open.
pub(crate) fn opening<'a>(newest_first: impl Iterator<Item = &'a Transition> + Clone) -> Option<&'a Transition> {
    let mut tripped = newest_first.take_while(|edge| edge.to.is_tripped());
    tripped.clone().find(|edge| edge.is_opening()).or_else(|| tripped.find(|edge| edge.is_taken_over()))
}

struct Because<'a>(&'a Transition);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(edge) = self;
        match &edge.earlier {
            Some(earlier) if edge.is_taken_over() => edge.write_earlier(earlier, f)?,
            // The text of a fleet's decision already contains the names of instances. Therefore the time and the name
            // of an instance are not added.
            Some(earlier) if edge.reason == Reason::Fleet => f.write_str(earlier.reason())?,
            _ => write!(f, "{}", edge.reason)?,
        }
        if let Some(kind) = edge.failure {
            write!(f, ", last a failure of kind {kind}")?;
            edge.failure_text.as_ref().map_or(Ok(()), |text| write!(f, ": {text}"))?;
        }
        Ok(())
    }
}
