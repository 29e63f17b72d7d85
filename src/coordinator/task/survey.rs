//! The survey of the store, which finds the keyed circuits that are not closed and restores them before their first
//! call.
//!
//! A survey lists the names in the store, and loads in batches the records whose names belong to a keyed layer. The
//! survey checks each loaded record, and then drops it. Therefore the needed memory depends only on the number of keys
//! of a layer and the number of names in the store. The survey creates the circuits at the end, the most urgent first,
//! and the desk of each circuit then restores it. All other circuits stay in the store until the first call of their
//! key.
//!
//! A record that the store refuses does not hold up the other records, as in `loads.rs`.
//!
//! A failed survey begins again after a backoff of its own. If only the list of names fails, the link is not marked as
//! down, because a store with many names can be too slow for the list and still fast enough for records.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::jobs::{BATCH, Begun, Ended, Lane};
use super::{Ledger, Task};
use crate::clock::Tick;
use crate::coordinator::link::backoff;
use crate::coordinator::restore::{Urgency, urgency};
use crate::event::guarded;
use crate::record::CircuitRecord;
use crate::registry::{BroughtBack, Prefixed};
use crate::store::{Loaded, StoreError};
use crate::telemetry;

/// The survey of the store.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// True while an operation of the survey is under way.
    under_way: bool,
    /// The names to load and the circuits found so far. `None` before the store has listed the names, and after the end
    /// of the survey.
    work: Option<Work>,
    /// The earliest time of the next survey.
    at: Tick,
    /// The number of surveys in a row that failed.
    failures: u32,
}

/// The names to load, and the layers to which the names belong.
#[derive(Debug)]
struct Work {
    /// The names, each with the index of its layer.
    names: VecDeque<(usize, String)>,
    layers: Vec<Layer>,
    /// The largest number of records in the next batch. A refused batch halves the number, and a loaded batch doubles
    /// the number.
    width: usize,
    /// The number of records that were refused when they were loaded alone, since the last successful load.
    refused: usize,
    /// True if the store has loaded a batch.
    has_loaded: bool,
}

/// A keyed layer in a survey.
#[derive(Debug)]
struct Layer {
    keyed: Weak<dyn Prefixed>,
    /// The names of the circuits to restore, as far as the survey has found them. Each name has the urgency of its
    /// restore.
    found: Vec<(Urgency, String)>,
    /// The number of circuits of the layer that this survey leaves out, because there is no room or because their
    /// settings were refused. Such a circuit is restored at the first call of its key.
    left_out: usize,
}

impl Task {
    /// Begins the next operation of the survey. Returns false if no operation can begin now.
    pub(super) fn survey(&mut self, now: Tick) -> bool {
        // While the store is down, the survey waits, because the records of known circuits come first.
        if self.survey.under_way || self.closing || !self.ledger.link.is_up() {
            return false;
        }
        let store = self.hub.store.clone();
        let Some(work) = &mut self.survey.work else {
            if self.survey.at > now || !self.hub.prefixes.has_unread() {
                return false;
            }
            self.survey.under_way = true;
            self.begin("list", Lane::Others, now, async move { store.list().await }, |result| Ended::Listed { result });
            return true;
        };
        let batch: Vec<_> = work.names.drain(..work.names.len().min(work.width)).collect();
        if batch.is_empty() {
            if work.refused > 0 && !work.has_loaded {
                // The store has refused every record. Therefore the fault is not in the records, and the survey has
                // failed.
                self.survey.work = None;
                self.survey_failed(now);
                return false;
            }
            self.end_survey();
            return false;
        }
        self.survey.under_way = true;
        let names: Vec<String> = batch.iter().map(|(_, name)| name.clone()).collect();
        let load = async move { store.load_many(&names).await };
        self.begin("load", Lane::Others, now, load, |result| Ended::Surveyed { batch, result });
        true
    }

    /// Returns the earliest time of the next survey. `None` if no layer needs a survey, or if no survey can begin.
    pub(super) fn next_survey(&self) -> Option<Tick> {
        let waits = !self.survey.under_way && self.ledger.link.is_up() && self.hub.prefixes.has_unread();
        waits.then_some(self.survey.at)
    }

    /// Lets the next survey begin now, because a caller waits for a restore.
    pub(super) fn hurry_survey(&mut self, now: Tick) {
        self.survey.at = self.survey.at.min(now);
    }

    /// Handles the list of names from the store, or the failure to get the list.
    pub(super) fn listed(&mut self, result: Result<Vec<String>, StoreError>, now: Tick) {
        self.survey.under_way = false;
        let names = match result {
            Ok(names) => names,
            Err(error) => {
                self.ledger.link.note(now, "list", &error);
                return self.survey_failed(now);
            }
        };
        self.succeeded(now, "list", None);
        let wanting = self.hub.prefixes.unread();
        let layers = wanting.iter().map(Layer::new).collect();
        let mut work = Work { names: VecDeque::new(), layers, width: BATCH, refused: 0, has_loaded: false };
        for name in names {
            // The registry gives a name to one layer at most.
            let Some(at) = wanting.iter().position(|keyed| keyed.wants(&name)) else { continue };
            if work.names.len() < MOST_NAMES {
                work.names.push_back((at, name));
            } else {
                work.layers[at].left_out += 1;
            }
        }
        self.survey.work = Some(work);
    }

