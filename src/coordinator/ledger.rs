//! The data that outlive a task. The ledger contains the desks (the data about each circuit), the outbox with the audit
//! rows, and the health of the store. If a task panics, the next task continues with the same ledger, so no change is
//! lost.

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
    /// The configured id of this instance. If another instance has the same id, the present id is `named#2`, `named#3`
    /// and so on. Otherwise the present id is `named`.
    pub(super) named: String,
    /// The number at the end of the present id. The number is 1 if the present id has no number.
    pub(super) names: u32,
    pub(super) desks: Desks,
    /// The membership of this instance in its fleet.
    pub(super) membership: Membership,
    /// The id of each desk, by the name of its circuit.
    pub(super) index: HashMap<String, DeskId>,
    /// The desks of evicted circuits, oldest first.
    pub(super) leaving: VecDeque<DeskId>,
    /// Limits the rate of the log lines about evicted circuits whose changes were not written.
    pub(super) given_up: Lines,
    /// Limits the rate of the log lines about audit rows that were lost because the outbox was full.
    pub(super) lost_rows: Lines,
    /// The number of lost audit rows that the log has reported.
    pub(super) logged_lost: u64,
    /// Limits the rate of the log lines about audit rows that the store refuses.
    pub(super) refused_rows: Lines,
    /// Limits the rate of the log lines about other instances with the same id.
    pub(super) clashes: Lines,
    /// The highest era of all removed desks. An era is the number of a transition. A new desk adds this number to the
    /// eras of its circuit, so that a new circuit does not repeat the eras of an evicted circuit with the same name.
    pub(super) eras: u64,
    /// The health probes of the registry, in the order in which the registry got them.
    pub(super) health: Vec<HealthProbe>,
    pub(super) outbox: Outbox,
    pub(super) link: Link,
    /// The number of consecutive failures to write audit rows.
    pub(super) audit_failures: u32,
    pub(super) dice: Dice,
    pub(super) clock: TokioClock,
}

impl Ledger {
    /// Creates the ledger of the first task, with no desks and a new incarnation (the id of this start of the
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

    /// Returns true if the circuit of the desk has made a transition that the desk has not read. The result can be
    /// false although the circuit has notified the desk, for example at the end of the wait for a restore.
    pub(super) fn has_news(&self, desk: &DeskId) -> bool {
        self.desks.get(*desk).is_some_and(Desk::has_news)
    }

    /// Returns true if this circuit has a desk. The result is false if the desk of this name belongs to another
    /// circuit.
    pub(super) fn has_desk(&self, circuit: &Circuit) -> bool {
        self.index.get(circuit.name()).is_some_and(|at| self.desks[*at].is_of(circuit))
    }
}
