//! What the circuit has done since the last look, as rows for the audit and commands for the record.

use super::{Desk, Pending, Told, Who};
use crate::clock::Tick;
use crate::record::{OperatorCommand, TransitionCommand};
use crate::state::{Act, Reason, State, Transition};
use core::task::Context;

impl Desk {
    /// Looks at what the circuit has done since the last look.
    pub(in crate::coordinator) fn look(&mut self, who: &Who, now: Tick) -> Told {
        let mut told = Told::default();
        // Hung up before looking: a transition in between rings.
        while self.circuit.poll_changed(&Context::from_waker(&self.bell), &mut self.rung_era).is_ready() {}
        let (edges, missed) = self.circuit.transitions_since(self.seen_era);
        if missed > 0 {
            let reason = format!("{missed} transitions were too fast to be kept");
            told.missed = Some((missed, self.row(who, "missing", reason, None)));
        }
        for edge in edges {
            self.seen_era = edge.era;
            let ours = self.ours.iter().position(|era| *era == edge.era);
            // Whose opening a restore has brought back, the record said.
            let restored = ours.is_some() && edge.reason == Reason::Restored;
            if edge.to.state == State::Open && edge.from.state != State::Open && !restored {
                self.evidence.opened(&edge);
            }
            if let Some(at) = ours {
                self.ours.swap_remove(at);
                continue;
            }
            self.happened(who, &edge, &mut told);
        }
        self.evidence.look(&self.circuit, now);
        told
    }

    /// A transition that the circuit made by itself, or an operator here.
    fn happened(&mut self, who: &Who, edge: &Transition, told: &mut Told) {
        let age = self.circuit.now().saturating_since(edge.at);
        if edge.reason == Reason::KillSwitch {
            return;
        }
        let (action, user, reason) = if let Reason::Operator { act, by } = &edge.reason {
            (act.as_str(), Some(by.user().to_owned()), by.reason().to_owned())
        } else {
            (automatic(edge), None, edge.reason.to_string())
        };
        let mut row = self.row(who, action, reason, user);
        row.generation = edge.generation.get();
        told.rows.push((age, row));
        self.moved = true;
        let era = self.eras.saturating_add(edge.era);
        if let Reason::Operator { act, by } = &edge.reason {
            let hold = edge.lasts.filter(|_| matches!(act, Act::Trip | Act::Disable));
            let command = OperatorCommand {
                id: format!("{}-{era}", who.incarnation),
                act: *act,
                to: edge.to.state,
                hold,
                by: by.as_ref().clone(),
                age,
                on: self.acts,
                after: 0,
                instance: who.id.clone(),
                incarnation: who.incarnation.clone(),
                era,
            };
            self.binding = Some(command.id.clone());
            self.act = Some(Pending { at: edge.at, command });
        }
        // A reset too: if another act of here overtakes it, its state is published all the same.
        if edge.from.state != edge.to.state {
            let command = TransitionCommand {
                on: edge.generation,
                after: 0,
                state: edge.to.state,
                reason: edge.reason.to_string(),
                age,
                open_for: edge.lasts.filter(|_| edge.to.state == State::Open),
                attempt: edge.attempt,
                instance: who.id.clone(),
                incarnation: who.incarnation.clone(),
                era,
            };
            self.strayed = false;
            self.transition = Some(Pending { at: edge.at, command });
        }
    }
}

/// What the audit calls a transition that nobody ordered.
const fn automatic(edge: &Transition) -> &'static str {
    match (edge.from.state, edge.to.state) {
        (State::Closed, State::Closed) | (State::Open, State::Open) | (State::HalfOpen, State::HalfOpen) => "released",
        (_, State::Open) => "opened",
        (_, State::HalfOpen) => "half_opened",
        (_, State::Closed) => "closed",
    }
}
