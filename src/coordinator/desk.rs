//! A desk, which keeps one circuit and its stored record in agreement.
//!
//! A desk never waits and does no I/O. The task of the coordinator calls the methods of a desk and carries out the
//! results. Therefore a simulator can play many instances in virtual time.
//!
//! A *look* is the moment at which the desk reads the transitions and the counts of its circuit since the last look.
//!
//! | event in the life of a desk | call of the task | effect |
//! |---|---|---|
//! | the registry has a new circuit | `new` | the circuit waits for its restore, and the version of its record in the store is unknown |
//! | the circuit has rung its bell (a waker), or a second has passed | `look` | the circuit's own transitions become commands and audit rows |
//! | after each look and each answer of the store | `check` | the decision of the fleet is adopted, and the next command to the fleet is chosen |
//! | the store answers a load | `found` | the loaded record is joined with the known record, and the circuit takes over a restore, acts and advice |
//! | an operator gives an order again | `ordered_again` | the result of the order is reported again |
//! | `wants_write` and `may_write` are true | `begin` | the next `Step` is returned, and its write or deletion is under way |
//! | the store has made the write | `written` | the commands and counts in the write are no longer pending |
//! | the store has another version than the write expected | `conflicted`, `found` | the next write names the present version |
//! | the write or the deletion has failed | `failed` | the version is unknown, and the next write waits |
//! | the store has made the deletion | `deleted` | the orders to forget the circuit are done |
//! | the store has another version than the deletion named | `delete_missed` | the version is unknown |
//! | the task has ended, and a new task begins | `restart` | the version is unknown, and no write is under way |
//! | the registry evicts the circuit | `evict`, `evict_for` | the desk stays until the record has the changes of the circuit |
//! | `is_finished` is true, or the task gives up the last write | `close` | the next circuit of that name gets a new desk |
//!
//! A desk has at most one write under way. Each beginning and each end of a write increases the turn, a number of the
//! desk. If the turn has changed since a load began, the answer to the load is old, and the task ignores the answer.
//!
//! Each field of a desk is a part (a struct). The fields of one part change together. The parts about the store are the
//! known content (`known.rs`), the write under way (`sending.rs`), and the ends of openings and holds by the clock of
//! the store (`ends.rs`). The parts about this process are its acts and transitions (`changes.rs`), its counts
//! (`evidence.rs`, `usual.rs`), and the content that the circuit has taken over (`adopted.rs`). The last parts are the
//! role of this instance in its fleet (`fleet.rs`) and the relation to the registry (`registration.rs`). Most steps of
//! the table need several parts, and are in `look.rs`, `acts.rs`, `write.rs` and `takeover.rs`. The reasons to load a
//! record are in `news.rs`.
//!
//! The file is longer than others, because the table above, the fields and the simple methods of a desk are read
//! together.

mod acts;
mod adopted;
mod changes;
mod ends;
mod evidence;
mod fleet;
mod known;
mod look;
mod news;
mod registration;
mod sending;
mod takeover;
mod usual;
mod write;

use std::task::Waker;
use std::time::Duration;

use super::Sharing;
use super::membership::{Members, Quorum};
use super::report::Restored;
use super::waiters::Fate;
use crate::circuit::Circuit;
use crate::clock::Tick;
use crate::record::{CircuitRecord, InstanceEntry, Timestamp};
use crate::state::State;
use crate::store::{AuditRow, Etag, Versioned};
use adopted::Adopted;
use changes::Changes;
use ends::Ends;
use evidence::Evidence;
use fleet::{InFleet, Sent};
use known::{Found, Known, Stored};
pub(super) use news::Pace;
use registration::Registration;
use sending::Sending;
pub(super) use write::Step;

/// The identity under which this process writes records, with the settings and the members of its fleet. All desks of a
/// registry use the same `Who`.
#[derive(Debug, Clone)]
pub(super) struct Who {
    /// The id of the instance, which survives restarts. The task changes the id if another living instance has the same
    /// id.
    pub(super) id: String,
    /// The id of this process, which distinguishes its entries in the record from the entries of an earlier process
    /// with the same instance id.
    pub(super) incarnation: String,
    /// The kinds of the tiers of the store, as the text that [`InstanceEntry::tiers`] stores. `None` if the store has
    /// no tiers.
    pub(super) tiers: Option<String>,
    pub(super) sharing: Sharing,
    pub(super) quorum: Quorum,
    /// The live members of the fleet at the last count by the task.
    pub(super) members: Members,
}

