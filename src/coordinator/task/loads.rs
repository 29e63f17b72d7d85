//! The batches of loads. A record that the store refuses to load does not hold up the other records of its batch.
//!
//! A store answers a batch as a whole. If it refuses the batch, smaller batches follow until the refused record is found,
//! which is loaded alone from then on, after a backoff. If several records in a row are refused alone, the store refuses
//! all records, and counts as down.

use std::collections::BTreeSet;

use super::jobs::BATCH;
use super::{Ledger, Task};
use crate::clock::Tick;
use crate::coordinator::desk::Desk;
use crate::coordinator::desks::DeskId;
use crate::store::StoreError;

/// The desks whose records must be loaded.
#[derive(Debug)]
pub(super) struct Loads {
    wanted: BTreeSet<DeskId>,
    /// The desks whose record was refused when it was loaded alone.
    alone: BTreeSet<DeskId>,
    /// The length of the next batch. A refused batch halves the length, and a loaded batch doubles it.
    width: usize,
    /// The number of records that were refused alone since the last load.
    refused: usize,
}

impl Loads {
    pub(super) fn new(wanted: BTreeSet<DeskId>) -> Self {
        Self { wanted, alone: BTreeSet::new(), width: BATCH, refused: 0 }
    }

    pub(super) fn insert(&mut self, at: DeskId) {
        self.wanted.insert(at);
    }

    pub(super) fn extend(&mut self, desks: impl IntoIterator<Item = DeskId>) {
        self.wanted.extend(desks);
    }

    /// Removes a desk that is gone.
    pub(super) fn forget(&mut self, at: DeskId) {
        self.wanted.remove(&at);
        self.alone.remove(&at);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Removes and returns the desks of the next batch.
    pub(super) fn next(&mut self) -> Vec<DeskId> {
        let mut batch = Vec::new();
        while let Some(at) = self.wanted.first().copied()
            && self.add(at, &mut batch)
        {}
        batch
    }

    /// Removes and returns the desks of the next batch, which are among these desks.
    pub(super) fn next_of(&mut self, desks: &[DeskId]) -> Vec<DeskId> {
        let mut batch = Vec::new();
        for at in desks {
            if self.wanted.contains(at) && !self.add(*at, &mut batch) {
                break;
            }
        }
        batch
    }

    /// Moves a desk to the batch, if the batch has room. Returns false if the batch is complete.
    fn add(&mut self, at: DeskId, batch: &mut Vec<DeskId>) -> bool {
        let is_alone = self.alone.contains(&at);
        if batch.len() >= self.width || is_alone && !batch.is_empty() {
            return false;
        }
        self.wanted.remove(&at);
        batch.push(at);
        !is_alone
    }

    /// Notes that a batch was loaded.
    pub(super) fn loaded(&mut self, batch: impl Iterator<Item = DeskId>) {
        self.width = (self.width * 2).min(BATCH);
        self.refused = 0;
        for at in batch {
            self.alone.remove(&at);
        }
    }
}

impl Task {
    /// Plans a load of all records, except those that are about to be written, because the answer of a write has the
    /// present record. Otherwise polls could keep a slow store so busy that no write begins. A record that is loaded alone
    /// waits for its backoff.
    pub(super) fn load_all(&mut self, now: Tick) {
        let Ledger { desks, .. } = &self.ledger;
        let is_about_to_write = |desk: &Desk| desk.wants_write(now) && desk.may_write(now) && desk.is_loaded();
        let ids = desks.ids().filter(|at| !is_about_to_write(&desks[*at]));
        let alone = &self.to_load.alone;
        let ids: Vec<_> = ids.filter(|at| !alone.contains(at) || desks[*at].may_write(now)).collect();
        self.to_load.extend(ids);
    }

    /// Handles a load that has failed.
    pub(super) fn not_loaded(
        &mut self,
        operation: &'static str,
        requested: &[(DeskId, u64)],
        error: &StoreError,
        now: Tick,
    ) {
        let desks = &self.ledger.desks;
        // The desks are loaded again, except those that were closed during the load.
        let again: Vec<_> = requested.iter().map(|(at, _)| *at).filter(|at| desks.get(*at).is_some()).collect();
        again.iter().for_each(|at| self.explain(*at, error));
        let is_refused = error.kind().is_lasting() && self.ledger.link.is_up();
        if let ([at], true) = (&again[..], is_refused) {
            self.to_load.refused += 1;
            if self.to_load.refused < MANY_REFUSED {
                let Ledger { desks, dice, link, .. } = &mut self.ledger;
                desks[*at].not_loaded(error.kind(), now, dice);
                self.to_load.alone.insert(*at);
                return link.note(now, operation, error);
            }
        }
        let is_batch = again.len() > 1;
        self.to_load.extend(again.iter().copied());
        if is_batch && is_refused {
            self.to_load.width = again.len() / 2;
            return self.ledger.link.note(now, operation, error);
        }
        self.failed(operation, error, now);
    }
}

/// The number of records in a row that are refused alone if the store refuses all records.
pub(super) const MANY_REFUSED: usize = 4;
