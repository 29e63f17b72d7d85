//! The durable form of a circuit, and all that it means.
//!
//! A store is a register that knows no state machine. What two copies of a record mean together ([`join`]) and how a command
//! changes one ([`apply`]) is decided here, purely, so that every store has the same semantics. Nothing here does I/O, asks
//! for the time or changes a circuit.
//!
//! A record has three parts that grow independently, each ordered by a number that only grows:
//!
//! | part | ordered by | who writes it |
//! |---|---|---|
//! | the state last published, with reason and deadline | `generation` | whoever made a transition on the generation before |
//! | the last act of an operator | its `sequence` | whoever made an act on the act before |
//! | an entry for each instance: its own state, evidence, totals | the entry's `sequence` | that instance |
//!
//! Of two copies, each part's larger one is kept. So a late, duplicated or reordered write changes nothing, a flushed store
//! gets back what any instance remembers, and an absent record is no information: it never closes anything. New numbers are
//! `max(previous + 1, server_now_ms)`, so that an old writer loses even after everything was lost.
//!
//! Fields that this version does not know are kept, in the record and in each part.

mod apply;
mod entry;
mod join;
mod operated;
mod timestamp;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::state::{Act, Generation, State};
pub use apply::{Command, Effect, OperatorCommand, TransitionCommand, apply};
pub use entry::InstanceEntry;
pub use join::join;
pub use operated::Operated;
pub use timestamp::Timestamp;

