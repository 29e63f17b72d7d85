//! The restore of a circuit from its record. Pure, so that the rules can be tested without a store.
//!
//! An instance restores its own entry with the evidence if the record has one, and the published state otherwise.

use std::time::Duration;

use super::report::Recovered;
use crate::config::{Config, Recovery};
use crate::record::{CircuitRecord, Timestamp};
use crate::state::{Act, Generation, Mode, Snapshot, State};
use crate::window::{Tally, Window};

/// The state that a restored circuit adopts, and its source.
#[derive(Debug, PartialEq)]
pub(super) struct Restoration {
    pub(super) snapshot: Snapshot,
    pub(super) whose: Recovered,
}

/// Returns the state that a circuit adopts on the instance with this id. `None` if the record contains nothing about
/// the circuit.
pub(super) fn restoration(record: &CircuitRecord, id: &str, config: &Config, now: Timestamp) -> Option<Restoration> {
    let own = record.instances.get(id);
    let (mut snapshot, whose, acts, mode_before) = match own {
        Some(entry) => {
            let mut snapshot = Snapshot::closed();
            snapshot.state = entry.state;
            snapshot.open_for = entry.open_for(now);
            snapshot.tripped_for = entry.left_closed_at.map(|at| now.since(at));
            snapshot.attempt = entry.attempt;
            snapshot.probe_successes = entry.probe_successes;
            // Older evidence says nothing about the present health of the service.
            if now.since(entry.updated_at) <= remembered(config.window) {
                snapshot.run = entry.run;
                snapshot.tally = Tally::new(entry.calls, entry.score, entry.slow);
            }
            (snapshot, Recovered::Own, entry.acts, entry.mode)
        }
        None if record.generation == Generation::new(0) && record.operator.is_none() => return None,
        None => (published(record, now), Recovered::Published, 0, Mode::Automatic),
    };
    snapshot.generation = record.generation;
    snapshot.mode = config.first_mode();
    if let Some(operated) = &record.operator {
        let unknown_here = operated.sequence > acts;
        if unknown_here && operated.act == Act::Reset && own.is_some_and(|entry| entry.state != State::Closed) {
            // The reset came after the entry, and the state of the entry is obsolete.
            let closed = Snapshot::closed();
            snapshot = Snapshot { state: operated.to, generation: snapshot.generation, mode: snapshot.mode, ..closed };
        }
        // A hold that has not ended is not restored here. The hold is applied like the act of any other instance, so
        // that rejections name the operator and the reason.
        if !operated.holds(now)
            && operated.mode == Mode::ForcedOpen
            && config.recovery == Recovery::Automatic
            && (mode_before == Mode::ForcedOpen || unknown_here)
        {
            // The trip ended while this instance did not run. The end of a trip leaves the circuit half-open.
            snapshot.state = State::HalfOpen;
            snapshot.probe_successes = 0;
        }
    }
    if snapshot.state != State::Closed {
        snapshot.run = 0.0;
        snapshot.tally = Tally::default();
    }
    Some(Restoration { snapshot, whose })
}

/// Returns the state that was published last.
pub(super) fn published(record: &CircuitRecord, now: Timestamp) -> Snapshot {
    let mut snapshot = Snapshot::closed();
    snapshot.generation = record.generation;
    snapshot.state = record.state;
    snapshot.attempt = record.half_open_attempts;
    snapshot.open_for = record.open_for(now);
    snapshot.tripped_for = record.left_closed_at.filter(|_| record.state != State::Closed).map(|at| now.since(at));
    snapshot
}

/// Returns the age up to which evidence is restored, which is the length of the window and at least a minute.
fn remembered(window: Window) -> Duration {
    let minute = Duration::from_secs(60);
    window.length().map_or(minute, |length| length.max(minute))
}
