//! The JSON documents that `circuitctl --json` prints for programs. A field never changes its name or meaning, but new
//! fields may be added. The names of the fields are independent of the names in the stored record (`record.rs`). Times
//! are in milliseconds since 1970.

use serde_json::{Value, json};
use tower_circuit_breaker::operation::{Done, Kept, Order, Reach};
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::AuditRow;

use crate::failure::Failure;
use crate::shown::{cut, forges};
use crate::view::{End, View, end_of, is_tripped, word};

/// Returns the document of one circuit. If the record cannot be read, `problem` has the reason, and most other fields
/// are null.
pub(crate) fn circuit(view: &View<'_>) -> Value {
    let record = view.record.as_ref().ok();
    let instances = view.instances();
    let held = record.and_then(|record| record.held(view.now));
    json!({
        "name": view.name,
        "state": view.word(),
        "tripped": view.tripped().ok(),
        "automatic_state": record.map(|record| record.state.as_str()),
        "mode": view.mode().map(Mode::as_str),
        "until": until(view.end()),
        "ends": ends(view.end()),
        "since": view.since(),
        "reason": record.map(|_| view.reason()),
        "user": held.map(|held| &held.user),
        "generation": record.map(|record| record.latest().get()),
        "openings_in_a_row": record.map(|record| record.half_open_attempts),
        "total_failures": record.map(|record| record.total_failures),
        "total_successes": record.map(|record| record.total_successes),
        "last_failure_at": record.and_then(|record| record.last_failure_at),
        "updated_at": record.map(|record| record.updated_at),
        "instances_known": instances.known,
        "instances_tripped": instances.tripped,
        "instances_silent": instances.silent,
        "instances_gone": instances.gone,
        "problem": view.record.as_ref().err(),
        "fleet": fleet(view),
    })
}

/// Returns the decision of the fleet about the circuit. Null if the fleet has never decided and has no votes.
fn fleet(view: &View<'_>) -> Value {
    let Some(fleet) = &view.fleet else { return Value::Null };
    json!({
        "state": fleet.state.as_str(),
        "generation": fleet.generation.get(),
        "since": fleet.decided_for.map(|ago| view.now.saturating_sub(ago)),
        "until": until(view.end_of_fleet()),
        "ends": ends(view.end_of_fleet()),
        "openings_in_a_row": fleet.attempt,
        "votes": fleet.votes.len(),
        "opened_by": fleet.opened_by,
        "needed": fleet.needed,
        "passed": fleet.leases.iter().map(|lease| u64::from(lease.passed)).sum::<u64>(),
        "reason": fleet.reason,
        "instance": fleet.instance,
    })
}

/// Returns the document of one circuit with the data of each instance.
pub(crate) fn shown(view: &View<'_>) -> Value {
    let mut shown = circuit(view);
    let instances = view.record.as_ref().ok().map(|record| {
        // An operator's hold applies to every instance at once. Therefore the mode of each instance comes from the
        // record of the circuit. The entry of an instance can still have the mode from before the hold.
        let mode = view.mode().unwrap_or(Mode::Automatic);
        let of = record.instances.iter().map(|(id, entry)| {
            json!({
                "id": id,
                "state": word(record.state_of(entry), mode),
                "tripped": is_tripped(record.state_of(entry), mode) && !entry.is_gone(view.now),
                "gone": entry.is_gone(view.now),
                "stopped": entry.is_stopped(),
                "silent": entry.is_silent(view.now),
                "until": until(end_of(record, entry, mode, view.now)),
                "calls": entry.calls,
                "failures_weigh": entry.score,
                "slow": entry.slow,
                "run": entry.run,
                "total_failures": entry.total_failures,
                "total_successes": entry.total_successes,
                "updated_at": entry.updated_at,
                "opened_because": entry.opening().map(|opening| &opening.reason),
                "vote_until": view.vote(id).map(|left| view.now.saturating_add(left)),
                "lease_until": view.lease(id).and_then(|lease| lease.left).map(|left| view.now.saturating_add(left)),
                "probes_passed": view.lease(id).map(|lease| lease.passed),
                "probe_failed": view.lease(id).map(|lease| lease.failed),
                "opened_at": entry.opening().and_then(|opening| opening.at),
            })
        });
        of.collect::<Vec<_>>()
    });
    shown["instances"] = json!(instances);
    if let Some(fleet) = &view.fleet {
        let at = |left| view.now.saturating_add(left);
        let votes = fleet.votes.iter().map(|vote| json!({ "instance": vote.instance, "until": at(vote.left) }));
        let leases = fleet.leases.iter().map(|lease| {
            json!({
                "instance": lease.instance, "until": lease.left.map(at),
                "passed": lease.passed, "failed": lease.failed,
            })
        });
        shown["votes"] = votes.collect();
        shown["leases"] = leases.collect();
    }
    shown["now"] = json!(view.now);
    shown
}