impl Who {
    /// Returns true under `Sharing::Follow`, where an opening in one instance opens the circuit in all instances. A
    /// state that one instance has published then counts as a decision of the fleet.
    pub(super) fn follows(&self) -> bool {
        self.sharing == Sharing::Follow
    }

    /// Returns the number of votes that open the circuit in the whole fleet.
    fn needed(&self) -> u32 {
        if self.follows() { 1 } else { self.quorum.needed(self.members) }
    }
}

/// The current time on two clocks. Waits use `here`, the clock of this process. The dates in records use `store`, the
/// clock of the store, because the clocks of instances differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) here: Tick,
    pub(super) store: Timestamp,
}

/// Two start values for a new desk, so that the desk repeats no number of an earlier desk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// The first turn of the new desk, a number that grows with each write. The first turn is higher than each turn of
    /// the last desk with the same id, so that a late answer for that desk is recognised as old.
    pub(super) turn: u64,
    /// The highest era (version of a circuit's state) of all removed desks. The new desk adds this number to each era
    /// of its circuit, so that a circuit with the name of an evicted circuit does not repeat the eras of its
    /// predecessor.
    pub(super) eras: u64,
}

/// The content of a write under way. Once the store has made the write, `written` removes the changes in the ticket
/// from the pending changes.
#[derive(Debug)]
pub(super) struct Ticket {
    record: CircuitRecord,
    /// The id of the operator's act that the write contains. `None` if the write contains no act.
    act: Option<String>,
    /// The era (version of the state) that began with the transition in the write. `None` if the write contains no
    /// transition.
    transition: Option<u64>,
    /// The era (version of the state) of the circuit when the write began.
    era: u64,
    /// The new entry of this instance in the write, and the number of changes of the circuit's state that this entry
    /// includes (`Evidence::owed`). `None` if the write contains no new entry.
    entry: Option<(InstanceEntry, u64)>,
    /// The command to the fleet that the write contains. `None` if the write contains no command.
    sent: Option<Sent>,
}

impl Ticket {
    /// Returns the era (version of the state) of the circuit when the write began.
    pub(super) const fn era(&self) -> u64 {
        self.era
    }
}

/// The report of a desk after a step. The task passes the parts of the report to the audit, and to the callers that
/// wait for the results of orders.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Rows for the audit, each with its age.
    pub(super) rows: Vec<(Duration, AuditRow)>,
    /// Audit rows that are sent once more because the audit may lack them, each with its age. A row can belong to an
    /// act of another instance, whose process may have ended before the row was written. A row can also belong to an
    /// order that was given again while its act waits for the store. These rows are not logged, because the log already
    /// has a line for each act.
    pub(super) repeated: Vec<(Duration, AuditRow)>,
    /// The number of transitions that the history of the circuit had lost before the desk could read them, and an audit
    /// row with that number.
    pub(super) missed: Option<(u64, AuditRow)>,
    /// The results of orders, each with the id of its order.
    pub(super) fates: Vec<(String, Fate)>,
    /// True if another living instance has the id of this instance.
    pub(super) clash: bool,
}

/// The desk of one circuit, which keeps the circuit and its stored record in agreement.
#[derive(Debug)]
pub(super) struct Desk {
    /// The circuit of the desk, which stays the same for the life of the desk.
    circuit: Circuit,
    /// The stored record of the circuit, as this process knows it from its loads and writes.
    known: Known,
    /// The acts and transitions of this process that the store does not have yet.
    changes: Changes,
    /// The counts of calls in this process, and the entry of this instance in the record. The entry stores the counts.
    evidence: Evidence,
    /// The write under way, and the earliest time of the next write.
    sending: Sending,
    /// The parts of the record that the circuit has taken over.
    adopted: Adopted,
    /// The end of the circuit's present opening by the clock of the store.
    ends: Ends,
    /// The role of this instance in its fleet, such as its reason to vote, its leased probe, and its next command.
    fleet: InFleet,
    /// `Registered` while the registry has the circuit, and `Evicted` afterwards.
    registration: Registration,
}

