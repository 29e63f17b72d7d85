//! The changes of the circuit in this process that the store does not have yet.
//!
//! [`Changes`] separates the circuit's own transitions from the transitions that the desk itself causes by taking over
//! a stored state. Only own transitions are written, because the store already has each state that was taken over. Of
//! the own changes, the last act, the last transition and the orders to forget are kept until the store has them.
//! Earlier changes are dropped, because the record has room only for the last act and the last transition. The audit
//! keeps all changes. `look.rs` and `acts.rs` decide the meaning of a transition for the record, and `evidence.rs`
//! handles the counts of calls.

use std::task::{Context, Waker};

use crate::circuit::Circuit;
use crate::clock::Tick;
use crate::record::{OperatorCommand, TransitionCommand};
use crate::state::{Act, Transition};

/// The changes of the circuit in this process that the store does not have yet.
#[derive(Debug)]
pub(super) struct Changes {
    /// The waker by which the circuit wakes the task after its next transition. `observe` gives a clone to the circuit.
    bell: Waker,
    /// The era (version of the state) of the circuit when `observe` last gave the waker to the circuit.
    rung_era: u64,
    /// The era (version of the state) that began with the last transition that the desk has read. Set by `seen`.
    seen_era: u64,
    /// The eras (versions of the state) that the desk itself began, because it gave the circuit a stored state.
    /// `taken_over` adds an era, and `seen` removes the era once the desk has read the transition.
    taken_over: Vec<u64>,
    /// The number that is added to an era (version of the state) of this circuit for the record. The number never
    /// changes. The number is at least as high as the last era in the record of each earlier circuit of this name in
    /// this process.
    first_era: u64,
    /// True if the circuit, or an operator of this process, has made a transition. Only `moved` sets the flag, and the
    /// flag is never cleared.
    has_moved: bool,
    /// The last act of this process, until the store has it or a newer act has superseded it. Set by `order`, and
    /// removed by `take_act`, `drop_act` and `written`.
    act: Option<Pending<OperatorCommand>>,
    /// The last transition of this process, until the store has it or a newer state has superseded it. Set by
    /// `transition`, and removed by `drop_transition`, `drop_transition_of` and `written`.
    transition: Option<Pending<TransitionCommand>>,
    /// The ids of the orders to delete the record. `forget` adds an id, and `forgotten` removes all.
    forgetting: Vec<String>,
}

/// A command for the record, with the tick of the circuit's clock at which the change happened.
#[derive(Debug)]
struct Pending<C> {
    at: Tick,
    command: C,
}

impl Changes {
    pub(super) const fn new(bell: Waker, first_era: u64) -> Self {
        Self {
            bell,
            rung_era: 0,
            // The first era begins without a transition, so there is nothing to read.
            seen_era: 1,
            taken_over: Vec::new(),
            first_era,
            has_moved: false,
            act: None,
            transition: None,
            forgetting: Vec::new(),
        }
    }

    /// Returns the transitions that the desk has not read yet, and the number of unread transitions that the circuit no
    /// longer has. Also gives the waker of the task to the circuit.
    pub(super) fn observe(&mut self, circuit: &Circuit) -> (Vec<Transition>, u64) {
        // The circuit gets the waker before the transitions are read, so that a transition after the reading wakes the
        // task.
        while circuit.poll_changed(&Context::from_waker(&self.bell), &mut self.rung_era).is_ready() {}
        circuit.transitions_since(self.seen_era)
    }

    /// Notes that the desk has read a transition. Returns true if the desk itself caused the transition by taking over
    /// a stored state.
    pub(super) fn seen(&mut self, edge: &Transition) -> bool {
        self.seen_era = edge.era;
        let ours = self.taken_over.iter().position(|era| *era == edge.era);
        ours.map(|at| self.taken_over.swap_remove(at)).is_some()
    }

    /// Notes the transition that the desk has caused by taking over a stored state. `None` if the circuit made no
    /// transition.
    pub(super) fn taken_over(&mut self, edge: Option<Transition>) {
        self.taken_over.extend(edge.map(|edge| edge.era));
    }

    /// Returns the era (version of the state) after the last transition that the desk has read or caused. A stored
    /// state is adopted only while the circuit is in this era, so that the adoption never overwrites a newer state.
    pub(super) fn expected_era(&self) -> u64 {
        self.taken_over.iter().copied().fold(self.seen_era, u64::max)
    }

