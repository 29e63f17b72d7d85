//! The entry of one instance in a record, with its own state, counts and totals.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Lease, Timestamp, Vote, is_default, words};
use crate::shown::forges;
use crate::state::{Mode, State};

/// The entry of one instance in a record. Only this instance writes the entry. After a restart, the instance restores
/// its circuit from the entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceEntry {
    /// The number of the write, which orders the entries of one instance.
    pub sequence: u64,
    /// The id of the run (from start to exit) of the instance that wrote the entry. The id has 128 random bits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub incarnation: String,
    /// The state of the circuit on this instance, without the mode that an operator set.
    #[serde(with = "words::state")]
    pub state: State,
    /// The mode of the circuit, which can override the state, as a hold of an operator does.
    #[serde(default = "automatic", skip_serializing_if = "is_automatic", with = "words::mode")]
    pub mode: Mode,
    /// The time when the open circuit begins to probe. `None` if the circuit is not open, or if only a reset ends the
    /// opening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The whole open duration, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<u64>,
    /// True if the circuit left the closed state on the advice of another instance, or took over the state of another
    /// instance. Until the circuit has closed, none of its openings advises other instances, so that advice cannot feed
    /// itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub advised: bool,
    /// The time when the circuit left the closed state. `None` for a closed circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_closed_at: Option<Timestamp>,
    /// The number of openings in a row.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempt: u32,
    /// The number of successful probes of a half-open circuit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probe_successes: u32,
    /// The weight of the failures since the last success. If the circuit is not closed, the weight of the
    /// failures that opened the circuit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run: f64,
    /// The number of calls in the window.
    #[serde(default, skip_serializing_if = "is_default")]
    pub calls: u64,
    /// The weight of the failures in the window.
    #[serde(default, skip_serializing_if = "is_default")]
    pub score: f64,
    /// The number of slow calls in the window.
    #[serde(default, skip_serializing_if = "is_default")]
    pub slow: u64,
    /// The number of failed calls since the first start of the instance.
    #[serde(default, skip_serializing_if = "is_default")]
    pub total_failures: u64,
    /// The number of successful calls since the first start of the instance.
    #[serde(default, skip_serializing_if = "is_default")]
    pub total_successes: u64,
    /// The time of the last failed call on this instance.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_failure_at: Option<Timestamp>,
    /// The time when the instance wrote the entry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub updated_at: Timestamp,
    /// The last opening of the circuit, as stored. `None` if the circuit is closed, or if the opening is not known. The
    /// stored opening can belong to an earlier entry, and [`opening()`](Self::opening()) then returns `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// The `sequence` of the entry that the instance wrote at its shutdown, or `None`. If this number is equal to the
    /// `sequence` of this entry, the instance [has stopped](Self::is_stopped).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<u64>,
    /// The sequence of the last act of an operator that the instance had applied when it wrote the entry. A restore
    /// compares this number with the last act in the record, to recognise an act that is newer than the entry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub acts: u64,
    /// The kinds of the tiers of the instance's store, such as `redis in front of postgres`. `None` if the store of the
    /// instance has no tiers. An order that reaches only one of the tiers does not reach the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<String>,
    /// The vote of the instance for an opening of its fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Vote>,
    /// The last lease of the instance for a probe of its fleet, with the results of its probes in the round of the
    /// lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The time when the instance started, if the entry is in the record of a fleet's members. `None` in the record of
    /// a circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The version of this crate that the instance uses, if the entry is in the record of a fleet's members. `None` in
    /// the record of a circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Fields that this version of the crate does not know, such as fields of a later version. Unknown fields are
    /// written back unchanged, up to [`MAX_EXTRA_BYTES`](super::CircuitRecord::MAX_EXTRA_BYTES) in the whole record.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The last opening of the circuit of one instance. After a restart, the circuit shows the reason of this opening.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Opening {
    /// The reason of the opening, without a full stop.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// The time of the opening.
    #[serde(default, skip_serializing_if = "is_default")]
    pub at: Option<Timestamp>,
    /// The sequence of the entry to which this opening belongs.
    #[serde(default)]
    pub sequence: u64,
}

impl Opening {
    /// Returns the opening for the entry with the given sequence.
    pub(crate) fn new(reason: &str, at: Option<Timestamp>, sequence: u64) -> Self {
        Self { reason: bounded(reason), at, sequence }
    }
}