impl Desk {
    /// Creates the desk of a circuit. `bell` is the waker that the circuit wakes after a transition. The first calls of
    /// the circuit wait for the restore until the tick `waits`. If `waits` is `None`, no call waits.
    pub(super) fn new(circuit: Circuit, bell: Waker, waits: Option<Tick>, life: Life) -> Self {
        Self {
            known: Known::new(circuit.name()),
            changes: Changes::new(bell, life.eras),
            evidence: Evidence::default(),
            sending: Sending::new(life.turn),
            adopted: Adopted::new(waits),
            ends: Ends::default(),
            fleet: InFleet::default(),
            registration: Registration::Registered,
            circuit,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.circuit.name()
    }

    /// Sends the sums of the calls since the last report to the observers of the circuit.
    pub(super) fn report_sums(&self) {
        self.circuit.report_sums();
    }

    /// Returns the format version of the record if a later version of this crate has written the record, and `None`
    /// otherwise. Such a record is never overwritten, because this version of the crate does not know all fields of the
    /// record.
    pub(super) fn unwritable(&self) -> Option<u32> {
        let record = self.known.record();
        (!record.is_writable()).then_some(record.version)
    }

    /// Returns true if a change must be written now.
    pub(super) fn wants_write(&self, now: Tick) -> bool {
        self.changes.is_forgetting()
            || self.changes.has_act()
            || self.changes.has_transition()
            || self.known.is_behind()
            || self.fleet.wants_write()
            || self.evidence.is_due(now)
    }

    /// Returns true if an order of an operator waits for the store.
    pub(super) const fn has_order(&self) -> bool {
        self.changes.has_act() || self.changes.is_forgetting()
    }

    /// Returns true if the desk knows a change that the store lacks, even if the write is planned for later. A command
    /// to the fleet does not count as a change, and neither does the mark `stopped` of this instance.
    pub(super) fn has_unwritten(&self) -> bool {
        self.has_order() || self.changes.has_transition() || self.known.is_behind() || self.evidence.has_news()
    }

    /// Returns true if the circuit has made a transition that this desk has not read yet.
    pub(super) fn has_news(&self) -> bool {
        let (edges, missed) = self.circuit.transitions_since(self.changes.expected_era());
        missed > 0 || !edges.is_empty()
    }

    /// Returns the era (version of the state) that began with the last transition that this desk has read. The result
    /// is the number in the record, which is the era of the circuit plus [`Life::eras`].
    pub(super) const fn last_era(&self) -> u64 {
        self.changes.last_era()
    }

    /// Returns true if the record had this version at the last answer of the store.
    pub(super) fn has_version(&self, etag: &Etag) -> bool {
        matches!(self.known.stored(), Stored::At(stored) if stored == etag)
    }

    pub(super) const fn is_waiting_for_restore(&self) -> bool {
        self.adopted.is_waiting_for_restore()
    }

    /// Returns the result of the restore, or [`Restored::Waiting`] before the restore has ended.
    pub(super) fn restored(&self) -> Restored {
        self.adopted.restore_report()
    }

    /// Returns the last transition of the restore, which the caller logs. `None` if the circuit had the restored state
    /// already.
    pub(super) fn restoring_edge(&self) -> Option<crate::state::Transition> {
        let (edges, _) = self.circuit.transitions_since(0);
        edges.into_iter().rfind(|edge| edge.is_logged)
    }

    /// Returns the tick until which the first calls wait for the restore. `None` if no call waits.
    pub(super) const fn calls_wait_until(&self) -> Option<Tick> {
        self.adopted.calls_wait_until()
    }

    /// Lets the first calls wait for the restore until this tick, unless calls wait already or the restore has ended.
    pub(super) fn let_calls_wait(&mut self, until: Option<Tick>) {
        self.adopted.let_calls_wait(until);
    }

    /// Ends the wait of the first calls for the restore, if the time of the wait is over.
    pub(super) fn end_wait_of_calls(&mut self, now: Tick) {
        if self.adopted.end_wait_of_calls(now) {
            self.circuit.restored();
        }
    }

    /// Returns the era of the circuit.
    pub(super) fn circuit_era(&self) -> u64 {
        let (era, _) = self.circuit.era_and_standing();
        era
    }

    /// Handles the record in an answer to a load, or to a write that met a conflict. `current` is `None` if the store
    /// has no record, and content that is no record counts as absent. `from` is the store, or the tier of a tiered
    /// store, that had the content. `era` is the era (version of the state) of the circuit when the operation began.
    pub(super) fn found(
        &mut self,
        current: Option<&Versioned>,
        from: &'static str,
        era: u64,
        who: &Who,
        now: Now,
    ) -> Report {
        if self.changes.is_forgetting() {
            // The content is about to be deleted. The deletion needs only the version of the content.
            self.known.found_before_deletion(current);
            return self.look(who, now.here);
        }
        let found = self.known.found(current, from, now);
        match found {
            Found::Record => {}
            Found::Absent | Found::Corrupt => {
                // The store has no usable record. If the known record has no entry of this instance, or if the entry
                // has another state than the circuit, the state of the circuit may be in no record. If the circuit is
                // tripped, this instance must then write its entry now.
                let own = self.known.record().instances.get(&who.id).map(|entry| entry.state);
                if self.circuit.standing().is_tripped() && own != Some(self.circuit.standing().state) {
                    self.evidence.owe(now.here);
                }
            }
        }
        let report = self.take_over(found == Found::Corrupt, who, now);
        self.end_by_the_store(era, now);
        report
    }

    /// Returns true if the circuit is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.circuit.state() == State::Closed
    }

