//! The values and words of a circuit that the text output and the JSON output share.
//!
//! Because the text and the JSON come from the same values, the two outputs cannot contradict each other.

use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::operation::{FleetLease, FleetStatus, Shown};
use tower_circuit_breaker::record::{CircuitRecord, InstanceEntry, Timestamp};
use tower_circuit_breaker::state::Mode;

use crate::failure::{Code, Failure};
use crate::table::Colour;

/// One circuit as the store has it at the time `now`, for the output of a command.
pub(crate) struct View<'a> {
    pub(crate) name: &'a str,
    pub(crate) now: Timestamp,
    /// The stored record of the circuit, or the reason why the record cannot be read.
    pub(crate) record: Result<&'a CircuitRecord, String>,
    /// The decision of the fleet about the circuit. `None` if the fleet has never decided and has no votes.
    pub(crate) fleet: Option<FleetStatus>,
}

/// The event that ends the present state of a circuit, of an instance or of a fleet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// No event is shown. For example, the end of a closed state cannot be predicted, because the outcomes of calls
    /// decide on the end.
    None,
    At {
        left: Duration,
        at: Timestamp,
    },
    /// The next call ends the open state. The open duration has passed, so the next call becomes a probe.
    NextCall,
    Reset,
    Resume,
}

impl<'a> View<'a> {
    pub(crate) fn of(shown: &'a Shown) -> Self {
        let record = match &shown.record {
            // `decode` returns a record without content if a later release wrote the record in a form that cannot be
            // read.
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
            // The open duration has passed, so the next call is a probe.
            Ok(_) if self.end() == End::NextCall => State::HalfOpen.as_str(),
            Ok(record) => word(record.state, self.mode_of(record)),
            Err(_) => "unreadable",
        }
    }

    pub(crate) fn mode(&self) -> Option<Mode> {
        self.record.as_ref().ok().map(|record| self.mode_of(record))
    }

    /// Returns the state in words for people. The words also show the shadow mode, and tripped instances of a closed
    /// circuit.
    pub(crate) fn words(&self) -> String {
        let shadow = if self.mode() == Some(Mode::Shadow) { " (shadow)" } else { "" };
        let Instances { known, tripped, .. } = self.instances();
        // The published state is closed, but some instances have tripped on their own and reject calls.
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

    /// Returns true if the published state is open, half-open or forced open. Also returns true if the published state
    /// is closed, but every instance that is not gone has tripped on its own. Fails if the record cannot be read.
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

    /// Describes the decision of the fleet in a few words. Empty for a circuit without a fleet.
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

    /// Returns the event that ends the present state of the fleet.
    pub(crate) fn end_of_fleet(&self) -> End {
        self.fleet.as_ref().map_or(End::None, |fleet| end(fleet.state, fleet.open_for, self.now))
    }

    /// Returns the lease of an instance (its right to probe), or `None` if the instance has no lease in the present
    /// half-open period.
    pub(crate) fn lease(&self, id: &str) -> Option<&FleetLease> {
        self.fleet.as_ref()?.leases.iter().find(|lease| lease.instance == id)
    }

    /// Returns the time until the vote of an instance ends, or `None` if the instance has no vote.
    pub(crate) fn vote(&self, id: &str) -> Option<Duration> {
        self.fleet.as_ref()?.votes.iter().find(|vote| vote.instance == id).map(|vote| vote.left)
    }

    /// Counts the instances in the record. If an operator has forced the circuit open, all instances count as tripped.
    /// If an operator has disabled the circuit, no instance counts as tripped. The mode in the entry of an instance is
    /// ignored, because the entry can be older than the order of the operator.
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

/// The numbers of instances in a record, by their state.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Instances {
    /// The number of instances that are not gone.
    pub(crate) known: usize,
    /// The number of known instances whose circuit is tripped.
    pub(crate) tripped: usize,
    /// The number of known instances that are closed and have written nothing to the store for 15 minutes.
    pub(crate) silent: usize,
    pub(crate) gone: usize,
}

/// Returns a record without content, as `decode` does for a record that a later release wrote in an unknown form.
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

/// Returns the event that ends the state of one instance. During an operator's hold the result is `End::None`, because
/// the end of the hold is shown once for the whole circuit.
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
