//! The sentences of the reports. A report groups circuits by their effect on callers.
//!
//! A first start must not look like a failure. A circuit that an operator holds open must not look like a circuit that
//! admits calls. Therefore the circuits are grouped by the answer that their callers get, and a circuit without a
//! record does not count as waiting for its restore.

use std::collections::BTreeMap;
use std::fmt;

use super::{RestoreReport, Restored, ShutdownReport, StoreStatus};
use crate::circuit::NextCall;
use crate::state::{Mode, Standing, State};

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.without_store {
            return f.write_str("there is no store, so nothing is restored");
        }
        let count = |which: &Restored| self.circuits.values().filter(|restored| *restored == which).count();
        let mut restored = BTreeMap::new();
        for circuit in self.circuits.values() {
            if let Restored::From { standing, next_call, held_by, .. } = circuit {
                *restored.entry(effect(*standing, *next_call, held_by.as_deref())).or_insert(0_usize) += 1;
            }
        }
        let mut parts = Vec::new();
        if !restored.is_empty() {
            let groups: Vec<_> = restored.iter().map(|((_, words), number)| format!("{number} {words}")).collect();
            parts.push(format!("{} restored: {}", restored.values().sum::<usize>(), groups.join(", ")));
        }
        let absent = count(&Restored::Absent);
        if absent > 0 {
            let which = if parts.is_empty() { plural(absent, "circuit") } else { format!("{absent} more") };
            let of = if absent == 1 { "it" } else { "them" };
            parts.push(format!("{which}: the store has no record of {of} yet"));
        }
        let outrun = count(&Restored::Outrun);
        if outrun > 0 {
            parts.push(format!("{outrun} had changed before the store answered, and stay as they are"));
        }
        let corrupt = count(&Restored::Corrupt);
        if corrupt > 0 {
            parts.push(format!("{corrupt} with a record that cannot be used"));
        }
        let waiting = count(&Restored::Waiting);
        if waiting > 0 {
            parts.push(format!("{waiting} still waiting for the store"));
        }
        if !self.keyed_waiting.is_empty() {
            let prefixes = self.keyed_waiting.iter().map(|prefix| format!("`{prefix}…`"));
            parts.push(format!("keyed circuits {} still waiting for the store", listed(prefixes)));
        }
        if self.left_out > 0 {
            parts.push(format!("{} left out for want of room", plural(self.left_out, "keyed circuit")));
        }
        if parts.is_empty() {
            parts.push("no circuits to restore from the store".to_owned());
        }
        f.write_str(&parts.join("; "))?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// Writes a phrase that can follow the name of the circuit and a colon, such as `restored from sqlite: held open by
/// operator-1`.
impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("still waiting for the store"),
            Self::Absent => f.write_str("the store has no record of it yet"),
            Self::Corrupt => f.write_str("the record cannot be used"),
            Self::From { store, standing, next_call, held_by, .. } => {
                let (_, words) = effect(*standing, *next_call, held_by.as_deref());
                write!(f, "restored from {store}: {words}")
            }
            Self::Outrun => f.write_str("it had changed before the store answered, and stays as it is"),
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.without_store {
            return f.write_str("there is no store, so nothing is saved");
        }
        if self.is_complete() {
            return f.write_str("everything is saved");
        }
        let mut parts = Vec::new();
        if !self.unsaved.is_empty() {
            let names = listed(self.unsaved.iter().map(|name| format!("`{name}`")));
            parts.push(format!("the last changes of {} ({names})", plural(self.unsaved.len(), "circuit")));
        }
        if self.audit_rows > 0 {
            parts.push(plural(self.audit_rows, "row of the audit"));
        }
        if self.never_started {
            f.write_str("nothing is saved, because the registry was never started: call `restore` or `start`")?;
            return if parts.is_empty() { Ok(()) } else { write!(f, "; not saved: {}", parts.join(" and ")) };
        }
        write!(f, "not saved: {}", parts.join(" and "))
    }
}

impl fmt::Display for StoreStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.store;
        let mut waiting = Vec::new();
        if self.unsaved > 0 {
            waiting.push(format!("the last changes of {}", plural(self.unsaved, "circuit")));
        }
        if self.audit_rows > 0 {
            waiting.push(plural(self.audit_rows, "row of the audit"));
        }
        let waiting = waiting.join(" and ");
        match (self.running, self.up, &self.last_error) {
            (false, ..) => write!(f, "the store {store} is not used, because the task of the registry does not run")?,
            (true, true, _) if waiting.is_empty() => {
                return write!(f, "the store {store} answers, and has every change");
            }
            (true, true, _) => write!(f, "the store {store} answers")?,
            (true, false, Some(error)) => write!(f, "the store {store} does not answer: {error}")?,
            (true, false, None) => write!(f, "the store {store} has not answered yet")?,
        }
        if waiting.is_empty() { Ok(()) } else { write!(f, "; not saved yet: {waiting}") }
    }
}

/// Returns the effect of a circuit on its callers. The number determines the place of this effect in the report.
fn effect(standing: Standing, next_call: NextCall, by: Option<&str>) -> (u8, String) {
    let by = |words: &str| by.map_or_else(|| words.to_owned(), |user| format!("{words} by {user}"));
    match (standing.mode, standing.state) {
        (Mode::ForcedOpen, _) => (2, by("held open")),
        (Mode::Disabled, _) => (4, by("disabled")),
        (Mode::Shadow, _) => (5, by("in shadow")),
        (Mode::Automatic, State::Open) if next_call == NextCall::Rejected => (0, "open".to_owned()),
        (Mode::Automatic, State::Open) => (1, "open with a probe due".to_owned()),
        (Mode::Automatic, State::HalfOpen) => (3, "half-open".to_owned()),
        (Mode::Automatic, State::Closed) => (6, "closed".to_owned()),
    }
}

/// Returns the number with its noun, in the plural if necessary. For a noun such as `row of the audit`, only the first
/// word gets the plural.
fn plural(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    match noun.split_once(" of ") {
        Some((noun, of)) => format!("{number} {noun}{plural} of {of}"),
        None => format!("{number} {noun}{plural}"),
    }
}

/// Returns at most [`SHOWN`] items as a list, followed by the number of the remaining items.
fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(SHOWN);
    let shown = items.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// The largest number of names that a sentence lists.
const SHOWN: usize = 5;
