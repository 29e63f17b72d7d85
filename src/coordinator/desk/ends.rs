//! The ends of an opening and of a hold by the clock of the store.
//!
//! While a machine is suspended, the clock of a circuit stands still. By this clock alone, an opening or a hold would
//! end too late. Therefore the desk compares the remaining time by both clocks at each answer of the store, and uses
//! the earlier end. The record has the end of a hold by the clock of the store, but not the end of an opening. The desk
//! computes the end of an opening at the first answer to an operation that began after the circuit opened. An answer to
//! an earlier operation is not used. The store may have read its clock before the machine was suspended, and the
//! computed end would then be too early.

use super::Now;
use crate::circuit::Circuit;
use crate::record::{Operated, Timestamp};

/// The end of the present opening of one circuit by the clock of the store.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The era (version of the state) of the last opening with a known end, and the end of that opening by the clock of
    /// the store. Set by `answered`.
    opening: Option<(u64, Timestamp)>,
}

impl Ends {
    /// Handles the time in an answer of the store. Shortens the opening and the hold of the circuit if they end earlier
    /// by the clock of the store. Also computes the end of the present opening by that clock, if the end is not known
    /// yet and the operation began after the circuit opened. `asked` is the era (version of the state) of the circuit
    /// when the operation began. `hold` is the last act of an operator if this act is in force here, or `None`.
    pub(super) fn answered(&mut self, circuit: &Circuit, asked: u64, hold: Option<&Operated>, now: Now) {
        let (era, left) = circuit.opening_ends_in();
        let dated = self.opening.filter(|(dated, _)| *dated == era);
        let hold = hold.and_then(|hold| hold.held_for(now.store));
        circuit.end_within(era, dated.map(|(_, until)| until.since(now.store)), hold);
        if dated.is_none() && asked == era {
            self.opening = left.map(|left| (era, now.store.saturating_add(left)));
        }
    }
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{MockClock, Tick};
    use crate::config::Config;
    use crate::outcome::Outcome;

    #[test]
    fn an_answer_to_an_operation_of_an_earlier_era_dates_no_opening() {
        let clock = MockClock::new();
        let circuit = Circuit::new(Config::builder("payments").clock(clock.clone()).build().unwrap());
        let mut ends = Ends::default();
        let (closed, _) = circuit.era_and_standing();
        for _ in 0..5 {
            circuit.try_acquire().unwrap().record(Outcome::failure());
        }
        let (open, _) = circuit.era_and_standing();
        let at = |seconds: u64| Now { here: Tick::ZERO, store: Timestamp::from_millis(seconds * 1_000) };
        // The store read its clock, the machine was suspended for an hour, and then the circuit opened.
        ends.answered(&circuit, closed, None, at(1_000));
        ends.answered(&circuit, open, None, at(4_600));
        assert!(!circuit.would_admit(), "the opening has its whole time");
        clock.advance(Duration::from_millis(1));
        ends.answered(&circuit, open, None, at(4_700));
        assert!(circuit.would_admit(), "the opening is over by the clock of the store");
    }
}
