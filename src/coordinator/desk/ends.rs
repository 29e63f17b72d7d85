//! The ends of an opening and of a hold by the clock of the store.
//!
//! The clock of a circuit stands still while its machine is suspended. At each answer of the store, the desk compares
//! the time that is left by both clocks, and the earlier end applies. The end of a hold is in the record. The end of an
//! opening is dated by the first answer to an operation that began in the era of the opening. An earlier operation
//! cannot date the opening, because the machine may have been suspended since the store read its clock.

use super::Now;
use crate::circuit::Circuit;
use crate::record::{Operated, Timestamp};

/// The end of the opening by the clock of the store.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The era of the circuit at the begin of the last operation. Set by `asked`.
    asked: u64,
    /// The era of an opening, and its end. Set by `answered`.
    opening: Option<(u64, Timestamp)>,
}

impl Ends {
    /// Notes the begin of an operation.
    pub(super) fn asked(&mut self, circuit: &Circuit) {
        (self.asked, _) = circuit.era_and_standing();
    }

    /// Applies the earlier end of both clocks. `hold` is the act that is in force, if there is one.
    pub(super) fn answered(&mut self, circuit: &Circuit, hold: Option<&Operated>, now: Now) {
        let (era, left) = circuit.opening_ends_in();
        let dated = self.opening.filter(|(dated, _)| *dated == era);
        let hold = hold.and_then(|hold| hold.held_for(now.store));
        circuit.end_within(era, dated.map(|(_, until)| until.since(now.store)), hold);
        if dated.is_none() && self.asked == era {
            self.opening = left.map(|left| (era, now.store.saturating_add(left)));
        }
    }
}
