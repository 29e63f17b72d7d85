//! What a record says, in the words that tables and documents share.

use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::operation::Shown;
use tower_circuit_breaker::record::{CircuitRecord, InstanceEntry, Timestamp};
use tower_circuit_breaker::state::Mode;

use crate::failure::{Code, Failure};
use crate::table::Colour;

/// One circuit as the store has it.
pub(crate) struct View<'a> {
    pub(crate) name: &'a str,
    pub(crate) now: Timestamp,
    /// The record, or why nothing is known.
    pub(crate) record: Result<&'a CircuitRecord, String>,
}

/// What ends a state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Calls do.
    None,
    At {
        left: Duration,
        at: Timestamp,
    },
    /// It is over: the next call probes.
    NextCall,
    Reset,
    Resume,
}

impl<'a> View<'a> {
    pub(crate) fn of(shown: &'a Shown) -> Self {
        let record = match &shown.record {
            // Of one that could not be read there is the version only.
            Ok(record) if !record.is_writable() && *record == nothing(record.version, &shown.name) => {
                Err(format!("the record is of version {}, which a later release wrote", record.version))
            }
            Ok(record) => Ok(record),
            Err(corrupt) => Err(corrupt.to_string()),
        };
        Self { name: &shown.name, now: shown.now, record }
    }

    fn mode_of(&self, record: &CircuitRecord) -> Mode {
        record.held(self.now).map_or(Mode::Automatic, |held| held.mode)
    }

    /// What a caller meets.
    pub(crate) fn word(&self) -> &'static str {
        match self.record {
            Ok(record) => word(record.state, self.mode_of(record)),
            Err(_) => "unreadable",
        }
    }

    pub(crate) fn mode(&self) -> Option<Mode> {
        self.record.as_ref().ok().map(|record| self.mode_of(record))
    }

    /// The word for a person, who must also see a shadow.
    pub(crate) fn words(&self) -> String {
        let shadow = if self.mode() == Some(Mode::Shadow) { " (shadow)" } else { "" };
        format!("{}{shadow}", self.word())
    }

    pub(crate) fn colour(&self) -> Colour {
        colour(self.word())
    }

    /// Whether it is tripped: open, half-open or forced open, as it was published last.
    pub(crate) fn tripped(&self) -> Result<bool, Failure> {
        match &self.record {
            Ok(record) => Ok(is_tripped(record.state, self.mode_of(record))),
            Err(problem) => Err(Failure::new(Code::Refused, "corrupt", problem.clone())),
        }
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

    /// Why it is as it is.
    pub(crate) fn reason(&self) -> String {
        match &self.record {
            Ok(record) => match record.held(self.now) {
                Some(held) => format!("{} by {}: {}", held.act, held.user, held.reason),
                None => record.reason.clone(),
            },
            Err(problem) => problem.clone(),
        }
    }

    /// How many instances said that theirs is tripped, of how many that said anything.
    pub(crate) fn instances(&self) -> (usize, usize) {
        let Ok(record) = self.record else { return (0, 0) };
        let tripped = record.instances.values().filter(|entry| is_tripped(entry.state, entry.mode)).count();
        (tripped, record.instances.len())
    }
}

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

/// What ends the state of one instance.
pub(crate) fn end_of(entry: &InstanceEntry, now: Timestamp) -> End {
    match entry.mode {
        Mode::Automatic | Mode::Shadow => end(entry.state, entry.open_for(now), now),
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
