//! The knowledge that outlives a task. The ledger contains the desks of the circuits, the outbox with the audit rows,
//! and the health of the store. The next task continues with the same ledger, so that a panic of a task loses no
//! change.

use std::collections::{HashMap, VecDeque};

use super::desk::{Desk, Who};
use super::desks::{DeskId, Desks};
use super::link::Link;
use super::membership::{Members, Membership};
use super::outbox::Outbox;
use super::terms::Terms;
use crate::circuit::Circuit;
use crate::clock::{Clock, TokioClock};
use crate::health::HealthProbe;
use crate::random::Dice;
use crate::record::tiers_text;
use crate::store::DynStore;
use crate::telemetry::lines::Lines;

/// The knowledge that outlives a task.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The identity under which this process writes.
    pub(super) who: Who,
    /// The configured id of this instance. The present id is `named`, or `named#2` and so on if another instance has
    /// the same id.
    pub(super) named: String,
    /// The number at the end of the present id. The number is 1 while the id is `named` itself.
    pub(super) names: u32,
    pub(super) desks: Desks,
    /// The membership of this instance in its fleet.
    pub(super) membership: Membership,
    /// The desk of each circuit, by the name of the circuit.
    pub(super) index: HashMap<String, DeskId>,
    /// The desks of evicted circuits, oldest first.
    pub(super) leaving: VecDeque<DeskId>,
    /// The rate limit of the log lines about evicted circuits whose changes were not written.
    pub(super) given_up: Lines,
    /// The rate limit of the log lines about audit rows that were lost because the outbox was full.
    pub(super) lost_rows: Lines,
    /// The number of lost audit rows that the log has reported.
    pub(super) logged_lost: u64,
    /// The rate limit of the log lines about audit rows that the store refuses.
    pub(super) refused_rows: Lines,
    /// The rate limit of the log lines about other instances with the same id.
    pub(super) clashes: Lines,
    /// The highest era (number of a transition) of all removed desks. A new desk adds this number to the eras of its
    /// circuit. Therefore a circuit with the name of an evicted circuit does not repeat the eras of its predecessor.
    pub(super) eras: u64,
    /// The health probes of the registry, in the order in which the registry got them.
    pub(super) health: Vec<HealthProbe>,
    pub(super) outbox: Outbox,
    pub(super) link: Link,
    /// The number of writes of audit rows that failed in a row.
    pub(super) audit_failures: u32,
    pub(super) dice: Dice,
    pub(super) clock: TokioClock,
}

impl Ledger {
    /// Creates the knowledge of a first task, with no desks and a new incarnation (the id of this start of the
    /// instance).
    pub(super) fn new(terms: &Terms, store: &dyn DynStore) -> Self {
        let incarnation = Dice::new(terms.seed).id();
        let clock = TokioClock::new();
        Self {
            outbox: Outbox::new(&incarnation, terms.outbox),
            who: Who {
                id: terms.instance.clone(),
                incarnation,
                tiers: store.tiers().map(tiers_text),
                sharing: terms.sharing,
                quorum: terms.quorum,
                members: Members::default(),
            },
            named: terms.instance.clone(),
            names: 1,
            desks: Desks::default(),
            membership: Membership::new(terms, clock.now()),
            index: HashMap::new(),
            leaving: VecDeque::new(),
            given_up: Lines::default(),
            lost_rows: Lines::default(),
            logged_lost: 0,
            refused_rows: Lines::default(),
            clashes: Lines::default(),
            eras: 0,
            health: Vec::new(),
            link: Link::new(store.kind()),
            audit_failures: 0,
            dice: Dice::new(terms.seed),
            clock,
        }
    }

    /// Returns true if the circuit of the desk has made a transition that the desk has not read. A circuit can also
    /// notify its desk without a transition, for example at the end of the wait for a restore.
    pub(super) fn has_news(&self, desk: &DeskId) -> bool {
        self.desks.get(*desk).is_some_and(Desk::has_news)
    }

    /// Returns true if this circuit has a desk. Returns false if the desk of this name belongs to another circuit.
    pub(super) fn has_desk(&self, circuit: &Circuit) -> bool {
        self.index.get(circuit.name()).is_some_and(|at| self.desks[*at].is_of(circuit))
    }
}
