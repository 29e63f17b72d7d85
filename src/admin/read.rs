//! The handlers of `GET` requests for the circuits, the status of a circuit, the transitions of a circuit, and the
//! audit.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Panel;
use super::auth::{Reader, User};
use super::json::{CircuitJson, Edge, json_response};
use super::problem::Problem;
use crate::record::Timestamp;
use crate::store::{AuditFilter, AuditRow, StoreErrorKind};

/// Returns every circuit as JSON. The task yields after every 64 circuits, so that ten thousand circuits do not delay
/// other tasks of the thread.
pub(super) async fn circuits(
    State(panel): State<Arc<Panel>>,
    Extension(reader): Extension<Reader>,
    parts: Parts,
) -> Response {
    let writes = panel.access.may_act(&parts);
    let store = panel.registry.store_status().map(|mut status| {
        if let Some(kind) = status.last_error_kind
            && !writes
        {
            status.last_error = Some(kind.sentence().to_owned());
        }
        let kind = status.last_error_kind.map(StoreErrorKind::as_str);
        json!({
            "store": status.store, "up": status.up, "error": status.last_error, "error_kind": kind,
            "unsaved": status.unsaved,
            "audit_rows": status.audit_rows, "instance": status.instance, "running": status.running,
            "summary": status.to_string(),
        })
    });
    let user = reader.0.as_ref().map(User::name);
    let head = json!({ "user": user, "writes": writes, "store": store });
    // Removes the closing brace, so that the circuits can be added to the same JSON object.
    let mut json = head.to_string().into_bytes();
    json.pop();
    json.extend_from_slice(b",\"circuits\":[");
    for (number, circuit) in panel.registry.circuits().iter().enumerate() {
        if number > 0 {
            json.push(b',');
        }
        write(&mut json, &CircuitJson::of(circuit));
        if number % AT_A_TIME == AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
    }
    json.extend_from_slice(b"]}");
    json_response(StatusCode::OK, JSON, json)
}

pub(super) async fn status(State(panel): State<Arc<Panel>>, query: Sent<CircuitQuery>) -> Result<Response, Problem> {
    let circuit = panel.registry.find(&accepted(query)?.circuit)?;
    let explained = circuit.config().explain();
    Ok(ok(&json!({ "circuit": CircuitJson::of(&circuit), "explain": explained })))
}

pub(super) async fn transitions(
    State(panel): State<Arc<Panel>>,
    query: Sent<CircuitQuery>,
) -> Result<Response, Problem> {
    let circuit = panel.registry.find(&accepted(query)?.circuit)?;
    let edges: Vec<Edge> = circuit.status_with(usize::MAX).transitions.iter().rev().map(Edge::from).collect();
    Ok(ok(&json!({ "circuit": circuit.name(), "transitions": edges })))
}

pub(super) async fn audit(
    State(panel): State<Arc<Panel>>,
    query: Sent<AuditQuery>,
    parts: Parts,
) -> Result<Response, Problem> {
    let AuditQuery { service, user, since, limit } = accepted(query)?;
    let limit = limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        let detail = format!("limit is {limit}, allowed is 1 to 1000");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail));
    }
    let since = since.map(Timestamp::from_millis);
    let mut filter = AuditFilter::new().limit(limit);
    (filter.service, filter.user, filter.since) = (service, user, since);
    let mut rows = panel.registry.audit(&filter).await.map_err(|error| {
        let why = if panel.access.may_act(&parts) { error.chain() } else { error.kind().sentence().to_owned() };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store", format!("the audit cannot be read: {why}"))
    })?;
    rows.iter_mut().for_each(AuditRow::tame);
    Ok(ok(&json!({ "rows": rows })))
}

/// The query of a request about one circuit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CircuitQuery {
    pub(super) circuit: String,
}

/// The query of a request for the audit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    service: Option<String>,
    user: Option<String>,
    since: Option<u64>,
    limit: Option<usize>,
}

/// The parsed query of a request, or axum's rejection of a query that cannot be parsed. The handlers convert the
/// rejection to a problem document. Without this type, axum would respond with plain text.
pub(super) type Sent<T> = Result<Query<T>, QueryRejection>;

/// Returns the parsed query, or the problem if the query could not be parsed.
pub(super) fn accepted<T>(query: Sent<T>) -> Result<T, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "query", error.body_text()))?;
    Ok(query)
}

pub(super) fn ok(body: &impl Serialize) -> Response {
    let mut json = Vec::new();
    write(&mut json, body);
    json_response(StatusCode::OK, JSON, json)
}

/// Appends a value as JSON.
pub(super) fn write(json: &mut Vec<u8>, body: &impl Serialize) {
    serde_json::to_writer(json, body).expect("every shown type has a JSON form");
}

const JSON: &str = "application/json";

/// The number of circuits that are written as JSON between two yields of the task. Writing this number of circuits
/// takes about 0.2 ms.
const AT_A_TIME: usize = 64;
