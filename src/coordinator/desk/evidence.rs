//! What this instance knows of the service, as its entry in the record: when it is due, and what it says.

use std::time::Duration;

use super::{Now, Who};
use crate::circuit::{Circuit, Totals};
use crate::clock::Tick;
use crate::record::InstanceEntry;
use crate::state::{Reason, Snapshot, State, Transition};

/// The evidence of one circuit, here and in its record.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The sequence that was given out last.
    sequence: u64,
    /// What was written last by this start of the instance, or restored.
    written: Option<InstanceEntry>,
    /// Whether this start has written.
    has_written: bool,
    /// Whether an entry was ever made of this: only then can one of this start be its own.
    has_proposed: bool,
    /// The totals of the starts before this one: failures, successes.
    before: (u64, u64),
    /// Those of this start that are to be forgotten.
    forgotten: (u64, u64),
    /// The whole of the last open duration, and whether that opening was made on evidence of one's own.
    open_whole: Option<Duration>,
    opened_on_own: bool,
    /// The weight of the failures that opened it.
    opened_by: f64,
    failures: u64,
    last_failure: Option<Tick>,
    due: Option<Tick>,
    last_write: Option<Tick>,
}

impl Ledger {
    /// The circuit opened.
    pub(super) fn opened(&mut self, edge: &Transition) {
        self.open_whole = edge.lasts;
        let borrowed = matches!(edge.reason, Reason::Advised { .. } | Reason::Restored | Reason::Followed);
        self.opened_on_own = !borrowed;
        if let Some(weight) = weight(&edge.reason) {
            self.opened_by = weight;
        }
    }

    /// The weight of the failures to be kept: of those since the last success, or of those that opened the circuit.
    fn run(&self, snapshot: &Snapshot) -> f64 {
        if snapshot.state == State::Closed { snapshot.run } else { self.opened_by }
    }

    /// Looks whether there is something that the record does not have.
    pub(super) fn look(&mut self, circuit: &Circuit, now: Tick) {
        let totals = circuit.totals();
        if totals.failures != self.failures {
            self.failures = totals.failures;
            self.last_failure = Some(now);
        }
        if self.due.is_none() && self.differs(circuit) {
            let first = now.saturating_add(FIRST_AFTER);
            self.due = Some(self.last_write.map_or(first, |last| first.max(last.saturating_add(AT_MOST_EVERY))));
        }
    }

    /// Whether the counts that matter after a restart are others than those in the record. Successes alone do not matter: a
    /// healthy circuit writes nothing.
    fn differs(&self, circuit: &Circuit) -> bool {
        let (failures, snapshot) = (self.total_failures(), circuit.snapshot());
        let (run, probe_successes) = (self.run(&snapshot), snapshot.probe_successes);
        match &self.written {
            None => self.failures > self.forgotten.0 || probe_successes > 0,
            Some(written) => {
                // An act, or another instance, may have ended what it says.
                snapshot.state != written.state
                    || failures != written.total_failures
                    || (run - written.run).abs() > f64::EPSILON
                    || probe_successes != written.probe_successes
            }
        }
    }

    const fn total_failures(&self) -> u64 {
        self.before.0.saturating_add(self.failures.saturating_sub(self.forgotten.0))
    }

    /// Whether something is to be written, now or later.
    pub(super) const fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// The store has lost it.
    pub(super) fn is_missing(&mut self, now: Tick) {
        self.due = Some(now);
    }

    pub(super) fn hurry(&mut self, now: Tick) {
        if self.due.is_some() {
            self.due = Some(now);
        }
    }

    /// What was due turned out to be no news.
    pub(super) fn nothing_due(&mut self) {
        self.due = None;
    }

