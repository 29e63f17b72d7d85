//! What the circuit has done since the last look, as rows for the audit and commands for the record.

use std::task::Context;

use super::{Desk, Pending, Told, Who};
use crate::clock::Tick;
use crate::record::TransitionCommand;
use crate::state::{Act, Reason, State, Transition};
use crate::store::AuditRow;

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
            self.happened(who, &edge, now, &mut told);
        }
        self.evidence.look(&self.circuit, now);
        told
    }

    /// A transition that the circuit made by itself, or an operator here.
    fn happened(&mut self, who: &Who, edge: &Transition, now: Tick, told: &mut Told) {
        let age = self.circuit.now().saturating_since(edge.at);
        if edge.reason == Reason::KillSwitch {
            return;
        }
        told.rows.push((age, AuditRow::of_transition(self.name(), edge, &who.id)));
        self.moved = true;
        let era = self.eras.saturating_add(edge.era);
        if let Reason::Operator { act, by } = &edge.reason {
            if *act == Act::Forget {
                self.forget(by, edge, who, now, told);
                return;
            }
            self.ordered(*act, by, edge, age, who, now);
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
