//! The suppressed opening of a circuit whose group has no open slot, as a status shows the opening.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Brief, Reason};

/// An opening that a [group](crate::Group) has suppressed, because all open slots of the group are taken. The circuit
/// stays closed although one of its rules is met.
///
/// `Display` prints a part of a sentence: `an opening was suppressed 2 s ago, because the group "orders endpoints" had
/// no open slot (2 of 4 circuits are open now): failures in a row weighed 5.0, the limit is 5.0`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Suppressed {
    /// The name of the group.
    pub group: Arc<str>,
    /// The number of circuits of the group that have opened by themselves and have not closed since, at this moment.
    pub open: u32,
    /// The number of circuits in the group at this moment.
    pub members: u32,
    /// The number of openings that were suppressed since the circuit was created. Each outcome that meets a rule adds
    /// one. Calls that [hang](crate::Status::hanging) add one in ten seconds.
    pub openings: u64,
    /// The time since the last suppressed opening.
    pub ago: Duration,
    /// The reason of a suppressed opening since the last transition of the circuit. This is the last opening that was
    /// reported to the observers, or the first opening if none was reported.
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