impl InstanceEntry {
    /// Returns the entry of a closed circuit without any calls.
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
            opening: None,
            stopped: None,
            acts: 0,
            tiers: None,
            vote: None,
            lease: None,
            since: None,
            version: None,
            extra: Map::new(),
        }
    }

    /// Returns the last opening if it belongs to this entry and the circuit is not closed. The sequences are compared,
    /// because an older version of this crate copies the opening of an earlier entry unchanged into a new entry.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref().filter(|opening| opening.sequence == self.sequence && self.state != State::Closed)
    }

    /// Returns the time from `now` until the circuit begins to probe, limited by the whole open duration.
    /// Returns `None` if the circuit is not open, or if the opening has no end.
    #[must_use]
    pub fn open_for(&self, now: Timestamp) -> Option<Duration> {
        (self.state == State::Open).then(|| left(self.until, self.open_ms, now)).flatten()
    }

    /// Returns a copy of the entry after [`clean`](Self::clean), with valid texts and weights.
    pub(super) fn cleaned(&self) -> Self {
        let mut entry = self.clone();
        entry.clean();
        entry
    }

    /// Returns true if the entry can be read again from its JSON. Reading can fail if a field in `extra` has the name
    /// of a known field.
    pub(super) fn has_form(&self) -> bool {
        self.extra.is_empty()
            || serde_json::to_vec(self).is_ok_and(|bytes| serde_json::from_slice::<Self>(&bytes).is_ok())
    }

    /// Cuts texts that are too long, replaces deceptive characters, sets impossible weights to zero, and drops a
    /// `version` that cannot be a version of this crate.
    pub(super) fn clean(&mut self) {
        self.incarnation = words::clean(&self.incarnation, 64);
        if let Some(tiers) = &mut self.tiers {
            *tiers = words::clean(tiers, 60);
        }
        self.version.take_if(|version| !is_version(version));
        if let Some(opening) = &mut self.opening {
            opening.reason = bounded(&opening.reason);
        }
        for weight in [&mut self.run, &mut self.score] {
            // The upper limit keeps the sum over all instances finite, because JSON has no infinity and a
            // record with an infinite sum could not be read again.
            if !(0.0..=MOST_WEIGHT).contains(weight) {
                *weight = 0.0;
            }
        }
    }
}

/// Returns true if the text can be the id of an instance. A reader drops the entries with other ids.
pub(super) fn is_id(id: &str) -> bool {
    (1..=200).contains(&id.len()) && !id.contains(forges)
}

/// Returns true if the text can be a version of this crate. Any other text is dropped, so that no page shows it.
fn is_version(version: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
    (1..=LONGEST_VERSION).contains(&version.len()) && version.bytes().all(is_allowed)
}

/// Returns the kinds of the two tiers of a store as the text of [`InstanceEntry::tiers`].
pub(crate) fn tiers_text([fast, durable]: [&str; 2]) -> String {
    format!("{fast} in front of {durable}")
}

/// Returns the time from `now` until `until`, or `None` without `until`. The time is at most `whole_ms`, because the
/// clock of the store may have been set back.
pub(super) fn left(until: Option<Timestamp>, whole_ms: Option<u64>, now: Timestamp) -> Option<Duration> {
    let left = until?.since(now);
    Some(whole_ms.map_or(left, |whole| left.min(Duration::from_millis(whole))))
}

/// Cuts a reason to [`LONGEST_REASON`] bytes of JSON, because the size of a record with the reasons of all its entries
/// is limited.
fn bounded(reason: &str) -> String {
    let mut clean = words::clean(reason, LONGEST_REASON);
    let mut length = 0;
    let end = clean.char_indices().find(|(_, c)| {
        length += c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
        length > LONGEST_REASON
    });
    clean.truncate(end.map_or(clean.len(), |(at, _)| at));
    clean
}

const LONGEST_VERSION: usize = 20;
/// The length of the longest reason in an entry, in bytes of JSON.
const LONGEST_REASON: usize = 250;
/// The largest weight that is accepted. No real instance has failures of that weight.
const MOST_WEIGHT: f64 = 1e15;

const fn automatic() -> Mode {
    Mode::Automatic
}

fn is_automatic(mode: &Mode) -> bool {
    *mode == Mode::Automatic
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_an_opening_has_at_most_250_bytes_of_json() {
        for text in ["x", "\"", "\\", "ä", "🦀"] {
            let reason = Opening::new(&text.repeat(900), None, 1).reason;
            let length = serde_json::to_string(&reason).map_or(0, |json| json.len() - "\"\"".len());
            assert!((LONGEST_REASON - 3..=LONGEST_REASON).contains(&length), "{text:?}: {length}");
        }
    }
}
