//! The relation of a desk to the registry, from the eviction of the circuit to the end of the desk.
//!
//! An evicted circuit keeps its desk until the store has the changes of the circuit. A new circuit of the same name
//! waits until that desk is closed, because two desks of one name would overwrite each other's entry. The task closes a
//! desk without its last write only if too many evicted circuits wait for their writes, or if the store (or one part of
//! the store) refuses the write and a new circuit of the same name waits.

use super::Desk;
use crate::circuit::Circuit;
use crate::clock::Tick;

/// The relation of a desk to the registry.
#[derive(Debug)]
pub(super) enum Registration {
    /// The registry has the circuit.
    Registered,
    /// The registry has evicted the circuit. `next` is a newer circuit of the same name, if one was registered. The
    /// newer circuit gets its own desk when the present desk is closed.
    Evicted { next: Option<Next> },
}

/// A circuit that waits for a desk, and the end of the time for which its first calls wait for a restore. The end is
/// `None` if the calls do not wait.
pub(in crate::coordinator) type Next = (Circuit, Option<Tick>);

impl Desk {
    /// Returns true if this desk belongs to this circuit. Returns false if the desk belongs to another circuit of the
    /// same name.
    pub(in crate::coordinator) fn is_of(&self, circuit: &Circuit) -> bool {
        self.circuit.is(circuit)
    }

    /// Notes that the registry has evicted the circuit.
    pub(in crate::coordinator) fn evict(&mut self) {
        if matches!(self.registration, Registration::Registered) {
            self.registration = Registration::Evicted { next: None };
        }
    }

    /// Marks the circuit of this desk as evicted, and lets a new circuit of the same name wait for the end of this
    /// desk. Returns true if the circuit of this desk was registered until now.
    pub(in crate::coordinator) fn evict_for(&mut self, next: Next) -> bool {
        let evicted = Registration::Evicted { next: Some(next) };
        matches!(std::mem::replace(&mut self.registration, evicted), Registration::Registered)
    }

    /// Drops `circuit` if it waits for the end of this desk, because the registry has evicted `circuit`. The
    /// transitions and counts of `circuit` are not written, because `circuit` never had a desk.
    pub(in crate::coordinator) fn forget_next(&mut self, circuit: &Circuit) {
        if let Registration::Evicted { next } = &mut self.registration {
            next.take_if(|(next, _)| next.is(circuit));
        }
    }

    /// Returns true if a new circuit of the same name waits for its desk.
    pub(in crate::coordinator) const fn has_next(&self) -> bool {
        matches!(self.registration, Registration::Evicted { next: Some(_) })
    }

    /// Returns true if the desk can be closed. The circuit must be evicted, and no change may be left to write.
    pub(in crate::coordinator) fn is_finished(&self, now: Tick) -> bool {
        let is_evicted = matches!(self.registration, Registration::Evicted { .. });
        // This process never overwrites a record from a later version of this crate. Therefore the desk does not wait
        // for the write of such a record.
        let is_written = || !self.has_unwritten() && !self.wants_write(now);
        is_evicted && !self.sending.is_in_flight() && (is_written() || self.unwritable().is_some())
    }

    /// Closes the desk. The first calls of its circuit no longer wait for the restore. Returns the circuit of the same
    /// name that waits for a desk, or `None` if no circuit waits.
    pub(in crate::coordinator) fn close(self) -> Option<Next> {
        self.circuit.restored();
        match self.registration {
            Registration::Registered => None,
            Registration::Evicted { next } => next,
        }
    }

    /// Returns the circuits whose first calls may wait for a restore. These are the circuit of this desk and a new
    /// circuit of the same name that waits for its own desk.
    pub(in crate::coordinator) fn circuits(&self) -> impl Iterator<Item = &Circuit> {
        let next = match &self.registration {
            Registration::Evicted { next: Some((next, _)) } => Some(next),
            Registration::Evicted { next: None } | Registration::Registered => None,
        };
        std::iter::once(&self.circuit).chain(next)
    }
}
