//! The record that should be in the store, derived anew each time it can be written.

use std::time::Duration;

use super::{Desk, Now, Pending, Ticket, Told, Who};
use crate::coordinator::terms::Ttl;
use crate::record::{Command, Effect, OperatorCommand, TransitionCommand, apply};
use crate::store::{Etag, Write};
use crate::telemetry;

impl Desk {
    /// Returns the write that should be made now, if any, and what it carries.
    pub(in crate::coordinator) fn candidate(&mut self, who: &Who, now: Now, ttl: Ttl) -> Option<(Write, Ticket)> {
        let expected = self.etag.clone()?;
        if !self.known.is_writable() {
            self.retry_at = now.here.saturating_add(Duration::from_secs(60));
            return None;
        }
        let mut record = self.known.clone();
        let mut ticket_act = None;
        let mut ticket_transition = None;
        if let Some(command) = self.act_command() {
            match apply(&mut record, &Command::Operated(command.clone()), now.store) {
                Effect::Applied => ticket_act = Some(command.id),
                Effect::Unwritable => return None,
                Effect::Known => self.act = None,
                // Since the record came in: it is asked for again, and then the act is dropped and that is told.
                Effect::Superseded | Effect::Expired => {
                    self.unload();
                    return None;
                }
            }
        }
        if let Some(command) = self.transition_command() {
            let era = command.era;
            match apply(&mut record, &Command::Transitioned(command), now.store) {
                Effect::Applied => ticket_transition = Some(era),
                // It is that of the reset, which is not written yet.
                Effect::Known if ticket_act.is_some() => ticket_transition = Some(era),
                Effect::Unwritable => return None,
                // Another instance's is newer: ours stays in the entry.
                Effect::Known | Effect::Superseded | Effect::Expired => self.transition = None,
            }
        }
        let acts = record
            .operator
            .as_ref()
            .map_or(self.acts, |operated| if ticket_act.is_some() { operated.sequence } else { self.acts });
        let mut ticket_entry = None;
        let moved = ticket_act.is_some() || ticket_transition.is_some();
        if moved || self.evidence.is_due(now.here) {
            let entry = self.evidence.entry(&self.circuit, who, acts, now);
            match apply(&mut record, &Command::Evidence(who.id.clone(), entry.clone()), now.store) {
                Effect::Applied => ticket_entry = Some(entry),
                Effect::Unwritable => return None,
                Effect::Known | Effect::Superseded | Effect::Expired => {}
            }
        }
        if !moved && ticket_entry.is_none() && !self.behind {
            self.evidence.nothing_due();
            return None;
        }
        let bytes = match record.encode() {
            Ok(bytes) => bytes,
            Err(problem) => {
                telemetry::store::warn(format_args!("{problem}; it is not written"));
                self.retry_at = now.here.saturating_add(Duration::from_secs(60));
                return None;
            }
        };
        if moved {
            let sequence = record.operator.as_ref().map_or(0, |operated| operated.sequence);
            self.proposed = self.proposed.max(record.generation.get()).max(sequence);
        }
        let ttl = record.ttl(ttl.open, ttl.other, now.store);
        let write = Write { name: self.name().to_owned(), expected, bytes, ttl };
        Some((write, Ticket { record, act: ticket_act, transition: ticket_transition, entry: ticket_entry }))
    }

    /// The write was made.
    pub(in crate::coordinator) fn written(&mut self, ticket: Ticket, etag: Etag, who: &Who, now: Now) -> Told {
        if !self.forgetting.is_empty() {
            // That was before: what it has written is what is to be deleted now.
            self.etag = Some(Some(etag));
            return self.look(who, now.here);
        }
        self.known = crate::record::join(&self.known, &ticket.record);
        self.behind = self.known != ticket.record;
        self.etag = Some(Some(etag));
        self.conflicts = 0;
        self.failures = 0;
        if self.act.as_ref().is_some_and(|act| Some(&act.command.id) == ticket.act.as_ref()) {
            self.act = None;
        }
        if self.transition.as_ref().is_some_and(|edge| Some(edge.command.era) == ticket.transition) {
            self.transition = None;
        }
        if let Some(entry) = ticket.entry {
            self.evidence.written(entry, now.here);
        }
        let mut told = self.take_over(false, who, now);
        if ticket.act.is_some() {
            self.stored(ticket.act.as_ref(), &mut told);
        }
        told
    }

    pub(super) fn act_command(&self) -> Option<OperatorCommand> {
        let Pending { at, command } = self.act.as_ref()?;
        Some(OperatorCommand { after: self.proposed, age: self.circuit.now().saturating_since(*at), ..command.clone() })
    }

    pub(super) fn transition_command(&self) -> Option<TransitionCommand> {
        let Pending { at, command } = self.transition.as_ref()?;
        Some(TransitionCommand {
            after: self.proposed,
            age: self.circuit.now().saturating_since(*at),
            ..command.clone()
        })
    }
}
