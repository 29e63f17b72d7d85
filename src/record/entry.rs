//! The entry of one instance in the record of a circuit. The entry contains the state of the circuit and the counts of
//! calls on this instance.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Lease, Timestamp, Vote, is_default, words};
use crate::shown::forges;
use crate::state::{Mode, State};

/// The entry of one instance in the record of a circuit. Only this instance writes the entry. After a restart, the
/// instance restores its circuit from the entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceEntry {
    /// The number of the entry, which increases with each write of the entry.
    pub sequence: u64,
    /// The id of the run (from start to exit) in which the instance wrote the entry. The id has 128 random bits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub incarnation: String,
    /// The state of the circuit on this instance. A mode that an operator has set is not included.
    #[serde(with = "words::state")]
    pub state: State,
    /// The mode of the circuit on this instance. A hold by an operator is a mode that overrides the state.
    #[serde(default = "automatic", skip_serializing_if = "is_automatic", with = "words::mode")]
    pub mode: Mode,
    /// The time when the open circuit may begin to probe. `None` if the circuit is not open, or if the circuit stays
    /// open until a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The open duration in milliseconds, from the opening to `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<u64>,
    /// True if the circuit left the closed state on the advice of another instance, or adopted the state of another
    /// instance. Until the circuit has closed, its openings are not advice for other instances. Without this rule,
    /// instances could keep each other open by advice.
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
    /// The total weight of the failures since the last success. If the circuit is not closed, the total weight of the
    /// failures that opened the circuit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run: f64,
    /// The number of calls in the window.
    #[serde(default, skip_serializing_if = "is_default")]
    pub calls: u64,
    /// The total weight of the failures in the window.
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
    /// The stored data about the last opening of the circuit. `None` if the circuit is closed, or if there are no data.
    /// The data can be left over from an earlier write of the entry. In this case [`opening()`](Self::opening())
    /// returns `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// The `sequence` of the entry that the instance wrote at its shutdown. A running instance writes `None`. If this
    /// number is equal to the `sequence` of this entry, the instance [has stopped](Self::is_stopped).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<u64>,
    /// The sequence of the last act that the instance had applied when it wrote the entry. An act is an order of an
    /// operator. If the last act in the record has a larger sequence, a restore must still apply that act.
    #[serde(default, skip_serializing_if = "is_default")]
    pub acts: u64,
    /// The tiers of the store that the instance uses, such as `redis in front of postgres`. `None` if the store has no
    /// tiers. The instance reads the cache in front, so an order that is written only to the store behind the cache
    /// reaches the instance late or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<String>,
    /// The vote of the instance for opening its fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Vote>,
    /// The last lease (right to probe for the fleet) of the instance, with the results of its probes in the round of
    /// the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The time when the instance started. This field is set only in the record with the members of a fleet, and is
    /// `None` in the record of a circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The version of this crate that the instance uses. This field is set only in the record with the members of a
    /// fleet, and is `None` in the record of a circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Fields that this version of the crate does not know, for example because a later version has added them. Unknown
    /// fields are written back unchanged, up to [`MAX_EXTRA_BYTES`](super::CircuitRecord::MAX_EXTRA_BYTES) in the whole
    /// record.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The reason and the time of the last opening of a circuit on one instance. After a restart, the status of the circuit
/// shows this reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Opening {
    /// The reason of the opening, as a sentence without a full stop.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// The time of the opening.
    #[serde(default, skip_serializing_if = "is_default")]
    pub at: Option<Timestamp>,
    /// The `sequence` of the entry to which this opening belongs.
    #[serde(default)]
    pub sequence: u64,
}

impl Opening {
    /// Returns an opening for the entry with the given `sequence`. A long reason is cut.
    pub(crate) fn new(reason: &str, at: Option<Timestamp>, sequence: u64) -> Self {
        Self { reason: bounded(reason), at, sequence }
    }
}

impl InstanceEntry {
    /// Returns a new entry for a closed circuit that has had no calls.
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

    /// Returns the last opening, if the circuit is not closed and the opening belongs to this entry. The comparison of
    /// sequences is needed because older versions of this crate repeat an old opening in later writes of the entry.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref().filter(|opening| opening.sequence == self.sequence && self.state != State::Closed)
    }

    /// Returns the time from `now` until the circuit may begin to probe, which is at most the open duration. Returns
    /// `None` if the circuit is not open, or if the circuit stays open until a reset.
    #[must_use]
    pub fn open_for(&self, now: Timestamp) -> Option<Duration> {
        (self.state == State::Open).then(|| left(self.until, self.open_ms, now)).flatten()
    }

    /// Returns a copy of the entry in which all texts and weights are valid, as after [`clean`](Self::clean).
    pub(super) fn cleaned(&self) -> Self {
        let mut entry = self.clone();
        entry.clean();
        entry
    }

    /// Returns true if the JSON of the entry can be decoded again. Decoding can fail if a field in `extra` has the name
    /// of a known field.
    pub(super) fn has_form(&self) -> bool {
        self.extra.is_empty()
            || serde_json::to_vec(self).is_ok_and(|bytes| serde_json::from_slice::<Self>(&bytes).is_ok())
    }

    /// Makes the texts and weights valid. Long texts are cut. Spaces replace line breaks, invisible characters and
    /// characters that change the direction of a text. Impossible weights are set to zero. A `version` that is not a
    /// valid version is removed.
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
            // With the upper limit of a weight, the sum of the weights of all instances is finite. JSON has no
            // infinity, so a record with an infinite sum could not be read again.
            if !(0.0..=MOST_WEIGHT).contains(weight) {
                *weight = 0.0;
            }
        }
    }
}

/// Returns true if the text is a valid id of an instance. Entries with invalid ids are dropped when a record is read.
pub(super) fn is_id(id: &str) -> bool {
    (1..=200).contains(&id.len()) && !id.contains(forges)
}

/// Returns true if the text has the form of a version of this crate. Other texts are dropped, because a status page
/// shows the version, and a damaged or forged entry can contain any text.
fn is_version(version: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
    (1..=LONGEST_VERSION).contains(&version.len()) && version.bytes().all(is_allowed)
}

/// Returns the text for [`InstanceEntry::tiers`] from the kinds of the two tiers.
pub(crate) fn tiers_text([fast, durable]: [&str; 2]) -> String {
    format!("{fast} in front of {durable}")
}

/// Returns the time from `now` until `until`, or `None` if `until` is `None`. The result is at most `whole_ms`, because
/// `until` can be too far in the future after the clock of the store was set back.
pub(super) fn left(until: Option<Timestamp>, whole_ms: Option<u64>, now: Timestamp) -> Option<Duration> {
    let left = until?.since(now);
    Some(whole_ms.map_or(left, |whole| left.min(Duration::from_millis(whole))))
}

/// Cuts a reason to [`LONGEST_REASON`] bytes of JSON. The limit is needed because every entry of a record can have a
/// reason, and the size of a record is limited.
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
/// The largest length of a reason in an entry, in bytes of JSON.
const LONGEST_REASON: usize = 250;
/// The largest weight in an entry. A real instance never has failures of this weight.
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