pub(crate) fn done(name: &str, order: &Order, done: &Done, reach: Option<Reach>) -> Value {
    let (kept, generation) = match &done.kept {
        Kept::Stored { generation, .. } => ("stored", Some(generation.get())),
        Kept::Unaudited { generation, .. } => ("unaudited", Some(generation.get())),
        Kept::Cached { generation, .. } => ("cached", Some(generation.get())),
        // An order through an `Operator` never returns `Nowhere` or `Here`. Only an order through a registry does.
        Kept::Nowhere | Kept::Here { .. } | _ => ("unknown", None),
    };
    json!({
        "name": name,
        "act": order.act().as_str(),
        "id": order.command_id(),
        "user": order.by().user(),
        "reason": order.by().reason(),
        "kept": kept,
        "repeated": done.repeated,
        "generation": generation,
        "instances_known": reach.map(|reach| reach.known),
        "instances_with_act": reach.map(|reach| reach.have),
    })
}

pub(crate) fn audit(rows: &[AuditRow], more: bool) -> Value {
    json!({ "rows": rows, "more": more })
}

/// Returns the document that is printed in place of the normal document if a command fails.
pub(crate) fn failed(failure: &Failure) -> String {
    let error = json!({
        "code": failure.code as u8,
        "kind": failure.kind,
        "message": crate::address::hide(&failure.sentence),
        "nearest": failure.nearest,
        "id": failure.id,
    });
    line(&json!({ "error": error }))
}

/// Returns a document as one line of JSON. Long texts are cut, because other programs may have written the content of
/// the store. JSON escapes only the characters below U+0020. A terminal may show the document, so this function also
/// escapes all other characters that could forge a line or a field.
pub(crate) fn line(document: &Value) -> String {
    let mut line = String::new();
    for c in bounded(document).to_string().chars() {
        if forges(c) {
            // The character is inside a JSON string, where an escape has the UTF-16 code units of the character.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

fn bounded(document: &Value) -> Value {
    match document {
        Value::String(text) => {
            let kept = cut(text, LONGEST_TEXT);
            Value::String(if kept.len() < text.len() { format!("{kept}…") } else { kept.to_owned() })
        }
        Value::Array(values) => values.iter().map(bounded).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), bounded(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => document.clone(),
    }
}

/// The largest number of characters of a text in a document. The texts that this crate writes are shorter.
const LONGEST_TEXT: usize = 2_000;

fn until(end: End) -> Option<u64> {
    match end {
        End::At { at, .. } => Some(at.as_millis()),
        End::None | End::NextCall | End::Reset | End::Resume => None,
    }
}

/// Returns the word for the event that ends a state, or `None` if the event is unknown or there is none.
const fn ends(end: End) -> Option<&'static str> {
    match end {
        End::None => None,
        End::At { .. } => Some("time"),
        End::NextCall => Some("next_call"),
        End::Reset => Some("reset"),
        End::Resume => Some("resume"),
    }
}