    /// Notes that the circuit, or an operator of this process, has made a transition.
    pub(super) fn moved(&mut self) {
        self.has_moved = true;
    }

    pub(super) const fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// Returns the era (version of the state) of a transition for the record, which is the era of the circuit plus
    /// `first_era`.
    pub(super) const fn era(&self, edge: &Transition) -> u64 {
        self.first_era.saturating_add(edge.era)
    }

    /// Returns the era (version of the state) for the record that began with the last transition that the desk has
    /// read.
    pub(super) const fn last_era(&self) -> u64 {
        self.first_era.saturating_add(self.seen_era)
    }

    /// Keeps an act until the store has it.
    pub(super) fn order(&mut self, at: Tick, command: OperatorCommand) {
        self.act = Some(Pending { at, command });
    }

    /// Keeps a transition until the store has it.
    pub(super) fn transition(&mut self, at: Tick, command: TransitionCommand) {
        self.transition = Some(Pending { at, command });
    }

    /// Returns the pending act as a command with its present age. `None` if no act is pending. `after` is the highest
    /// generation or sequence number that this process has proposed. The act gets higher numbers. Otherwise the act
    /// could have the same numbers as an earlier write whose answer was lost. Such a write may still arrive.
    pub(super) fn act_command(&self, after: u64, now: Tick) -> Option<OperatorCommand> {
        let Pending { at, command } = self.act.as_ref()?;
        Some(OperatorCommand { after, age: now.saturating_since(*at), ..command.clone() })
    }

    /// Returns the pending transition as a command with its present age. `None` if no transition is pending. The
    /// command gets a generation above `after`, as in `act_command`.
    pub(super) fn transition_command(&self, after: u64, now: Tick) -> Option<TransitionCommand> {
        let Pending { at, command } = self.transition.as_ref()?;
        Some(TransitionCommand { after, age: now.saturating_since(*at), ..command.clone() })
    }

    pub(super) const fn has_act(&self) -> bool {
        self.act.is_some()
    }

    pub(super) fn has_reset(&self) -> bool {
        self.act.as_ref().is_some_and(|act| act.command.act == Act::Reset)
    }

    pub(super) const fn has_transition(&self) -> bool {
        self.transition.is_some()
    }

    /// Returns true if the order with this id still waits for the store. The orders of replaced acts and the orders to
    /// delete the record count too.
    pub(super) fn is_pending(&self, id: &str) -> bool {
        let acts = self.act.iter().map(|act| &act.command);
        let acts = acts.flat_map(|act| act.replaced.iter().map(|(id, _)| id).chain([&act.id]));
        acts.chain(&self.forgetting).any(|pending| pending == id)
    }

    /// Removes the pending act. Returns the id and the order hash of each act that the pending act has replaced, and
    /// then of the pending act itself.
    pub(super) fn take_act(&mut self) -> Vec<(String, String)> {
        self.act.take().map_or_else(Vec::new, |Pending { command, .. }| {
            let hash = command.order_hash().to_string();
            let mut acts = command.replaced;
            acts.push((command.id, hash));
            acts
        })
    }

    pub(super) fn drop_act(&mut self) {
        self.act = None;
    }

    pub(super) fn drop_transition(&mut self) {
        self.transition = None;
    }

    /// Removes the pending transition if it began the era `era`. Returns true if a transition was removed.
    pub(super) fn drop_transition_of(&mut self, era: u64) -> bool {
        self.transition.take_if(|edge| edge.command.era == era).is_some()
    }

    /// Removes the pending act and the pending transition that a write has stored. An act or a transition that was made
    /// during the write stays pending.
    pub(super) fn written(&mut self, act: Option<&String>, transition: Option<u64>) {
        self.act.take_if(|pending| Some(&pending.command.id) == act);
        self.transition.take_if(|pending| Some(pending.command.era) == transition);
    }

    /// Keeps an order to delete the record until the record is deleted.
    pub(super) fn forget(&mut self, id: String) {
        self.forgetting.push(id);
    }

    pub(super) const fn is_forgetting(&self) -> bool {
        !self.forgetting.is_empty()
    }

    /// Removes and returns the ids of the orders to delete the record, after the record has been deleted.
    pub(super) fn forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgetting)
    }
}
