//! The view of a circuit's record, in the words that tables and documents share.
//!
//! Text and JSON take their values from this module, so that they cannot contradict each other.

use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::operation::{FleetLease, FleetStatus, Shown};
use tower_circuit_breaker::record::{CircuitRecord, InstanceEntry, Timestamp};
use tower_circuit_breaker::state::Mode;

use crate::failure::{Code, Failure};
use crate::table::Colour;

/// The record of one circuit at the time of the load, for output.
pub(crate) struct View<'a> {
    pub(crate) name: &'a str,
    pub(crate) now: Timestamp,
    /// The record, or the reason why it cannot be read.
    pub(crate) record: Result<&'a CircuitRecord, String>,
    /// The decision of the fleet. `None` for a circuit that has neither decisions nor votes.
    pub(crate) fleet: Option<FleetStatus>,
}

/// The event that ends the present state of a circuit, of an instance or of a fleet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// No event can be shown, because the outcomes of calls decide when the state ends.
    None,
    At {
        left: Duration,
        at: Timestamp,
    },
    /// The next call ends the state, because the open duration has passed and the call becomes a probe.
    NextCall,
    Reset,
    Resume,
}

impl<'a> View<'a> {
    pub(crate) fn of(shown: &'a Shown) -> Self {
        let record = match &shown.record {
            // If a record of a later version could not be read, `decode` returns a record with its version and no
            // other content.
            Ok(record) if !record.is_writable() && *record == nothing(record.version, &shown.name) => {
                Err(format!("the record is of version {}, which a later release wrote", record.version))
            }
            Ok(record) => Ok(record),
            Err(corrupt) => Err(corrupt.to_string()),
        };
        let has_decided = |fleet: &FleetStatus| fleet.generation.get() > 0 || !fleet.votes.is_empty();
        let fleet = shown.fleet().filter(|fleet| record.is_ok() && has_decided(fleet));
        Self { name: &shown.name, now: shown.now, record, fleet }
    }

    fn mode_of(&self, record: &CircuitRecord) -> Mode {
        record.held(self.now).map_or(Mode::Automatic, |held| held.mode)
    }

    /// Returns the state, or the mode that overrides the state (forced open, disabled), as one word.
    pub(crate) fn word(&self) -> &'static str {
        match self.record {
            // The open duration is over, so the next call is a probe.
            Ok(_) if self.end() == End::NextCall => State::HalfOpen.as_str(),
            Ok(record) => word(record.state, self.mode_of(record)),
            Err(_) => "unreadable",
        }
    }

    pub(crate) fn mode(&self) -> Option<Mode> {
        self.record.as_ref().ok().map(|record| self.mode_of(record))
    }

    /// Returns the state in words for people, who must also see that a circuit is in shadow mode.
    pub(crate) fn words(&self) -> String {
        let shadow = if self.mode() == Some(Mode::Shadow) { " (shadow)" } else { "" };
        let Instances { known, tripped, .. } = self.instances();
        // Although the published state is closed, some instances are open or half-open without the others, and reject
        // calls.
        let alone = if self.word() == State::Closed.as_str() && tripped > 0 {
            format!(" ({tripped} of {known} tripped alone)")
        } else {
            String::new()
        };
        format!("{}{shadow}{alone}", self.word())
    }

    pub(crate) fn colour(&self) -> Colour {
        colour(self.word())
    }

    /// Returns true if the published state is open, half-open or forced open, or if every instance that is not gone is
    /// tripped, each on its own. Fails if the record cannot be read.
    pub(crate) fn tripped(&self) -> Result<bool, Failure> {
        match &self.record {
            Ok(record) => {
                let Instances { known, tripped, .. } = self.instances();
                Ok(is_tripped(record.state, self.mode_of(record)) || known > 0 && tripped == known)
            }
            Err(problem) => Err(Failure::new(Code::Refused, "corrupt", problem.clone())),
        }
    }

    /// Returns true if the circuit is not closed, if its mode is not automatic, or if its record cannot be read.
    pub(crate) fn needs_attention(&self) -> bool {
        self.word() != State::Closed.as_str() || self.mode() != Some(Mode::Automatic)
    }

    pub(crate) fn end(&self) -> End {
        let Ok(record) = self.record else { return End::None };
        let held = record.held(self.now).filter(|held| matches!(held.mode, Mode::ForcedOpen | Mode::Disabled));
        if let Some(held) = held {
            return match (held.held_for(self.now), held.mode) {
                (Some(left), _) => End::At { left, at: self.now.saturating_add(left) },
                (None, Mode::ForcedOpen) => End::Reset,
                (None, _) => End::Resume,
            };
        }
        end(record.state, record.open_for(self.now), self.now)
    }

    pub(crate) fn since(&self) -> Option<Timestamp> {
        let record = self.record.as_ref().ok()?;
        record.held(self.now).map(|held| held.at).or(record.last_state_change)
    }

    /// Returns the reason of the present state.
    pub(crate) fn reason(&self) -> String {
        match &self.record {
            Ok(record) => match record.held(self.now) {
                Some(held) => format!("{} by {}: {}", held.act, held.user, held.reason),
                None => record.reason.clone(),
            },
            Err(problem) => problem.clone(),
        }
    }

    /// Returns the decision of the fleet in a few words. Empty for a circuit without a fleet.
    pub(crate) fn fleet_words(&self) -> String {
        let Some(fleet) = &self.fleet else { return String::new() };
        let votes = |number: usize| format!("{number} vote{}", if number == 1 { "" } else { "s" });
        let opened_by = fleet.opened_by.and_then(|number| usize::try_from(number).ok());
        match (fleet.state, opened_by) {
            (State::Closed, _) if fleet.votes.is_empty() => "closed".to_owned(),
            (State::Closed, _) => format!("closed, {}", votes(fleet.votes.len())),
            (State::Open, None) => "open".to_owned(),
            (State::Open, Some(number)) => format!("open, {}", votes(number)),
            (State::HalfOpen, _) => {
                let passed = fleet.leases.iter().fold(0_u32, |sum, lease| sum.saturating_add(lease.passed));
                format!("probing, {passed} passed")
            }
        }
    }

    /// Returns the event that ends the decision of the fleet.
    pub(crate) fn end_of_fleet(&self) -> End {
        self.fleet.as_ref().map_or(End::None, |fleet| end(fleet.state, fleet.open_for, self.now))
    }

    /// Returns the lease of an instance (its right to probe), or `None` if the instance has no lease in the present
    /// half-open period.
    pub(crate) fn lease(&self, id: &str) -> Option<&FleetLease> {
        self.fleet.as_ref()?.leases.iter().find(|lease| lease.instance == id)
    }

    /// Returns the remaining time of the vote of an instance, or `None` if the instance has no vote.
    pub(crate) fn vote(&self, id: &str) -> Option<Duration> {
        self.fleet.as_ref()?.votes.iter().find(|vote| vote.instance == id).map(|vote| vote.left)
    }

    /// Counts the instances. The hold of an operator applies to every instance at once. Therefore all instances are
    /// tripped under a forced opening, and no instance is tripped while the circuit is disabled. The modes in the
    /// entries are ignored, because an instance may not have written its entry since the hold began.
    pub(crate) fn instances(&self) -> Instances {
        let Ok(record) = self.record else { return Instances::default() };
        let mode = self.mode_of(record);
        let mut instances = Instances::default();
        for entry in record.instances.values() {
            if entry.is_gone(self.now) {
                instances.gone += 1;
                continue;
            }
            instances.known += 1;
            instances.tripped += usize::from(is_tripped(record.state_of(entry), mode));
            instances.silent += usize::from(entry.is_silent(self.now));
        }
        instances
    }
}

