//! The batches of loads. A record that the store refuses to load does not hold up the other records.
//!
//! A store answers a batch as a whole. If the store refuses a batch, smaller batches follow until the refused record is
//! found. From then on that record is loaded alone, after the others.
//!
//! A store that refuses a single record perhaps refuses all records, and then must be marked as down. After each
//! successful load, the store still counts as up for a few refusals of single records (`credit`). After these refusals,
//! the task requests another record, and the answer for that record decides. The regular polls would decide too late,
//! because most circuits are closed, and the records of closed circuits are polled rarely. A refusal by one part of the
//! store, while another part answers, never marks the store as down.

use std::collections::BTreeSet;

use super::jobs::{BATCH, Begun, Requested};
use super::{Ledger, Task};
use crate::clock::Tick;
use crate::coordinator::desks::DeskId;
use crate::store::StoreError;

/// The desks whose records must be loaded.
#[derive(Debug)]
pub(super) struct Loads {
    wanted: BTreeSet<DeskId>,
    /// The desks with a load under way.
    under_way: BTreeSet<DeskId>,
    /// The desks whose record the store refused when it was loaded alone.
    alone: BTreeSet<DeskId>,
    /// The last desk whose record was loaded alone. The next such load takes the following desk, so that each desk of
    /// `alone` has its turn.
    last_alone: Option<DeskId>,
    /// The largest number of records in the next batch. A refused batch halves the number, and a loaded batch doubles
    /// the number.
    width: usize,
    /// The number of single records that the store may still refuse before another record is requested (`has_asked`).
    /// Each successful load sets a new number.
    credit: usize,
    /// True if a record was refused while `credit` was zero, and another record was requested to see if the store still
    /// loads records. The next successful load resets the flag.
    has_asked: bool,
}

impl Loads {
    pub(super) fn new(wanted: BTreeSet<DeskId>) -> Self {
        let (under_way, alone) = (BTreeSet::new(), BTreeSet::new());
        Self { wanted, under_way, alone, last_alone: None, width: BATCH, credit: 0, has_asked: false }
    }

    pub(super) fn insert(&mut self, at: DeskId) {
        self.wanted.insert(at);
    }

    /// Adds a desk whose write needs a load, unless a load of its record is under way.
    pub(super) fn insert_unless_under_way(&mut self, at: DeskId) {
        if !self.under_way.contains(&at) {
            self.wanted.insert(at);
        }
    }

    /// Notes that a load of these desks has begun.
    pub(super) fn begun(&mut self, batch: impl Iterator<Item = DeskId>) {
        self.under_way.extend(batch);
    }

    /// Notes that a load of these desks has ended, with any result.
    pub(super) fn ended(&mut self, batch: &[Requested]) {
        for Requested { at, .. } in batch {
            self.under_way.remove(at);
        }
    }

    pub(super) fn extend(&mut self, desks: impl IntoIterator<Item = DeskId>) {
        self.wanted.extend(desks);
    }

    /// Removes a desk that is gone.
    pub(super) fn forget(&mut self, at: DeskId) {
        self.wanted.remove(&at);
        self.under_way.remove(&at);
        self.alone.remove(&at);
    }

