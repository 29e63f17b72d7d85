//! The reasons to load a record, which are the pace of the polls, and the hints that can matter for the circuit.

use super::Desk;
use crate::clock::Tick;
use crate::coordinator::Sharing;
use crate::record::Timestamp;
use crate::state::State;
use crate::store::Hint;

/// The speed at which the record of a circuit is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coordinator) enum Pace {
    /// The fleet of the circuit votes or probes, or the version of the record in the store is not known.
    Bound,
    /// The circuit is not at rest, and no vote and no round of a fleet is under way.
    Eventful,
    /// The circuit is not tripped in this process, and neither tripped nor held in the record.
    AtRest,
}

impl Desk {
    /// Returns the pace of the polls. `store` is the time of the store. A circuit that is tripped in this process, or
    /// tripped or held in the record, is not at rest.
    pub(in crate::coordinator) fn pace(&self, sharing: Sharing, store: Option<Timestamp>) -> Pace {
        let is_at_rest =
            !self.circuit.standing().is_tripped() && store.is_none_or(|now| !self.known.record().is_eventful(now));
        match sharing {
            _ if !self.is_loaded() => Pace::Bound,
            _ if is_at_rest => Pace::AtRest,
            // In a vote and in a round each change of another instance matters.
            Sharing::Quorum | Sharing::Follow if self.is_deciding(sharing == Sharing::Follow) => Pace::Bound,
            Sharing::Quorum | Sharing::Follow | Sharing::Advise => Pace::Eventful,
        }
    }

    /// Returns true if the store has answered for the record after this time, so that a poll can wait.
    pub(in crate::coordinator) fn was_answered_after(&self, time: Tick) -> bool {
        self.known.was_answered_after(time)
    }

    /// Returns true if the record must be loaded because of a hint. `store` is the time of the store.
    ///
    /// With [`Sharing::Advise`], only a closed circuit without advice and a circuit that waits for its restore follow
    /// the hint of a transition. All other circuits need no load. Advice has no effect while its circuit is not closed,
    /// and the next write of the circuit conflicts and returns the record. A circuit under advice is polled as a
    /// circuit that is not at rest, and the next poll shows if the advice continues.
    pub(in crate::coordinator) fn follows(&self, hint: Hint, sharing: Sharing, store: Option<Timestamp>) -> bool {
        hint != Hint::Transition
            || sharing.is_of_fleet()
            || self.is_waiting_for_restore()
            || self.circuit.state() == State::Closed && !store.is_some_and(|now| self.adopted.is_advised(now))
    }
}
