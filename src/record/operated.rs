//! What an operator did, as all instances must take it over.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::left;
use super::{Timestamp, words};
use crate::state::{Act, By, Mode, State};

/// The last act of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Operated {
    /// Orders the acts.
    pub sequence: u64,
    /// What was done.
    #[serde(with = "words::act")]
    pub act: Act,
    /// What lies over the circuit since.
    #[serde(with = "words::mode")]
    pub mode: Mode,
    /// Where a reset led.
    #[serde(default = "half_open", with = "words::state")]
    pub to: State,
    /// When the mode ends. None: when another act ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// For how long it was asked, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// When it was done.
    #[serde(default)]
    pub at: Timestamp,
    /// Who did it.
    #[serde(default)]
    pub user: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// The ids of the last acts, the newest last, at most 8: an act that is delivered twice is done once.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Which start of an instance it was done on.
    #[serde(default)]
    pub incarnation: String,
    /// Fields of a later version.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Operated {
    /// The number of command ids that are remembered.
    pub const MAX_COMMANDS: usize = 8;

    /// Returns whether a mode lies over the circuit at that time.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.mode != Mode::Automatic && self.until.is_none_or(|until| until > now)
    }

    /// Returns how long the mode stays from `now`: no longer than was asked for. `None`: until another act.
    #[must_use]
    pub fn held_for(&self, now: Timestamp) -> Option<Duration> {
        left(self.until, self.hold_ms, now)
    }

    /// Returns who did it and why, if that makes sense.
    #[must_use]
    pub fn by(&self) -> Option<By> {
        By::new(&self.user, &self.reason).ok()
    }

    pub(super) fn clean(&mut self) {
        self.user = words::clean(&self.user, 200);
        self.reason = words::clean(&self.reason, 500);
        self.incarnation = words::clean(&self.incarnation, 64);
        self.commands.retain(|command| command.len() <= 64);
        let excess = self.commands.len().saturating_sub(Self::MAX_COMMANDS);
        self.commands.drain(..excess);
    }
}

const fn half_open() -> State {
    State::HalfOpen
}
