//! The evicted circuits that still know something, such as failures, an opening, or calls under way.
//!
//! The number of such circuits is bounded. The circuits of keys that were not used for the idle time are forgotten
//! first, and then the circuits with the fewest calls. A flood of keys has few calls for each key, so that the circuits
//! of the flood are forgotten before the circuits of hosts in use. As in 2Q (Johnson and Shasha, 1994), a key that is
//! used again after its circuit was forgotten stays longer than a key that is used for the first time. [`Recall`] has
//! the numbers of calls of the forgotten keys.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::recall::Recall;
use crate::circuit::Circuit;

/// An evicted circuit that still knows something.
#[derive(Debug, Clone)]
pub(super) struct Former {
    /// The circuit itself instead of a snapshot, so that calls under way still add to its evidence.
    pub(super) circuit: Circuit,
    /// The number of calls of the key that have ended, including the calls of earlier circuits.
    pub(super) calls: u64,
    /// The coarse tick of the last use of the key.
    pub(super) used: u64,
    /// The coarse tick of the eviction.
    pub(super) since: u64,
}

/// The evicted circuits by stem, which is the name without the prefix.
#[derive(Debug)]
pub(super) struct Formers {
    max: usize,
    /// The idle time of the layer, in coarse ticks.
    idle: u64,
    circuits: HashMap<Box<str>, Former, RandomState>,
    recall: Recall,
}

impl Formers {
    pub(super) fn new(max: usize, idle: u64) -> Self {
        Self { max, idle, circuits: HashMap::default(), recall: Recall::new(max) }
    }

    /// Returns the evicted circuit of a key. If the idle time has passed since the eviction, returns the circuit only
    /// if it would reject the next call. The eviction of idle keys makes the same exception.
    pub(super) fn get(&self, stem: &str, now: u64) -> Option<Circuit> {
        let Former { circuit, since, .. } = self.circuits.get(stem)?;
        let is_gone = now.saturating_sub(*since) >= self.idle && circuit.would_admit_without_leases();
        (!is_gone).then(|| circuit.clone())
    }

    /// Returns the number of calls that a key without a circuit made through its earlier circuits.
    pub(super) fn calls(&self, stem: &str) -> u64 {
        self.circuits.get(stem).map_or_else(|| self.recall.calls(stem), |former| former.calls)
    }

    /// Removes and returns the evicted circuit of a key that has a new circuit.
    pub(super) fn take(&mut self, stem: &str) -> Option<Circuit> {
        self.circuits.remove(stem).map(|former| former.circuit)
    }

    /// Keeps an evicted circuit. If there is no room, an eighth of the circuits is forgotten at once, so that only one
    /// of many evictions needs a scan. The forgotten circuits are moved to `dropped`. The caller drops them without a
    /// lock, because the drop of a circuit can run foreign code.
    pub(super) fn keep(&mut self, stem: &str, former: Former, dropped: &mut Vec<Circuit>) {
        if self.circuits.len() >= self.max {
            let (now, idle) = (former.since, self.idle);
            let worth = |former: &Former| (now.saturating_sub(former.used) < idle, former.calls, former.used);
            let mut all: Vec<_> = self.circuits.values().map(worth).collect();
            let mut wanted = (self.max / 8).max(1);
            let (_, least, _) = all.select_nth_unstable(wanted - 1);
            for (stem, former) in self.circuits.extract_if(|_, former| {
                let goes = wanted > 0 && worth(former) <= *least;
                wanted -= usize::from(goes);
                goes
            }) {
                self.recall.note(&stem, former.calls);
                dropped.push(former.circuit);
            }
        }
        self.circuits.insert(stem.into(), former);
    }
}