    /// Lets every unwritten change be written now, because the process is about to end, or the registry has evicted the
    /// circuit.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.sending.hurry(now);
        self.evidence.hurry(&self.circuit, now);
    }

    /// Marks the next entry of this instance as the last entry before the process ends, so that other instances do not
    /// count this instance any more. The entry of a closed circuit gets the mark only if `any` is true. Returns true if
    /// the mark is the only reason to write the entry.
    pub(super) fn stop(&mut self, any: bool, now: Tick) -> bool {
        (any || !self.is_closed()) && self.evidence.stop(now)
    }

    /// Removes the mark `stopped` from the next entry of this instance, because the process continues. If an entry with
    /// the mark is already stored or is being written, a later entry without the mark replaces that entry.
    pub(super) fn go_on(&mut self) {
        self.evidence.go_on();
    }

    /// Drops the mark `stopped` from the next entry if no other change waits to be written. Nothing is lost without the
    /// mark, so the end of the process need not wait for a write of the mark.
    pub(super) fn drop_mark(&mut self) {
        if self.has_only_mark() {
            self.evidence.go_on();
        }
    }

    /// Returns true if the mark `stopped` of this instance is the only change that waits to be written.
    pub(super) fn has_only_mark(&self) -> bool {
        self.evidence.has_only_mark() && !self.has_unwritten()
    }

    /// Lets an entry with new counts be written now, even if its write was planned for later, because the process is
    /// about to end.
    pub(super) fn hurry_counts(&mut self, now: Tick) {
        self.evidence.hurry(&self.circuit, now);
    }

    /// Handles a change of the instance id. The record has no entry under the new id yet.
    pub(super) fn renamed(&mut self, now: Tick) {
        self.evidence.renamed(now);
        self.end_turn();
    }

    /// Creates a row for the audit without an id and a time. The outbox sets the id, and computes the time from the age
    /// of the row.
    fn row(&self, who: &Who, action: &str, reason: String, user: Option<String>) -> AuditRow {
        AuditRow {
            id: String::new(),
            service: self.name().to_owned(),
            action: action.to_owned(),
            reason,
            user,
            timestamp: Timestamp::default(),
            generation: self.known.record().generation.get(),
            instance: who.id.clone(),
        }
    }
}