    /// Checks a batch of loaded records, and keeps the names of the circuits to restore.
    pub(super) fn surveyed(
        &mut self,
        begun: Begun,
        batch: Vec<(usize, String)>,
        result: Result<Loaded, StoreError>,
        now: Tick,
    ) {
        self.survey.under_way = false;
        let loaded = match result {
            Ok(loaded) => loaded,
            Err(error) => {
                let is_refused = error.kind().is_lasting() && self.ledger.link.is_up();
                if is_refused && self.survey.work.as_mut().is_some_and(|work| work.goes_on_without(batch)) {
                    return self.ledger.link.note(now, "load", &error);
                }
                self.survey.work = None;
                self.survey_failed(now);
                if error.is_of_one_part() {
                    return self.ledger.link.note(now, "load", &error);
                }
                return self.failed(begun, &error, now);
            }
        };
        self.answered(begun, loaded.now, now);
        let Some(work) = &mut self.survey.work else { return };
        (work.width, work.refused, work.has_loaded) = ((work.width * 2).min(BATCH), 0, true);
        for ((at, name), entry) in batch.into_iter().zip(&loaded.entries) {
            let layer = &mut work.layers[at];
            let (Some(entry), Some(keyed)) = (entry, layer.keyed.upgrade()) else { continue };
            // A damaged record is skipped here. The first call of its key loads the record again and reports the
            // damage.
            let Ok(record) = CircuitRecord::decode(&name, &entry.bytes, loaded.now) else { continue };
            if let Some(urgency) = urgency(&record, &self.ledger.who, keyed.idle(), loaded.now) {
                layer.found.push((urgency, name));
                if layer.found.len() >= keyed.max_keys().saturating_mul(2) {
                    layer.bound(keyed.max_keys());
                }
            }
        }
    }

    /// Creates the circuits that the survey has found.
    fn end_survey(&mut self) {
        let Some(work) = self.survey.work.take() else { return };
        self.survey.failures = 0;
        for mut layer in work.layers {
            let Some(keyed) = layer.keyed.upgrade() else { continue };
            let max = keyed.max_keys();
            layer.bound(max);
            let mut circuits = Vec::new();
            for (_, name) in layer.found {
                // The template of the circuits is foreign code, so its panic must not end the task.
                match guarded(|| keyed.bring_back(&name)) {
                    Some(BroughtBack::New(circuit)) => circuits.push(circuit),
                    Some(BroughtBack::Present) => {}
                    Some(BroughtBack::LeftOut) | None => layer.left_out += 1,
                }
            }
            let (prefix, left_out) = (keyed.prefix(), layer.left_out);
            if !circuits.is_empty() {
                let found = circuits.len();
                let (noun, verb) = if found == 1 { ("circuit", "comes") } else { ("circuits", "come") };
                telemetry::store::note(format_args!("{found} keyed {noun} `{prefix}…` {verb} back from the store"));
            }
            if left_out > 0 {
                let (noun, verb) = if left_out == 1 { ("circuit", "is") } else { ("circuits", "are") };
                telemetry::lines::warn(format_args!(
                    "{left_out} keyed {noun} `{prefix}…` of the store {verb} left out, because there is room for {max}; each comes back with its first call"
                ));
            }
            self.hub.findings.lock().left_out += left_out;
            self.hub.prefixes.created(&layer.keyed, circuits);
        }
        // The task wakes itself, because its inbox now contains the new circuits.
        self.hub.called.notify_one();
    }

    /// Marks each layer as restored once all its circuits are restored, and ends the waits whose time is
    /// over.
    pub(super) fn settle_prefixes(&mut self, now: Tick) {
        let Ledger { index, desks, .. } = &self.ledger;
        // A circuit without a desk (the data of the task about a circuit) was evicted, so the circuit no longer waits.
        let ended = self.hub.prefixes.settle(|circuit| {
            let Some(desk) = index.get(circuit.name()).map(|at| &desks[*at]) else { return false };
            // The desk can belong to an earlier circuit of the same name. Then this circuit waits for the end of that
            // desk.
            let is_next = desk.has_next() && desk.circuits().any(|next| next.is(circuit));
            is_next || desk.is_of(circuit) && desk.is_waiting_for_restore()
        });
        if ended {
            self.hub.notify_progress();
        }
        self.hub.prefixes.end_waits(now, self.hub.terms.first_call_waits);
    }

    /// Plans the next survey after a failure, and wakes the callers that wait for a restore.
    fn survey_failed(&mut self, now: Tick) {
        self.survey.failures = self.survey.failures.saturating_add(1);
        self.survey.at = now.saturating_add(backoff(self.survey.failures, &mut self.ledger.dice));
        self.hub.notify_progress();
    }
}

impl Work {
    /// Handles a refused batch, and returns true if the survey continues. The survey continues with smaller batches. A
    /// record that is refused even alone is left out, and the first call of its key loads the record later. Returns
    /// false after [`MANY_REFUSED`] refused single records in a row, because the store then probably refuses all
    /// records.
    fn goes_on_without(&mut self, batch: Vec<(usize, String)>) -> bool {
        if batch.len() == 1 {
            self.refused += 1;
            return self.refused < MANY_REFUSED;
        }
        self.width = batch.len() / 2;
        batch.into_iter().rev().for_each(|name| self.names.push_front(name));
        true
    }
}

impl Layer {
    fn new(keyed: &Arc<dyn Prefixed>) -> Self {
        Self { keyed: Arc::downgrade(keyed), found: Vec::new(), left_out: 0 }
    }

    /// Keeps at most `most` circuits, the most urgent first. The other circuits are counted in `left_out`.
    fn bound(&mut self, most: usize) {
        self.found.sort_unstable_by(|a, b| b.cmp(a));
        self.left_out += self.found.len().saturating_sub(most);
        self.found.truncate(most);
    }
}

/// The number of consecutive refusals of single records after which the survey assumes that the store refuses all
/// records.
const MANY_REFUSED: usize = 4;
/// The largest number of records that a survey loads. This is ten times the default limit on the circuits of a
/// registry.
const MOST_NAMES: usize = 100_000;
