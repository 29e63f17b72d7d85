//! The record of one circuit in the store, as this process knows it from its loads and writes.
//!
//! [`Known`] joins all copies of the record, remembers the version that the store has, and decides whether the store
//! lacks content that must be written back. The module [`record`](crate::record) decides the meaning of a record,
//! `write.rs` decides the content of the next write, and `takeover.rs` decides the effect on the circuit.

use super::Now;
use crate::clock::Tick;
use crate::record::CircuitRecord;
use crate::store::{Etag, Versioned};
use crate::telemetry;
use crate::telemetry::lines::{Lines, Omitted};

/// The version of the record in the store, as far as this process knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    /// The record was not loaded yet, or the loaded version may be old, for example after a write without an answer.
    Unknown,
    /// The store has no record.
    Absent,
    /// The record had this version at the last answer of the store.
    At(Etag),
}

impl Stored {
    fn of(current: Option<&Versioned>) -> Self {
        current.map_or(Self::Absent, |current| Self::At(current.etag.clone()))
    }
}

/// The kind of the content in an answer of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A record, which is already joined with the known record.
    Record,
    /// No record, because the store has none.
    Absent,
    /// Bytes that are no record of this circuit, which count as absent.
    Corrupt,
}

/// The record of one circuit as this process has loaded or written it, with its version in the store.
#[derive(Debug)]
pub(super) struct Known {
    /// The join of all copies that this process has loaded or written. `found` and `written` add a copy, and `forget`
    /// empties the record.
    record: CircuitRecord,
    /// The version that the next write expects in the store. The answer to a load, a write or a successful deletion
    /// sets the version, and `unload` forgets the version.
    stored: Stored,
    /// True if `record` must be written back, because the stored copy lacks a part of `record`. If the store has no
    /// usable copy, only the record of a tripped or held circuit is written back. `found` and `written` compare
    /// `record` with the stored copy, and set or clear the flag. `write_again` sets the flag, and `forget` clears the
    /// flag.
    is_behind: bool,
    /// In a tiered store, the tier that had not stored the last write of this process when the write ended. `None` if
    /// each tier had stored the write. Set by `written`, and cleared by `forget`.
    lacking: Option<&'static str>,
    /// The version of the last stored content that did not decode. By this version, `found` warns only once for each
    /// content.
    corrupt: Option<Etag>,
    /// The limiter of the log lines about versions that did not decode. Another program may write many such versions.
    lines: Lines,
    /// The kind of the store, or of the tier of a tiered store, whose answer `found` has handled last.
    from: &'static str,
    /// The time of the last answer to a load or a write of the record. Set by `found` and `written`.
    answered: Option<Tick>,
}

impl Known {
    /// Begins with an empty record and an unknown version.
    pub(super) fn new(circuit: &str) -> Self {
        let record = CircuitRecord::unknown(circuit);
        let (stored, lines) = (Stored::Unknown, Lines::default());
        Self { record, stored, is_behind: false, lacking: None, corrupt: None, lines, from: "", answered: None }
    }

    pub(super) const fn record(&self) -> &CircuitRecord {
        &self.record
    }

    pub(super) const fn stored(&self) -> &Stored {
        &self.stored
    }

    pub(super) const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Returns true if the store has answered a load or a write of the record after this time.
    pub(super) fn was_answered_after(&self, time: Tick) -> bool {
        self.answered.is_some_and(|answered| answered > time)
    }

    pub(super) const fn from(&self) -> &'static str {
        self.from
    }

    /// Forgets the version in the store, so that the record is loaded again before the next write.
    pub(super) fn unload(&mut self) {
        self.stored = Stored::Unknown;
    }

    /// Takes only the version from an answer of the store and ignores the content, because the record is about to be
    /// deleted.
    pub(super) fn found_before_deletion(&mut self, current: Option<&Versioned>) {
        self.stored = Stored::of(current);
    }

    /// Joins the copy in an answer of the store with the known record. Returns whether the answer had a record, content
    /// that cannot be read, or nothing.
    pub(super) fn found(&mut self, current: Option<&Versioned>, from: &'static str, now: Now) -> Found {
        // The decoded copy lacks the entries that have expired. The known record drops these entries as well. Otherwise
        // the known record would differ from the copy, and would be written back.
        self.record.expire(now.store);
        let decoded = current.map(|current| CircuitRecord::decode(&self.record.service, &current.bytes, now.store));
        let found = match (current, decoded) {
            (Some(current), Some(Ok(record))) => {
                self.join(&record, &current.etag);
                Found::Record
            }
            (Some(current), Some(Err(problem))) => {
                if self.corrupt.as_ref() != Some(&current.etag) {
                    if let Some(more) = self.lines.next(now.here) {
                        telemetry::lines::warn(format_args!("{problem}; it is treated as absent{}", Omitted(more)));
                    }
                    self.corrupt = Some(current.etag.clone());
                }
                Found::Corrupt
            }
            _ => Found::Absent,
        };
        if found != Found::Record {
            // The record of a tripped or held circuit is written back. The loss of any other record does not matter.
            self.is_behind = self.record.is_eventful(now.store);
            self.stored = Stored::of(current);
        }
        (self.from, self.answered) = (from, Some(now.here));
        found
    }

    /// Joins a decoded copy with the known record.
    fn join(&mut self, copy: &CircuitRecord, etag: &Etag) {
        if !copy.is_writable() && self.record.is_writable() {
            let (name, version) = (&self.record.service, copy.version);
            telemetry::lines::warn(format_args!(
                "the record of `{name}` has the later version {version}; its known fields are read, and the record is never written"
            ));
        }
        self.record = crate::record::join(&self.record, copy);
        self.is_behind = self.record != *copy;
        self.stored = Stored::At(etag.clone());
    }

    /// Lets the record be written once more if a tier did not have the last write. The answer to the new write shows if
    /// the tier has the record now.
    pub(super) fn write_again(&mut self) {
        self.is_behind |= self.lacking.is_some();
    }

    /// Joins the record of a successful write with the known record. `lacking` is the tier that does not have the write
    /// yet. `None` if each tier has the write.
    pub(super) fn written(&mut self, record: &CircuitRecord, etag: Etag, lacking: Option<&'static str>, now: Tick) {
        self.answered = Some(now);
        self.lacking = lacking;
        self.record = crate::record::join(&self.record, record);
        self.is_behind = self.record != *record;
        self.stored = Stored::At(etag);
    }

    /// Notes the version of a write that was under way when an operator ordered the deletion of the record. The content
    /// does not matter, because the deletion comes next.
    pub(super) fn written_before_deletion(&mut self, etag: Etag) {
        self.stored = Stored::At(etag);
    }

    /// Begins again with an empty record. The version in the store stays known, because the deletion names that
    /// version.
    pub(super) fn forget(&mut self) {
        self.record = CircuitRecord::unknown(&self.record.service);
        (self.is_behind, self.lacking) = (false, None);
    }

    /// Notes that the store has no record any more.
    pub(super) fn deleted(&mut self) {
        self.stored = Stored::Absent;
    }
}
