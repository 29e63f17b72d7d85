//! An opening of a circuit that the group of the circuit has suppressed, for the status of the circuit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Brief, Reason};

/// An opening of a circuit that a [group](crate::Group) has suppressed. The group limits the number of its circuits
/// that may be open at the same time, and this limit was reached. The circuit stays closed although one of its rules is
/// met.
///
/// `Display` prints a part of a sentence: `an opening was suppressed 2 s ago, because the group "orders endpoints" had
/// no open slot (2 of 4 circuits are open now): failures in a row weighed 5.0, the limit is 5.0`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Suppressed {
    /// The name of the group.
    pub group: Arc<str>,
    /// The present number of circuits of the group that have opened by themselves and have not closed since.
    pub open: u32,
    /// The present number of circuits in the group.
    pub members: u32,
    /// The number of openings that were suppressed since the circuit was created. Each outcome that meets a rule
    /// increases this number by one. All [hanging](crate::Status::hanging) calls together increase this number by one
    /// every ten seconds.
    pub openings: u64,
    /// The time since the last suppressed opening.
    pub ago: Duration,
    /// The reason of the suppressed opening that the circuit reported last to its observers. Not every suppressed
    /// opening is reported. If none was reported since the last transition, this is the reason of the first opening
    /// that was suppressed since that transition.
    pub reason: Reason,
}

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, open, members, ago, reason, .. } = self;
        write!(
            f,
            "an opening was suppressed {} ago, because the group \"{group}\" had no open slot ({open} of {members} circuits are open \
             now): {reason}",
            Brief(*ago)
        )
    }
}
