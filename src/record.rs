//! The record of a circuit, which is its stored form. This file defines the JSON fields of the record and their limits.
//! The parts of the record are in `record/entry.rs`, `record/operated.rs` and `record/fleet.rs`.
//!
//! A store only keeps and compares bytes, and does not decode records. Pure functions of this module merge two copies
//! of a record, and apply a command to a record. Therefore the result does not depend on the store. These functions and
//! the commands are public only with the feature `test-util`, because the implementation of a store does not need them.
//! This module does no I/O, reads no clock and changes no circuit.
//!
//! A record has four parts that change independently. Each part has a number that only increases. Of two copies of a
//! part, the copy with the larger number is newer.
//!
//! | part | ordered by | writer |
//! |---|---|---|
//! | the published state, with reason and deadline, in the fields of [`CircuitRecord`] | `generation` | an instance that knew the previous generation at the time of its transition |
//! | the common decision of a fleet, [`Fleet`] | its `generation` | an instance that knew the previous decision at the time of its command |
//! | the last act of an operator, [`Operated`] | its `sequence` | an instance or operator that knew the previous act at the time of the new act |
//! | an entry for each instance, with its own state, counts and totals, [`InstanceEntry`] | the `sequence` of the entry | the instance of the entry |
//!
//! The merge of two copies of a record keeps the newer copy of each part. Therefore a late, repeated or reordered write
//! changes nothing. If the store has lost its data, an instance writes its own copy of the record again. A missing
//! record never closes a circuit. A new number is the larger of `previous + 1` and the time of the store in
//! milliseconds. Therefore numbers after a loss of data are larger than the numbers before the loss.
//!
//! Fields that this version of the crate does not know are written back unchanged, in the record and in each part.
//! Their size is limited to 16 KiB for the whole record (`fit.rs`).
//!
//! This file is long, because the fields of a record, their names in JSON and their limits belong together.

#[cfg_attr(not(feature = "test-util"), expect(unreachable_pub, reason = "public for tests only"))]
mod apply;
mod entry;
mod fit;
#[cfg_attr(not(feature = "test-util"), expect(unreachable_pub, reason = "public for tests only"))]
mod fleet;
#[cfg_attr(not(feature = "test-util"), expect(unreachable_pub, reason = "public for tests only"))]
mod join;
mod member;
mod operated;
mod presence;
mod timestamp;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::check_name;
use crate::shown::quoted;
use crate::state::{Act, Generation, State};
#[cfg(feature = "test-util")]
pub use apply::{Command, Effect, OperatorCommand, TransitionCommand, apply};
#[cfg(not(feature = "test-util"))]
pub(crate) use apply::{Command, Effect, OperatorCommand, TransitionCommand, apply};
pub(crate) use entry::tiers_text;
pub use entry::{InstanceEntry, Opening};
pub use fleet::{Fleet, Lease, Vote};
#[cfg(not(feature = "test-util"))]
pub(crate) use fleet::{FleetChange, FleetCommand};
#[cfg(feature = "test-util")]
pub use fleet::{FleetChange, FleetCommand};
#[cfg(feature = "test-util")]
pub use join::join;
#[cfg(not(feature = "test-util"))]
pub(crate) use join::join;
pub use member::Member;
pub(crate) use member::{LIVE_FOR, MEMBERS_KEPT, record_of};
pub use operated::Operated;
pub use timestamp::Timestamp;