/// What a store keeps of one circuit. `serde_json` writes and reads it; the field names are part of the format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CircuitRecord {
    /// The version of the format: [`CircuitRecord::VERSION`]. A record of a later one is read as far as it is understood, and
    /// never written.
    #[serde(default = "first_version")]
    pub version: u32,
    /// The name of the service.
    #[serde(default)]
    pub service: String,
    /// The automatic state that was published last.
    #[serde(with = "words::state")]
    pub state: State,
    /// Why, in words.
    #[serde(default)]
    pub reason: String,
    /// Orders the published states. Zero: none was published yet.
    #[serde(default, with = "words::generation")]
    pub generation: Generation,
    /// When the state was entered.
    #[serde(default)]
    pub last_state_change: Option<Timestamp>,
    /// When it last opened.
    #[serde(default)]
    pub opened_at: Option<Timestamp>,
    /// When it left closed, if it has not closed since. From there the cooldown of a reset counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_closed_at: Option<Timestamp>,
    /// When an open circuit probes. None while open: only a reset ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The whole open duration in milliseconds, which bounds what is left of it whatever the clocks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<u64>,
    /// The openings in a row, this one included: each before it ended in a half-open attempt that failed.
    #[serde(default)]
    pub half_open_attempts: u32,
    /// The weight of the failures since the last success, or while not closed of those that opened it, summed over the
    /// instances.
    #[serde(default)]
    pub failure_count: f64,
    /// The probes that succeeded while half-open, summed over the instances.
    #[serde(default)]
    pub success_count: u64,
    /// The calls that failed, ever, summed over the instances that are remembered.
    #[serde(default)]
    pub total_failures: u64,
    /// The calls that succeeded, ever, summed likewise.
    #[serde(default)]
    pub total_successes: u64,
    /// When a call failed last, on any instance.
    #[serde(default)]
    pub last_failure_at: Option<Timestamp>,
    /// When the record was written last.
    #[serde(default)]
    pub updated_at: Timestamp,
    /// The instance that published the state.
    #[serde(default)]
    pub instance: String,
    /// Which start of that instance it was, and the transition's number there: by these a writer knows its own.
    #[serde(default)]
    pub incarnation: String,
    /// See `incarnation`.
    #[serde(default)]
    pub era: u64,
    /// The last act of an operator, if there ever was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operated>,
    /// What each instance knows, by its stable id; at most 64, those that wrote last.
    #[serde(default)]
    pub instances: BTreeMap<String, InstanceEntry>,
    /// Fields of a later version.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl CircuitRecord {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;
    /// The longest record that is written or believed, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The most instances that a record remembers.
    pub const MAX_INSTANCES: usize = 64;

    /// Returns the record of a circuit of which nothing is known: every other record is newer.
    #[must_use]
    pub fn unknown(service: &str) -> Self {
        Self {
            version: Self::VERSION,
            service: service.to_owned(),
            state: State::Closed,
            reason: String::new(),
            generation: Generation::new(0),
            last_state_change: None,
            opened_at: None,
            left_closed_at: None,
            until: None,
            open_ms: None,
            half_open_attempts: 0,
            failure_count: 0.0,
            success_count: 0,
            total_failures: 0,
            total_successes: 0,
            last_failure_at: None,
            updated_at: Timestamp::default(),
            instance: String::new(),
            incarnation: String::new(),
            era: 0,
            operator: None,
            instances: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Reads what a store gave for that service, at that time of the store.
    ///
    /// Nothing is believed that makes no sense: too long texts are cut, impossible numbers are zero, and entries of instances
    /// that cannot be are left out.
    ///
    /// # Errors
    ///
    /// [`CorruptRecord`] if it is not such a record, is of another service, is too long, or is dated so far in the future that
    /// nothing could ever replace it.
    pub fn decode(service: &str, bytes: &[u8], now: Timestamp) -> Result<Self, CorruptRecord> {
        let corrupt = |problem: String| CorruptRecord { service: service.to_owned(), problem };
        if bytes.len() > Self::MAX_BYTES {
            return Err(corrupt(format!("has {} bytes, allowed are {}", bytes.len(), Self::MAX_BYTES)));
        }
        let mut record: Self = match serde_json::from_slice(bytes) {
            Ok(record) => record,
            // A later version may say what this one cannot read; it must not be taken for nothing, and written over.
            Err(error) => match serde_json::from_slice::<Versioned>(bytes) {
                Ok(Versioned { version }) if version > Self::VERSION => Self { version, ..Self::unknown(service) },
                _ => return Err(corrupt(error.to_string())),
            },
        };
        if record.service.is_empty() {
            service.clone_into(&mut record.service);
        }
        if record.service != service {
            return Err(corrupt(format!("is of the service `{}`", words::clean(&record.service, 200))));
        }
        let latest = now.saturating_add(FUTURE);
        if record.generation.get() > latest.as_millis() {
            return Err(corrupt(format!(
                "has generation {}, allowed is up to {}",
                record.generation,
                latest.as_millis()
            )));
        }
        record.reason = words::clean(&record.reason, 300);
        record.instance = words::clean(&record.instance, 200);
        if let Some(operated) = &mut record.operator {
            if operated.sequence > latest.as_millis() {
                return Err(corrupt(format!("has an act numbered {}", operated.sequence)));
            }
            operated.clean();
        }
        record.instances.retain(|id, entry| !id.is_empty() && id.len() <= 200 && entry.sequence <= latest.as_millis());
        record.instances.values_mut().for_each(InstanceEntry::clean);
        join::bound(&mut record.instances);
        record.sum();
        Ok(record)
    }

    /// Returns the bytes for a store: JSON that a person can read.
    ///
    /// # Errors
    ///
    /// [`CorruptRecord`] if it is longer than [`MAX_BYTES`](Self::MAX_BYTES): fields of a later version can make it so.
    pub fn encode(&self) -> Result<Vec<u8>, CorruptRecord> {
        let corrupt = |problem: String| CorruptRecord { service: self.service.clone(), problem };
        let bytes = serde_json::to_vec(self).map_err(|error| corrupt(error.to_string()))?;
        if bytes.len() > Self::MAX_BYTES {
            return Err(corrupt(format!("has {} bytes, allowed are {}", bytes.len(), Self::MAX_BYTES)));
        }
        Ok(bytes)
    }

    /// Returns whether this version may write over it.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        self.version <= Self::VERSION
    }

    /// Returns how long the published state stays open from `now`, if it is open and says so: no longer than its whole open
    /// duration.
    #[must_use]
    pub fn open_for(&self, now: Timestamp) -> Option<Duration> {
        (self.state == State::Open).then(|| entry::left(self.until, self.open_ms, now)).flatten()
    }

    /// Returns the act of an operator that lies over the circuit at that time.
    #[must_use]
    pub fn held(&self, now: Timestamp) -> Option<&Operated> {
        self.operator.as_ref().filter(|operated| operated.holds(now))
    }

    /// Returns the newest number in it: of the published state, or of the last act.
    #[must_use]
    pub fn latest(&self) -> Generation {
        let acted = self.operator.as_ref().map_or(0, |operated| operated.sequence);
        self.generation.max(Generation::new(acted))
    }

    /// Returns when the published state left closed, or an operator tripped it, if either still holds at that time.
    #[must_use]
    pub fn tripped_at(&self, now: Timestamp) -> Option<Timestamp> {
        // An earlier version did not write when it left closed, only when it opened last.
        let left_closed = self.left_closed_at.or(self.opened_at).filter(|_| self.state != State::Closed);
        let tripped = self.held(now).filter(|operated| operated.act == Act::Trip).map(|operated| operated.at);
        left_closed.max(tripped)
    }

    /// Returns whether it would be missed: something is not closed, or an operator holds it.
    #[must_use]
    pub fn is_eventful(&self, now: Timestamp) -> bool {
        let tripped = |state: State| state != State::Closed;
        tripped(self.state)
            || self.held(now).is_some()
            || self.instances.values().any(|entry| tripped(entry.state) && entry.is_recent(now))
    }

    /// Returns how long a store that forgets must remember it. `None`: until it is deleted.
    ///
    /// `open` and `other` are the wishes for an open circuit and for any other; never shorter than the deadlines need.
    #[must_use]
    pub fn ttl(&self, open: Duration, other: Duration, now: Timestamp) -> Option<Duration> {
        let is_open = self.state == State::Open;
        let held = self.held(now);
        if is_open && self.until.is_none() || held.is_some_and(|operated| operated.until.is_none()) {
            return None;
        }
        let wish = if is_open || held.is_some() { open } else { other };
        let margin = Duration::from_secs(3600);
        let needed =
            |until: Option<Timestamp>| until.map_or(Duration::ZERO, |until| until.since(now).saturating_add(margin));
        let entries = self.instances.values().filter(|entry| entry.state == State::Open);
        let entries = entries.map(|entry| needed(entry.until)).max().unwrap_or_default();
        let deadline =
            needed(self.until).saturating_add(Duration::from_millis(self.open_ms.unwrap_or(0)).saturating_mul(2));
        let deadline = if is_open { deadline } else { Duration::ZERO };
        Some(wish.max(deadline).max(entries).max(needed(held.and_then(|operated| operated.until))))
    }

    /// Brings the sums over the instances up to date.
    fn sum(&mut self) {
        let entries = || self.instances.values();
        // Not `sum`, which begins with minus zero.
        self.failure_count = entries().fold(0.0, |sum, entry| sum + entry.run);
        self.success_count = entries().map(|entry| u64::from(entry.probe_successes)).sum();
        self.total_failures = entries().fold(0, |sum, entry| sum.saturating_add(entry.total_failures));
        self.total_successes = entries().fold(0, |sum, entry| sum.saturating_add(entry.total_successes));
        self.last_failure_at = entries().filter_map(|entry| entry.last_failure_at).max();
    }
}

/// What a store holds is not a record of that circuit. It is treated as absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptRecord {
    service: String,
    problem: String,
}

impl fmt::Display for CorruptRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record of `{}` cannot be used: {}", self.service, self.problem)
    }
}

impl std::error::Error for CorruptRecord {}

/// All that must be readable of a record of a later version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

const fn first_version() -> u32 {
    1
}

/// How far ahead of the store's clock a number may lie and still be believed: clocks are set back, but not by years.
const FUTURE: Duration = Duration::from_secs(366 * 24 * 3600);
