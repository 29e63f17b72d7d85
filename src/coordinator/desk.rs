//! One circuit between its own state and its record: what is known, what is desired, what is taken over.
//!
//! Nothing here waits. The task asks [`look`](Desk::look) what the circuit has done, gives it what the store says
//! ([`found`](Desk::found)), and asks for the record that should be there ([`candidate`](Desk::candidate)).

mod acts;
mod evidence;
mod look;
mod takeover;
mod write;

use std::task::Waker;
use std::time::Duration;

use super::Sharing;
use super::report::Restored;
use super::waiters::Fate;
use crate::circuit::Circuit;
use crate::clock::Tick;
use crate::record::{CircuitRecord, InstanceEntry, OperatorCommand, Timestamp, TransitionCommand};
use crate::store::{AuditRow, Etag, Versioned};
use crate::telemetry;

/// Who writes: the same for all desks.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) id: String,
    pub(super) incarnation: String,
    pub(super) sharing: Sharing,
}

/// A moment: here, and at the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) here: Tick,
    pub(super) store: Timestamp,
}

/// How a record came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// It was asked for: this is what is there.
    Answer,
    /// The store told of it: it may be late.
    News,
}

/// The desk of one circuit.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) circuit: Circuit,
    bell: Waker,
    /// What the eras of this circuit are counted from: those of this name that went before it in this process.
    eras: u64,
    /// The era in which the bell was last hung up.
    rung_era: u64,
    /// The transitions up to this era were looked at.
    seen_era: u64,
    /// Later ones that were made here, by taking something over.
    ours: Vec<u64>,
    /// Whether the circuit has made a transition by itself, or an operator here has.
    moved: bool,

    /// Everything that any copy of the record ever said.
    known: CircuitRecord,
    /// What the store has, as far as it was asked; `None` inside: nothing.
    etag: Option<Option<Etag>>,
    /// Whether the store has less than is known, and would be missed.
    behind: bool,
    corrupt: Option<Etag>,
    /// The store, or the tier of it, that answered last.
    from: &'static str,
    pub(super) restored: Restored,
    pub(super) wait_until: Option<Tick>,

    act: Option<Pending<OperatorCommand>>,
    transition: Option<Pending<TransitionCommand>>,
    evidence: evidence::Ledger,
    /// The sequence of the last act that was taken over.
    acts: u64,
    /// The id of the act that binds here, made here or taken over: of two stores that fail in turn it can come back under
    /// another number, also after a newer one.
    binding: Option<String>,
    /// The highest generation or sequence that was ever proposed from here, answered or not.
    proposed: u64,
    /// The published generation that was followed last.
    followed: u64,
    /// Whether another's was, and none of here was made since.
    strayed: bool,
    /// An act of here was dropped after it had changed the state: that must be followed again.
    reverts: bool,
    /// Until when others advise.
    advised_until: Option<Timestamp>,
    /// The record is to be deleted, by the orders of these ids.
    forgetting: Vec<String>,

    pub(super) in_flight: bool,
    /// Grows with every write, so that what was loaded before is known to be old.
    pub(super) turn: u64,
    pub(super) conflicts: u32,
    /// Writes in a row that failed.
    pub(super) failures: u32,
    pub(super) retry_at: Tick,

    /// The circuit is in no registry any more.
    pub(super) is_leaving: bool,
    /// The one of the same name that has come since, and until when its first calls wait.
    pub(super) next: Option<(Circuit, Option<Tick>)>,
}

/// Where the counts of a desk begin, so that those of an earlier one of its number or name are not taken for its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) turn: u64,
    pub(super) eras: u64,
}

/// Something to be written, with the tick of the circuit's clock at which it happened.
#[derive(Debug, Clone)]
struct Pending<C> {
    at: Tick,
    command: C,
}

/// What a write carries, to know what is done when it is done.
#[derive(Debug)]
pub(super) struct Ticket {
    record: CircuitRecord,
    act: Option<String>,
    transition: Option<u64>,
    entry: Option<InstanceEntry>,
}

/// What is to be told after looking or taking over.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Rows for the audit, and how long ago each happened.
    pub(super) rows: Vec<(Duration, AuditRow)>,
    /// How many transitions before those were not kept, and the row that says so.
    pub(super) missed: Option<(u64, AuditRow)>,
    /// What became of orders, by their ids.
    pub(super) fates: Vec<(String, Fate)>,
    /// Another living instance has the same id.
    pub(super) clash: bool,
}