/// The stored form of one circuit. The record is stored as JSON. The fields in JSON have the names of the fields of
/// this struct, so that these names are part of the format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CircuitRecord {
    /// The version of the format in which the record was written. If the version is later than
    /// [`CircuitRecord::VERSION`], this crate reads the fields that it knows, and never overwrites the record.
    #[serde(default = "first_version")]
    pub version: u32,
    /// The name of the circuit.
    #[serde(default)]
    pub service: String,
    /// The published state, which is the new state of the last transition in the record. A mode that an operator has
    /// set is not included.
    #[serde(with = "words::state")]
    pub state: State,
    /// The reason why the circuit entered the published state, as a sentence.
    #[serde(default)]
    pub reason: String,
    /// The number of the published state, which increases with each published transition. Zero if no transition was
    /// published yet.
    #[serde(default, with = "words::generation")]
    pub generation: Generation,
    /// The time when the circuit entered the published state.
    #[serde(default)]
    pub last_state_change: Option<Timestamp>,
    /// The time when the circuit last opened. `None` for a closed circuit.
    #[serde(default)]
    pub opened_at: Option<Timestamp>,
    /// The time when the circuit left the closed state. `None` for a closed circuit. The cooldown, during which resets
    /// are refused, begins at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_closed_at: Option<Timestamp>,
    /// The time when the open circuit may begin to probe. `None` if the published state is not open, or if the circuit
    /// stays open until a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The open duration in milliseconds, from the opening to `until`. Even if the clock of the store is set back, a
    /// reader does not keep the circuit open for longer than this duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<u64>,
    /// The number of openings in a row, including the present opening, as in
    /// [`Status::attempt`](crate::Status::attempt).
    #[serde(default)]
    pub half_open_attempts: u32,
    /// The sum of `run` over the recent entries in `instances`. For a closed circuit, `run` is the weight of the
    /// failures since the last success. For any other circuit, `run` is the weight of the failures that opened the
    /// circuit. An entry with a closed circuit is recent for 24 hours, and any other entry is recent for 15 minutes.
    /// The age of an entry is measured at the last write of the record.
    #[serde(default)]
    pub failure_count: f64,
    /// The number of successful probes of half-open circuits, summed over the same entries as `failure_count`.
    #[serde(default)]
    pub success_count: u64,
    /// The number of failed calls since the first start of each instance, summed over all instances in the record.
    #[serde(default)]
    pub total_failures: u64,
    /// The number of successful calls since the first start of each instance, summed over all instances in the record.
    #[serde(default)]
    pub total_successes: u64,
    /// The time of the last failed call on any instance in the record.
    #[serde(default)]
    pub last_failure_at: Option<Timestamp>,
    /// The time when the record was last written.
    #[serde(default)]
    pub updated_at: Timestamp,
    /// The id of the instance that published the state.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instance: String,
    /// The id of the run (from start to exit) of the instance that published the state. An instance recognises its own
    /// transition by `incarnation` and `era`, even if the store's response to the write was lost.
    #[serde(default, skip_serializing_if = "is_default")]
    pub incarnation: String,
    /// The number of the published transition, counted from the start of the instance's run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub era: u64,
    /// The last order of an operator for this circuit. `None` if there was no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operated>,
    /// The state on which the instances of a fleet have decided together. `None` if there is no fleet, or if the fleet
    /// has never decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Fleet>,
    /// The entries of the instances, by instance id. The record keeps at most the newest 100 entries. An entry is
    /// dropped 72 hours after its last write, or 72 hours after its `until` if that time is later. If the circuit of
    /// the instance stays open until a reset, the entry is kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instances: BTreeMap<String, InstanceEntry>,
    /// Fields that this version of the crate does not know, for example because a later version has added them. Unknown
    /// fields are written back unchanged, up to [`MAX_EXTRA_BYTES`](Self::MAX_EXTRA_BYTES) in the whole record.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl CircuitRecord {
    /// The version of the format in which this crate writes records.
    pub const VERSION: u32 = 1;
    /// The largest size of a record in bytes. Larger records are neither written nor read.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The largest total size of the fields that this version does not know, in bytes of JSON. Further unknown fields
    /// are dropped when a record is read. Thus unknown fields cannot make a record too large to be written again.
    pub const MAX_EXTRA_BYTES: usize = 16 * 1024;
    /// The largest number of entries in a record. A record with long texts has fewer entries, because its size is
    /// limited to [`MAX_BYTES`](Self::MAX_BYTES). If every field has its largest size, about 70 entries fit.
    pub const MAX_INSTANCES: usize = 100;

    /// Returns an empty record for a circuit, with the state closed. Every stored record is newer than an empty record.
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
            fleet: None,
            instances: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Decodes the stored bytes of a circuit. `now` is the time of the store at the load.
    ///
    /// The bytes are not trusted. Texts that are too long are cut. Spaces replace line breaks, invisible characters and
    /// characters that change the direction of a text. Impossible weights are set to zero. The entry of an instance is
    /// dropped if its id or its sequence is impossible, or if the instance has not been seen for 72 hours. Unknown
    /// fields beyond [`MAX_EXTRA_BYTES`](Self::MAX_EXTRA_BYTES) are dropped. If the record is too large to be written
    /// again, the reasons in the oldest entries are dropped. If the record is still too large, the oldest entries are
    /// dropped.
    ///
    /// # Errors
    ///
    /// [`CorruptRecord`] if `service` is not a valid name of a circuit, or if the store could not read the value. The
    /// same error is returned if the bytes are not a record, if there are too many bytes, or if the record belongs to
    /// another circuit. A record is also refused if one of its numbers is so far in the future that no later write
    /// could replace the record.
    pub fn decode(service: &str, bytes: &[u8], now: Timestamp) -> Result<Self, CorruptRecord> {
        let mut record = Self::decode_with_expired(service, bytes, now)?;
        record.expire(now);
        Ok(record)
    }

    /// Decodes stored bytes as [`decode`](Self::decode) does, but keeps the entries of instances that have not been
    /// seen for 72 hours. The numbers in the record are based on times of the store in milliseconds. No number may be
    /// more than a year after `latest`, which is the present time of the store. To accept every number, the caller
    /// passes the largest timestamp instead.
    pub(crate) fn decode_with_expired(service: &str, bytes: &[u8], latest: Timestamp) -> Result<Self, CorruptRecord> {
        // An error of the JSON parser can repeat a field of any length. `CorruptRecord::new` cuts the text.
        let corrupt = |problem: String| CorruptRecord::new(service, &problem);
        if let Some(problem) = bytes.strip_prefix(UNREADABLE_VALUE) {
            let error = corrupt(String::from_utf8_lossy(problem).into_owned());
            return Err(CorruptRecord { is_unreadable: true, ..error });
        }
        if check_name(service).is_err() {
            return Err(corrupt("the name is no name of a circuit".to_owned()));
        }
        if bytes.len() > Self::MAX_BYTES {
            return Err(corrupt(format!("has {} bytes, allowed are {}", bytes.len(), Self::MAX_BYTES)));
        }
        // A record that was edited by hand may begin with a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut record: Self = match serde_json::from_slice(bytes) {
            Ok(record) => record,
            // If only a later version of the crate can read the record, the result is an empty record with that
            // version, which is not writable. An error would not protect the record. A corrupt record is treated as
            // missing, so this version of the crate would overwrite the record.
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
        let latest = latest.saturating_add(FUTURE);
        if record.generation.get() > latest.as_millis() {
            return Err(corrupt(format!(
                "has generation {}, allowed is up to {}",
                record.generation,
                latest.as_millis()
            )));
        }
        record.reason = words::clean(&record.reason, 300);
        record.instance = words::clean(&record.instance, 200);
        record.incarnation = words::clean(&record.incarnation, 64);
        if let Some(operated) = &mut record.operator {
            if operated.sequence > latest.as_millis() {
                return Err(corrupt(format!("has an act numbered {}", operated.sequence)));
            }
            operated.clean();
        }
        if let Some(fleet) = &mut record.fleet {
            if fleet.generation.get() > latest.as_millis() {
                return Err(corrupt(format!("has a decision of the fleet numbered {}", fleet.generation)));
            }
            fleet.clean();
        }
        record.instances.retain(|id, entry| entry::is_id(id) && entry.sequence <= latest.as_millis());
        record.instances.values_mut().for_each(InstanceEntry::clean);
        join::bound(&mut record.instances);
        record.fit();
        Ok(record)
    }

    /// Encodes the record as JSON text, which is readable in the store.
    ///
    /// # Errors
    ///
    /// [`CorruptRecord`] if the result is longer than [`MAX_BYTES`](Self::MAX_BYTES), or if the act in the record is
    /// [`Act::Forget`], which cannot be encoded. A record that was decoded can always be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, CorruptRecord> {
        let corrupt = |problem: String| CorruptRecord::new(&self.service, &problem);
        let bytes = serde_json::to_vec(self).map_err(|error| corrupt(error.to_string()))?;
        if bytes.len() > Self::MAX_BYTES {
            return Err(corrupt(format!("has {} bytes, allowed are {}", bytes.len(), Self::MAX_BYTES)));
        }
        Ok(bytes)
    }

    /// Returns true if this version of the crate may overwrite the record, or false if a later version has written the
    /// record.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        self.version <= Self::VERSION
    }

    /// Returns the time from `now` until the open circuit may begin to probe, which is at most the open duration.
    /// Returns `None` if the published state is not open, or if the circuit stays open until a reset.
    #[must_use]
    pub fn open_for(&self, now: Timestamp) -> Option<Duration> {
        (self.state == State::Open).then(|| entry::left(self.until, self.open_ms, now)).flatten()
    }

    /// Returns the order of an operator that overrides the circuit at the time `now`, or `None` if there is no
    /// override.
    #[must_use]
    pub fn held(&self, now: Timestamp) -> Option<&Operated> {
        self.operator.as_ref().filter(|operated| operated.holds(now))
    }

    /// Returns the number of the latest change of the circuit. This is the larger of `generation` and the sequence of
    /// the last order of an operator.
    #[must_use]
    pub fn latest(&self) -> Generation {
        let acted = self.operator.as_ref().map_or(0, |operated| operated.sequence);
        self.generation.max(Generation::new(acted))
    }

    /// Returns the time at which the cooldown begins, during which resets are refused. This is the time when the
    /// published state changed from closed to another state, or the time of an operator's trip that still holds the
    /// circuit at `now`, whichever is later. Returns `None` if the published state is closed and no trip holds the
    /// circuit.
    #[must_use]
    pub fn tripped_at(&self, now: Timestamp) -> Option<Timestamp> {
        // Records of earlier versions of this crate have only `opened_at`.
        let left_closed = self.left_closed_at.or(self.opened_at).filter(|_| self.state != State::Closed);
        let tripped = self.held(now).filter(|operated| operated.act == Act::Trip).map(|operated| operated.at);
        left_closed.max(tripped)
    }

    /// Returns true if the record contains a state that must not be lost. This is the case if the published state or
    /// the fleet is not closed, if an operator holds the circuit, or if the circuit of an instance is not closed.
    /// Instances that are [gone](InstanceEntry::is_gone) are left out.
    #[must_use]
    pub fn is_eventful(&self, now: Timestamp) -> bool {
        self.state != State::Closed
            || self.fleet.as_ref().is_some_and(|fleet| fleet.state != State::Closed)
            || self.held(now).is_some()
            || self.instances.values().any(|entry| entry.is_tripped(now))
    }

    /// Returns the time to live of the record, for stores that delete old records. Returns `None` if the record must
    /// not be deleted.
    ///
    /// `open` is the configured time to live for a circuit that is open or held, and `other` is the time to live for
    /// any other circuit. The result is longer if a deadline in the record is later. A record must not be deleted if a
    /// hold has no end, or if the published state or an instance stays open until a reset.
    #[must_use]
    pub fn ttl(&self, open: Duration, other: Duration, now: Timestamp) -> Option<Duration> {
        let is_open = self.state == State::Open;
        let held = self.held(now);
        let is_endless = |entry: &InstanceEntry| {
            self.state_of(entry) == State::Open && entry.until.is_none() && !self.is_reset_after(entry)
        };
        if is_open && self.until.is_none()
            || held.is_some_and(|operated| operated.until.is_none())
            || self.instances.values().any(is_endless)
        {
            return None;
        }
        let configured = if is_open || held.is_some() { open } else { other };
        // The record must exist until its deadline has passed on every instance. The additional hour allows for
        // differences between the clocks of the instances.
        let margin = Duration::from_secs(3600);
        let needed =
            |until: Option<Timestamp>| until.map_or(Duration::ZERO, |until| until.since(now).saturating_add(margin));
        let entries = self.instances.values().filter(|entry| entry.state == State::Open);
        let entries = entries.map(|entry| needed(entry.until)).max().unwrap_or_default();
        let deadline =
            needed(self.until).saturating_add(Duration::from_millis(self.open_ms.unwrap_or(0)).saturating_mul(2));
        let deadline = if is_open { deadline } else { Duration::ZERO };
        Some(configured.max(deadline).max(entries).max(needed(held.and_then(|operated| operated.until))))
    }

    /// Updates the fields of the record that are sums over the entries of the instances.
    fn sum(&mut self) {
        let entries = || self.instances.values();
        // `failure_count` and `success_count` describe the present, so old entries are not included. The age of an
        // entry is measured at the last write of the record and not at the present time. Thus all copies of a record
        // have equal sums.
        let now = self.updated_at;
        let present = || self.instances.values().filter(|entry| !entry.is_unseen(now));
        // `fold` is used instead of `sum`. Without any entries, `sum` returns minus zero, which would be written as
        // `-0.0`.
        self.failure_count = present().fold(0.0, |sum, entry| sum + entry.run);
        self.success_count = present().map(|entry| u64::from(entry.probe_successes)).sum();
        self.total_failures = entries().fold(0, |sum, entry| sum.saturating_add(entry.total_failures));
        self.total_successes = entries().fold(0, |sum, entry| sum.saturating_add(entry.total_successes));
        self.last_failure_at = entries().filter_map(|entry| entry.last_failure_at).max();
    }
}