    /// Returns the entry as it should be now.
    pub(super) fn entry(&mut self, circuit: &Circuit, who: &Who, acts: u64, now: Now) -> InstanceEntry {
        let (snapshot, totals) = (circuit.snapshot(), circuit.totals());
        self.has_proposed = true;
        self.sequence = self.sequence.saturating_add(1).max(now.store.as_millis());
        let mut entry = InstanceEntry::closed(&who.incarnation);
        entry.extra = self.written.as_ref().map(|written| written.extra.clone()).unwrap_or_default();
        entry.sequence = self.sequence;
        entry.state = snapshot.state;
        entry.mode = snapshot.mode;
        if snapshot.state == State::Open {
            entry.until = snapshot.open_for.map(|left| now.store.saturating_add(left));
            let whole = self.open_whole.or(snapshot.open_for);
            entry.open_ms = whole.map(|whole| u64::try_from(whole.as_millis()).unwrap_or(u64::MAX));
            entry.advised = !self.opened_on_own;
        }
        if snapshot.state != State::Closed {
            entry.left_closed_at = snapshot.tripped_for.map(|ago| now.store.saturating_sub(ago));
        }
        entry.attempt = snapshot.attempt;
        entry.probe_successes = snapshot.probe_successes;
        entry.run = self.run(&snapshot);
        entry.calls = snapshot.tally.calls();
        entry.score = snapshot.tally.score();
        entry.slow = snapshot.tally.slow();
        let (failures, successes) = self.forgotten;
        entry.total_failures = self.before.0.saturating_add(totals.failures.saturating_sub(failures));
        entry.total_successes = self.before.1.saturating_add(totals.successes.saturating_sub(successes));
        let here = self.last_failure.map(|at| now.store.saturating_sub(now.here.saturating_since(at)));
        entry.last_failure_at = here.or(self.written.as_ref().and_then(|written| written.last_failure_at));
        entry.updated_at = now.store;
        entry.acts = acts;
        entry
    }

    pub(super) fn written(&mut self, entry: InstanceEntry, now: Tick) {
        self.written = Some(entry);
        self.has_written = true;
        self.last_write = Some(now);
        self.due = None;
    }

    /// The record has an entry of this id: what is written next comes after it.
    pub(super) fn met(&mut self, entry: &InstanceEntry) {
        self.sequence = self.sequence.max(entry.sequence);
    }

    /// Whether that entry is of an earlier start of this instance, or of a circuit of this name that was evicted since.
    pub(super) fn is_of_before(&self, entry: &InstanceEntry, who: &Who) -> bool {
        entry.incarnation != who.incarnation || !self.has_proposed
    }

    /// Goes on where an earlier start of this instance ended.
    pub(super) fn continues(&mut self, entry: &InstanceEntry, restored: bool) {
        self.before = (entry.total_failures, entry.total_successes);
        if restored {
            self.opened_on_own = !entry.advised;
            self.open_whole = entry.open_ms.map(Duration::from_millis);
            self.opened_by = if entry.state == State::Closed { 0.0 } else { entry.run };
            self.written = Some(entry.clone());
        }
    }

    /// Whether that entry of this id was written by another living instance.
    pub(super) fn is_contested_by(&self, entry: &InstanceEntry, who: &Who) -> bool {
        self.has_written && entry.incarnation != who.incarnation && entry.sequence > self.sequence
    }

    /// Begins anew: what was counted until now is not kept any more.
    pub(super) fn forget(&mut self, counted: Totals) {
        *self = Self {
            sequence: self.sequence,
            has_written: self.has_written,
            failures: counted.failures,
            forgotten: (counted.failures, counted.successes),
            ..Self::default()
        };
    }

    /// Begins anew under another id.
    pub(super) fn renamed(&mut self, now: Tick) {
        self.before = (0, 0);
        self.has_written = false;
        if self.written.take().is_some() {
            self.due = Some(now);
        }
    }
}

/// The weight of the failures of which a reason tells.
fn weight(reason: &Reason) -> Option<f64> {
    if let Reason::Advised { rule } = reason {
        return weight(rule);
    }
    if let Reason::ConsecutiveFailures { score, .. }
    | Reason::FailureRate { score, .. }
    | Reason::FailureScore { score, .. } = reason
    {
        return Some(*score);
    }
    None
}

/// Counts are written so long after they have changed, and no more often than that.
const FIRST_AFTER: Duration = Duration::from_secs(1);
const AT_MOST_EVERY: Duration = Duration::from_secs(12);