    /// Returns true if the record of the desk was refused when it was loaded alone.
    pub(super) fn is_alone(&self, at: DeskId) -> bool {
        self.alone.contains(&at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Removes and returns the desks of the next batch. A desk of `alone` comes after the other desks, in a batch of
    /// its own.
    pub(super) fn next(&mut self) -> Vec<DeskId> {
        let mut batch: Vec<_> =
            self.wanted.iter().filter(|at| !self.alone.contains(at)).take(self.width).copied().collect();
        if batch.is_empty() {
            let is_later = |at: &&DeskId| self.last_alone.is_none_or(|last| **at > last);
            self.last_alone = self.wanted.iter().find(is_later).or(self.wanted.first()).copied();
            batch.extend(self.last_alone);
        }
        self.remove(batch)
    }

    /// Removes and returns the next batch of desks that need a load. Only the desks in `desks` are considered. If each
    /// of them must be loaded alone, the batch has one desk.
    pub(super) fn next_of(&mut self, desks: &[DeskId]) -> Vec<DeskId> {
        let wanted = || desks.iter().filter(|at| self.wanted.contains(at));
        let mut batch: Vec<_> = wanted().filter(|at| !self.alone.contains(at)).take(self.width).copied().collect();
        if batch.is_empty() {
            batch.extend(wanted().next());
        }
        self.remove(batch)
    }

    fn remove(&mut self, batch: Vec<DeskId>) -> Vec<DeskId> {
        for at in &batch {
            self.wanted.remove(at);
        }
        batch
    }

    /// Uses up one of the refusals that are allowed before the store counts as down. Returns false if none was left.
    const fn spend(&mut self) -> bool {
        let has_credit = self.credit > 0;
        self.credit = self.credit.saturating_sub(1);
        has_credit
    }

    /// Requests another record, to find out if the store refuses all records. Returns true if another record was
    /// requested. Returns false if there is no other record, or if no load has succeeded since the last such request.
    fn ask(&mut self, mut others: impl Iterator<Item = DeskId>) -> bool {
        let other = others.find(|other| !self.alone.contains(other)).filter(|_| !self.has_asked);
        self.has_asked |= other.is_some();
        self.wanted.extend(other);
        other.is_some()
    }

    /// Notes that the store has loaded this batch.
    pub(super) fn loaded(&mut self, batch: &[Requested]) {
        for Requested { at, .. } in batch {
            self.alone.remove(at);
        }
        self.width = (self.width * 2).min(BATCH);
        (self.credit, self.has_asked) = (self.alone.len() + 1, false);
    }
}

impl Task {
    /// Polls all desks now.
    pub(super) fn load_all(&mut self, now: Tick) {
        let all = self.ledger.desks.ids().collect();
        self.load_polled(all, now);
    }

    /// Plans loads for polls of these desks. Desks that are about to write are left out, because the answer to the
    /// write has the present record. Without this rule, polls could keep a slow store so busy that no write begins. A
    /// record that must be loaded alone waits for the backoff of its desk.
    pub(super) fn load_polled(&mut self, desks: Vec<DeskId>, now: Tick) {
        let (alone, all) = (&self.to_load.alone, &self.ledger.desks);
        let is_due = |at: &DeskId| !all[*at].is_about_to_write(now) && (!alone.contains(at) || all[*at].may_write(now));
        let due: Vec<_> = desks.into_iter().filter(is_due).collect();
        self.to_load.extend(due);
    }

    /// Handles a load that has failed. Decides if the store counts as down, and plans the next load of the records.
    pub(super) fn not_loaded(&mut self, begun: Begun, requested: &[Requested], error: &StoreError, now: Tick) {
        let desks = &self.ledger.desks;
        // The desks are loaded again, except those that were closed during the load.
        let again: Vec<_> = requested.iter().map(|wanted| wanted.at).filter(|at| desks.get(*at).is_some()).collect();
        again.iter().for_each(|at| self.explain(*at, error));
        self.to_load.extend(again.iter().copied());
        match &again[..] {
            [at] if error.kind().is_lasting() => {
                self.to_load.alone.insert(*at);
                // The store does not count as down if another part of the store answers, if the store has loaded the
                // record of another desk lately, or if the answer for the record of another desk will decide.
                if error.is_of_one_part() || self.to_load.spend() || self.to_load.ask(self.ledger.desks.ids()) {
                    self.to_load.wanted.remove(at);
                    let Ledger { desks, dice, link, .. } = &mut self.ledger;
                    desks[*at].not_loaded(error.kind(), now, dice);
                    link.note(now, begun.name, error);
                    return self.give_up_mark(*at, now);
                }
            }
            [_, _, ..] if error.kind().is_lasting() => {
                self.to_load.width = again.len() / 2;
                return self.ledger.link.note(now, begun.name, error);
            }
            _ => {}
        }
        self.failed(begun, error, now);
    }
}