/// The error of a stored value that is not a valid record of the circuit. The circuit then continues as if the store
/// had no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptRecord {
    service: String,
    problem: String,
    is_unreadable: bool,
}

impl CorruptRecord {
    fn new(service: &str, problem: &str) -> Self {
        Self { service: quoted(service), problem: words::clean(problem, 300), is_unreadable: false }
    }

    /// Returns the error for a record that only a later version of this crate can read.
    pub(crate) fn later(service: &str, version: u32) -> Self {
        Self::new(service, &format!("is of version {version}, which a later release wrote"))
    }

    /// Returns true if the store could not read the value. Such a value cannot be deleted through the store either.
    pub(crate) const fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }
}

impl fmt::Display for CorruptRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record of `{}` cannot be used: {}", self.service, self.problem)
    }
}

impl std::error::Error for CorruptRecord {}

/// The first bytes of the value that a store returns if it cannot read a stored value. A description of the problem
/// follows these bytes. If the store returned no value, the circuit would seem to have no record.
pub(crate) const UNREADABLE_VALUE: &[u8] = b"unreadable: ";

/// The version of a record. A record of a later version must at least have this field. Its other fields may be
/// unreadable.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

const fn first_version() -> u32 {
    1
}

/// Returns true if a field has its default value. The field is then not written, and a reader of the record uses the
/// default value.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The largest time by which a number in a record may be ahead of the clock of the store. A number can be ahead of the
/// clock if the clock was set back. A number that is more than a year ahead is an error.
const FUTURE: Duration = Duration::from_secs(366 * 24 * 3600);
