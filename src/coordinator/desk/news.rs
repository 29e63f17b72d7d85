//! The polls and the hints, which cause loads of a circuit's record. Polls load the record at a regular pace. A hint is
//! a notice that another instance has written the record. A hint causes a load only if the write can matter to the
//! circuit.

use super::Desk;
use crate::clock::Tick;
use crate::coordinator::Sharing;
use crate::record::Timestamp;
use crate::state::State;
use crate::store::Hint;

/// The pace at which the task polls the record of a circuit. The variants are ordered from the fastest to the slowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coordinator) enum Pace {
    /// The pace while the fleet of the circuit votes or probes, or while the version of the record in the store is
    /// unknown.
    Bound,
    /// The pace while the circuit is not at rest, unless a condition of `Bound` holds.
    Eventful,
    /// The pace while the circuit is at rest. The circuit is then tripped neither in this process nor in the record,
    /// and no operator holds the circuit.
    AtRest,
}

impl Desk {
    /// Returns the pace of the polls for this circuit. `store` is the present time by the clock of the store, if that
    /// time is known. A circuit is not at rest if it is tripped in this process or in the record, or if an operator
    /// holds it.
    pub(in crate::coordinator) fn pace(&self, sharing: Sharing, store: Option<Timestamp>) -> Pace {
        let is_at_rest =
            !self.circuit.standing().is_tripped() && store.is_none_or(|now| !self.known.record().is_eventful(now));
        match sharing {
            _ if !self.is_loaded() => Pace::Bound,
            _ if is_at_rest => Pace::AtRest,
            // While the fleet votes or probes, each change by another instance matters.
            Sharing::Quorum | Sharing::Follow if self.is_deciding(sharing == Sharing::Follow) => Pace::Bound,
            Sharing::Quorum | Sharing::Follow | Sharing::Advise => Pace::Eventful,
        }
    }

    /// Returns true if a load or a write of the record was answered after `time`. The answer had the present record, so
    /// the next poll can wait.
    pub(in crate::coordinator) fn was_answered_after(&self, time: Tick) -> bool {
        self.known.was_answered_after(time)
    }

    /// Returns true if this hint requires a load of the record. `store` is the present time by the clock of the store,
    /// if that time is known.
    ///
    /// With [`Sharing::Advise`], a hint of the kind [`Hint::Transition`] causes a load in only two cases: the circuit
    /// waits for its restore, or the circuit is closed and no advice of another instance is in effect. A circuit that
    /// is not closed needs no load, because advice has no effect on it. A circuit under advice needs no load either,
    /// because the next regular poll shows if the advice continues.
    pub(in crate::coordinator) fn follows(&self, hint: Hint, sharing: Sharing, store: Option<Timestamp>) -> bool {
        hint != Hint::Transition
            || sharing.is_of_fleet()
            || self.is_waiting_for_restore()
            || self.circuit.state() == State::Closed && !store.is_some_and(|now| self.adopted.is_advised(now))
    }
}