impl Desk {
    pub(super) fn new(circuit: Circuit, bell: Waker, waits: Option<Tick>, life: Life) -> Self {
        let known = CircuitRecord::unknown(circuit.name());
        Self {
            bell,
            eras: life.eras,
            rung_era: 0,
            // The first era begins without a transition.
            seen_era: 1,
            ours: Vec::new(),
            moved: false,
            known,
            etag: None,
            behind: false,
            corrupt: None,
            from: "",
            restored: Restored::Waiting,
            wait_until: waits,
            act: None,
            transition: None,
            evidence: evidence::Ledger::default(),
            acts: 0,
            binding: None,
            proposed: 0,
            followed: 0,
            strayed: false,
            reverts: false,
            advised_until: None,
            forgetting: Vec::new(),
            in_flight: false,
            turn: life.turn,
            conflicts: 0,
            failures: 0,
            retry_at: Tick::ZERO,
            is_leaving: false,
            next: None,
            circuit,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.circuit.name()
    }

    /// The version of the record, if it is a later one that must not be written.
    pub(super) fn unwritable(&self) -> Option<u32> {
        (!self.known.is_writable()).then_some(self.known.version)
    }

    /// Whether the store was asked, and its answer is not known to be old.
    pub(super) const fn is_loaded(&self) -> bool {
        self.etag.is_some()
    }

    /// The answer to a write was lost, or it was refused: what is there must be asked.
    pub(super) fn unload(&mut self) {
        self.etag = None;
    }

    /// Whether it must be polled often.
    pub(super) fn is_eventful(&self, store: Option<Timestamp>) -> bool {
        self.circuit.standing().is_tripped() || store.is_some_and(|now| self.known.is_eventful(now))
    }

    /// Whether there is something to write now.
    pub(super) fn wants(&self, now: Tick) -> bool {
        !self.forgetting.is_empty()
            || self.act.is_some()
            || self.transition.is_some()
            || self.behind
            || self.evidence.is_due(now)
    }

    /// Whether there is something to write, now or later.
    pub(super) fn has_unwritten(&self) -> bool {
        self.act.is_some() || self.transition.is_some() || self.behind || self.evidence.is_waiting()
    }

    /// Whether the record is of a later version, which is never written.
    pub(super) const fn is_read_only(&self) -> bool {
        !self.known.is_writable()
    }

    /// The last era of the circuit, as the record counts them.
    pub(super) const fn last_era(&self) -> u64 {
        self.eras.saturating_add(self.seen_era)
    }

    /// Takes what the store says is there. What cannot be used is absent.
    pub(super) fn found(
        &mut self,
        current: Option<&Versioned>,
        via: Via,
        from: &'static str,
        who: &Who,
        now: Now,
    ) -> Told {
        let etag = current.map(|current| current.etag.clone());
        if !self.forgetting.is_empty() {
            // What is there is to go, whatever it says.
            if via == Via::Answer {
                self.etag = Some(etag);
            }
            return self.look(who, now.here);
        }
        let mut corrupt = false;
        let record = current.and_then(|current| match CircuitRecord::decode(self.name(), &current.bytes, now.store) {
            Ok(record) => Some(record),
            Err(problem) => {
                corrupt = true;
                if self.corrupt.as_ref() != Some(&current.etag) {
                    telemetry::store::warn(format_args!("{problem}; it is treated as absent"));
                    self.corrupt = Some(current.etag.clone());
                }
                None
            }
        });
        match (&record, via) {
            (Some(record), _) => {
                if !record.is_writable() && self.known.is_writable() {
                    let (name, version) = (self.name(), record.version);
                    telemetry::store::warn(format_args!(
                        "the record of `{name}` is of a later version, {version}: it is read as far as it is understood, and never written"
                    ));
                }
                let joined = crate::record::join(&self.known, record);
                let behind = joined != *record;
                self.known = joined;
                if via == Via::Answer || !behind {
                    self.behind = behind;
                    self.etag = Some(etag);
                }
            }
            (None, Via::Answer) => {
                self.behind = self.known.is_eventful(now.store);
                // What was only taken over has no entry yet; now nobody else may remember it.
                let own = self.known.instances.get(&who.id).map(|entry| entry.state);
                if self.circuit.standing().is_tripped() && own != Some(self.circuit.standing().state) {
                    self.evidence.is_missing(now.here);
                }
                self.etag = Some(etag);
            }
            (None, Via::News) => {}
        }
        if via == Via::News && record.is_none() {
            return Told::default();
        }
        self.from = from;
        self.take_over(corrupt, who, now)
    }

    /// Everything that is not written yet is due now: nobody will come later.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.retry_at = now;
        self.evidence.hurry(now);
    }

    /// The instance has another id now.
    pub(super) fn renamed(&mut self, now: Tick) {
        self.evidence.renamed(now);
    }

    fn row(&self, who: &Who, action: &str, reason: String, user: Option<String>) -> AuditRow {
        AuditRow {
            id: String::new(),
            service: self.name().to_owned(),
            action: action.to_owned(),
            reason,
            user,
            timestamp: Timestamp::default(),
            generation: self.known.generation.get(),
            instance: who.id.clone(),
        }
    }
}
