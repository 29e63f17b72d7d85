//! What one instance knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Timestamp;
use super::words;
use crate::state::{Mode, State};

/// The entry of one instance in a record: its own state and evidence. Only that instance writes it and restores from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceEntry {
    /// Orders the entries of an id.
    pub sequence: u64,
    /// Which start of the instance wrote it: 128 random bits.
    #[serde(default)]
    pub incarnation: String,
    /// Its automatic state.
    #[serde(with = "words::state")]
    pub state: State,
    /// What lay over it.
    #[serde(default = "automatic", with = "words::mode")]
    pub mode: Mode,
    /// When it probes, if it is open and will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Its whole open duration, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<u64>,
    /// Whether it opened on the advice of another: then it advises nobody.
    #[serde(default)]
    pub advised: bool,
    /// When it left closed, if it has not closed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_closed_at: Option<Timestamp>,
    /// Its openings in a row.
    #[serde(default)]
    pub attempt: u32,
    /// Its probes that succeeded while half-open.
    #[serde(default)]
    pub probe_successes: u32,
    /// The weight of its failures since the last success, or while it is not closed of those that opened it.
    #[serde(default)]
    pub run: f64,
    /// The calls in its window.
    #[serde(default)]
    pub calls: u64,
    /// The weight of the failures in its window.
    #[serde(default)]
    pub score: f64,
    /// The slow calls in its window.
    #[serde(default)]
    pub slow: u64,
    /// Its calls that failed, over all starts.
    #[serde(default)]
    pub total_failures: u64,
    /// Its calls that succeeded, over all starts.
    #[serde(default)]
    pub total_successes: u64,
    /// When one of its calls failed last.
    #[serde(default)]
    pub last_failure_at: Option<Timestamp>,
    /// When it wrote this.
    #[serde(default)]
    pub updated_at: Timestamp,
    /// The sequence of the last operator's act that it had taken over.
    #[serde(default)]
    pub acts: u64,
    /// Fields of a later version.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl InstanceEntry {
    /// Returns the entry of an instance to which nothing has happened.
    #[must_use]
    pub fn closed(incarnation: &str) -> Self {
        Self {
            sequence: 0,
            incarnation: incarnation.to_owned(),
            state: State::Closed,
            mode: Mode::Automatic,
            until: None,
            open_ms: None,
            advised: false,
            left_closed_at: None,
            attempt: 0,
            probe_successes: 0,
            run: 0.0,
            calls: 0,
            score: 0.0,
            slow: 0,
            total_failures: 0,
            total_successes: 0,
            last_failure_at: None,
            updated_at: Timestamp::default(),
            acts: 0,
            extra: Map::new(),
        }
    }

    /// Returns how long it stays open from `now`, if it is and says so: no longer than its whole open duration.
    #[must_use]
    pub fn open_for(&self, now: Timestamp) -> Option<Duration> {
        (self.state == State::Open).then(|| left(self.until, self.open_ms, now)).flatten()
    }

    /// Whether the instance may still be there.
    pub(super) fn is_recent(&self, now: Timestamp) -> bool {
        now.since(self.updated_at) < Duration::from_secs(24 * 3600) || self.until.is_some_and(|until| until > now)
    }

    /// Leaves only what makes sense.
    pub(super) fn clean(&mut self) {
        self.incarnation = words::clean(&self.incarnation, 64);
        for weight in [&mut self.run, &mut self.score] {
            // Nor may the sum over all instances be infinite: that would be written, and could not be read again.
            if !(0.0..=MOST_WEIGHT).contains(weight) {
                *weight = 0.0;
            }
        }
    }
}

/// Returns what is left until then: no more than the whole, whatever the clocks say.
pub(super) fn left(until: Option<Timestamp>, whole_ms: Option<u64>, now: Timestamp) -> Option<Duration> {
    let left = until?.since(now);
    Some(whole_ms.map_or(left, |whole| left.min(Duration::from_millis(whole))))
}

/// More failures than any instance ever sees in a row.
const MOST_WEIGHT: f64 = 1e15;

const fn automatic() -> Mode {
    Mode::Automatic
}
