//! The knowledge that outlives a task: the desks, the outbox, and the health of the store. The next task goes on with it.

use std::collections::{HashMap, VecDeque};

use super::desk::Who;
use super::desks::{DeskId, Desks};
use super::link::Link;
use super::outbox::Outbox;
use super::terms::Terms;
use crate::circuit::Circuit;
use crate::clock::TokioClock;
use crate::random::Dice;
use crate::telemetry::store::Lines;

/// The knowledge that outlives a task.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) who: Who,
    pub(super) named: String,
    pub(super) names: u32,
    pub(super) desks: Desks,
    pub(super) index: HashMap<String, DeskId>,
    /// The desks whose circuits are forgotten, oldest first.
    pub(super) leaving: VecDeque<DeskId>,
    /// The log lines about circuits that were let go unwritten.
    pub(super) given_up: Lines,
    /// The highest era, as the record counts them, of those that are gone.
    pub(super) eras: u64,
    pub(super) outbox: Outbox,
    pub(super) link: Link,
    /// Batches of the audit in a row that failed.
    pub(super) audit_failures: u32,
    pub(super) dice: Dice,
    pub(super) clock: TokioClock,
}

impl Ledger {
    pub(super) fn new(terms: &Terms, store: &'static str) -> Self {
        let incarnation = Dice::new(terms.seed).id();
        Self {
            outbox: Outbox::new(&incarnation, terms.outbox),
            who: Who { id: terms.instance.clone(), incarnation, sharing: terms.sharing },
            named: terms.instance.clone(),
            names: 1,
            desks: Desks::default(),
            index: HashMap::new(),
            leaving: VecDeque::new(),
            given_up: Lines::default(),
            eras: 0,
            link: Link::new(store),
            audit_failures: 0,
            dice: Dice::new(terms.seed),
            clock: TokioClock::new(),
        }
    }

    /// Whether there is a desk for that very circuit.
    pub(super) fn has_desk(&self, circuit: &Circuit) -> bool {
        self.index.get(circuit.name()).is_some_and(|at| self.desks[*at].is_of(circuit))
    }
}
