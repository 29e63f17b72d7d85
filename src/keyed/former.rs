//! Evicted circuits that stay in memory for their history, such as failures, an open state, or calls under way.
//!
//! The number of these circuits is limited. Circuits whose keys were not used for the idle time are forgotten first,
//! and then the circuits with the fewest calls. A caller who sends very many keys makes few calls with each key.
//! Therefore the circuits of that caller are forgotten before the circuits of hosts in use. As in 2Q (Johnson and
//! Shasha, 1994), a key that returns after its circuit was forgotten stays longer than a new key. [`Recall`] stores the
//! number of calls of each forgotten key.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::recall::Recall;
use crate::circuit::Circuit;

/// An evicted circuit with history, and the data that decide when the circuit is forgotten.
#[derive(Debug, Clone)]
pub(super) struct Former {
    /// The evicted circuit. This is the circuit itself and not a snapshot, so that calls under way still record their
    /// outcomes.
    pub(super) circuit: Circuit,
    /// The number of ended calls of the key, including the calls of earlier circuits of the key.
    pub(super) calls: u64,
    /// The coarse tick of the last use of the key.
    pub(super) used: u64,
    /// The coarse tick of the eviction.
    pub(super) since: u64,
}

/// A map of evicted circuits. The map is indexed by stems, which are circuit names without the prefix.
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

    /// Returns the evicted circuit of a key, from which a new circuit may inherit. Once the idle time has passed since
    /// the eviction, an evicted circuit is returned only if it would reject the next call.
    pub(super) fn get(&self, stem: &str, now: u64) -> Option<Circuit> {
        let Former { circuit, since, .. } = self.circuits.get(stem)?;
        let is_gone = now.saturating_sub(*since) >= self.idle && circuit.would_admit_without_leases();
        (!is_gone).then(|| circuit.clone())
    }

    /// Returns the number of calls of a key through its earlier, evicted circuits.
    pub(super) fn calls(&self, stem: &str) -> u64 {
        self.circuits.get(stem).map_or_else(|| self.recall.calls(stem), |former| former.calls)
    }

    /// Removes and returns the evicted circuit of a key, after the key has got a new circuit.
    pub(super) fn take(&mut self, stem: &str) -> Option<Circuit> {
        self.circuits.remove(stem).map(|former| former.circuit)
    }

    /// Adds an evicted circuit. If the map is full, an eighth of its circuits is forgotten at once, so that the next
    /// evictions need no scan. The forgotten circuits are moved to `dropped`. The caller drops these circuits without a
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
