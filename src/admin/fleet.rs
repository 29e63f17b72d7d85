//! The handler of `GET /api/fleet`, which returns the decision of a fleet with its votes, leases and instances. The
//! handler reads the store for each request.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::Panel;
use super::json::millis;
use super::problem::Problem;
use super::read::{CircuitQuery, Sent, accepted, ok};
use crate::operation::FleetStatus;

pub(super) async fn fleet(
    State(panel): State<Arc<Panel>>,
    query: Sent<CircuitQuery>,
    parts: Parts,
) -> Result<Response, Problem> {
    let circuit = panel.registry.find(&accepted(query)?.circuit)?;
    let status = panel.registry.fleet(circuit.name()).await.map_err(|error| {
        let why = if panel.access.may_act(&parts) { error.chain() } else { error.kind().sentence().to_owned() };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store", format!("the fleet cannot be read: {why}"))
    })?;
    Ok(ok(&of(&status)))
}

fn of(status: &FleetStatus) -> Value {
    let FleetStatus { circuit, state, decided_for, open_for, opened_by, needed, .. } = status;
    let votes = status.votes.iter().map(|vote| json!({ "instance": vote.instance, "left_ms": millis(vote.left) }));
    let leases = status.leases.iter().map(|lease| {
        json!({
            "instance": lease.instance, "left_ms": lease.left.map(millis),
            "passed": lease.passed, "failed": lease.failed,
        })
    });
    let instances = status.instances.iter().map(|entry| {
        json!({
            "instance": entry.instance, "state": entry.state.as_str(), "mode": entry.mode.as_str(),
            "seen_ms": millis(entry.seen), "gone": entry.gone, "run": entry.run, "score": entry.score,
            "calls": entry.calls, "votes": entry.votes,
        })
    });
    json!({
        "circuit": circuit, "state": state.as_str(), "generation": status.generation.get(),
        "decided_for_ms": decided_for.map(millis), "open_for_ms": open_for.map(millis), "attempt": status.attempt,
        "reason": status.reason, "instance": status.instance, "opened_by": opened_by, "needed": needed,
        "votes": votes.collect::<Vec<_>>(), "leases": leases.collect::<Vec<_>>(),
        "instances": instances.collect::<Vec<_>>(),
    })
}