/// The numbers of instances that have an entry in the record.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Instances {
    /// The number of instances that are not gone.
    pub(crate) known: usize,
    /// The number of known instances whose circuit is tripped.
    pub(crate) tripped: usize,
    /// The number of known instances that are closed and have written nothing for 15 minutes.
    pub(crate) silent: usize,
    pub(crate) gone: usize,
}

/// Returns the record that `decode` returns if a record of a later version cannot be read.
fn nothing(version: u32, name: &str) -> CircuitRecord {
    let mut nothing = CircuitRecord::unknown(name);
    nothing.version = version;
    nothing
}

pub(crate) const fn word(state: State, mode: Mode) -> &'static str {
    match mode {
        Mode::Automatic | Mode::Shadow => state.as_str(),
        Mode::ForcedOpen | Mode::Disabled => mode.as_str(),
    }
}

pub(crate) const fn is_tripped(state: State, mode: Mode) -> bool {
    match mode {
        Mode::ForcedOpen => true,
        Mode::Disabled => false,
        Mode::Automatic | Mode::Shadow => !matches!(state, State::Closed),
    }
}

pub(crate) fn colour(word: &str) -> Colour {
    match word {
        "closed" => Colour::Green,
        "open" | "forced_open" => Colour::Red,
        _ => Colour::Yellow,
    }
}

/// Returns the event that ends the state of one instance. The end of a hold is left out, because the hold is shown for
/// the whole circuit.
pub(crate) fn end_of(record: &CircuitRecord, entry: &InstanceEntry, mode: Mode, now: Timestamp) -> End {
    match mode {
        Mode::Automatic | Mode::Shadow => end(record.state_of(entry), entry.open_for(now), now),
        Mode::ForcedOpen | Mode::Disabled => End::None,
    }
}

fn end(state: State, open_for: Option<Duration>, now: Timestamp) -> End {
    match (state, open_for) {
        (State::Open, None) => End::Reset,
        (State::Open, Some(Duration::ZERO)) => End::NextCall,
        (State::Open, Some(left)) => End::At { left, at: now.saturating_add(left) },
        (State::Closed | State::HalfOpen, _) => End::None,
    }
}
