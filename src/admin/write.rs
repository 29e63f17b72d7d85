//! The handlers of orders, which are `POST` requests to trip, reset, disable or resume a circuit.
//!
//! Each handler converts the body of a request to an [`Order`]. The rules for orders are in `operation`, so that every
//! caller follows the same rules.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Panel;
use super::auth::User;
use super::body;
use super::json::{CircuitJson, Edge};
use super::problem::Problem;
use super::read::{CircuitQuery, Sent, accepted, ok};
use crate::circuit::To;
use crate::operation::{Done, Kept, Order};
use crate::state::{By, Generation};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trip {
    reason: String,
    #[serde(default, deserialize_with = "body::present")]
    hold_ms: Option<u64>,
    #[serde(default, deserialize_with = "body::present")]
    seen: Option<u64>,
    #[serde(default, deserialize_with = "body::present")]
    id: Option<String>,
}

pub(super) async fn trip(
    panel: State<Arc<Panel>>,
    user: Extension<User>,
    query: Sent<CircuitQuery>,
    body: Body,
) -> Result<Response, Problem> {
    let Trip { reason, hold_ms, seen, id } = body::read(body).await?;
    let mut order = Order::trip(&by(&user, &reason)?);
    if let Some(hold) = hold_ms {
        order = order.hold(Duration::from_millis(hold));
    }
    operate(&panel, query, order, seen, id).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    reason: String,
    #[serde(default)]
    to: Target,
    #[serde(default)]
    force: bool,
    #[serde(default, deserialize_with = "body::present")]
    seen: Option<u64>,
    #[serde(default, deserialize_with = "body::present")]
    id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    #[default]
    HalfOpen,
    Closed,
}

pub(super) async fn reset(
    panel: State<Arc<Panel>>,
    user: Extension<User>,
    query: Sent<CircuitQuery>,
    body: Body,
) -> Result<Response, Problem> {
    let Reset { reason, to, force, seen, id } = body::read(body).await?;
    let to = match to {
        Target::HalfOpen => To::HalfOpen,
        Target::Closed => To::Closed,
    };
    let order = Order::reset(&by(&user, &reason)?, to);
    operate(&panel, query, if force { order.force() } else { order }, seen, id).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disable {
    reason: String,
    #[serde(default, deserialize_with = "body::present")]
    hold_ms: Option<u64>,
    #[serde(default)]
    indefinitely: bool,
    #[serde(default, deserialize_with = "body::present")]
    seen: Option<u64>,
    #[serde(default, deserialize_with = "body::present")]
    id: Option<String>,
}

pub(super) async fn disable(
    panel: State<Arc<Panel>>,
    user: Extension<User>,
    query: Sent<CircuitQuery>,
    body: Body,
) -> Result<Response, Problem> {
    let Disable { reason, hold_ms, indefinitely, seen, id } = body::read(body).await?;
    let order = Order::disable(&by(&user, &reason)?);
    let order = match (hold_ms, indefinitely) {
        (Some(hold), false) => order.hold(Duration::from_millis(hold)),
        (None, true) => order.indefinitely(),
        (None, false) | (Some(_), true) => {
            return Err(invalid("exactly one of `hold_ms` and `indefinitely` is needed"));
        }
    };
    operate(&panel, query, order, seen, id).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    reason: String,
    #[serde(default, deserialize_with = "body::present")]
    seen: Option<u64>,
    #[serde(default, deserialize_with = "body::present")]
    id: Option<String>,
}

pub(super) async fn resume(
    panel: State<Arc<Panel>>,
    user: Extension<User>,
    query: Sent<CircuitQuery>,
    body: Body,
) -> Result<Response, Problem> {
    let Resume { reason, seen, id } = body::read(body).await?;
    operate(&panel, query, Order::resume(&by(&user, &reason)?), seen, id).await
}

/// Returns the user and the reason of an order. The name of the user comes from the authoriser alone, and the body of
/// the request cannot set the name.
fn by(user: &User, reason: &str) -> Result<By, Problem> {
    By::new(user.name(), reason).map_err(|error| invalid(error.to_string()))
}

fn invalid(detail: impl AsRef<str>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
}

async fn operate(
    panel: &Panel,
    query: Sent<CircuitQuery>,
    order: Order,
    seen: Option<u64>,
    id: Option<String>,
) -> Result<Response, Problem> {
    let name = accepted(query)?.circuit;
    let mut order = order;
    if let Some(seen) = seen {
        order = order.seen(Generation::new(seen));
    }
    if let Some(id) = id {
        order = order.id(&id);
    }
    let Done { transition, kept, repeated } = panel.registry.operate(&name, &order).await?;
    let (status, word) = match &kept {
        Kept::Nowhere => (StatusCode::OK, "nowhere"),
        Kept::Stored { .. } => (StatusCode::OK, "stored"),
        // The order is stored. The row in the audit, or the copy in the durable tier of the store, is written later.
        Kept::Unaudited { .. } => (StatusCode::ACCEPTED, "unaudited"),
        Kept::Cached { .. } => (StatusCode::ACCEPTED, "cached"),
        // This process applies the order, but the order is not in the store yet.
        Kept::Here { .. } => (StatusCode::ACCEPTED, "here"),
    };
    let mut response = ok(&json!({
        "circuit": panel.registry.get(&name).as_ref().map(CircuitJson::of),
        "id": order.command_id(),
        "kept": word,
        "repeated": repeated,
        "detail": if repeated { format!("{REPEATED}{}", unfinished(&kept)) } else { kept.to_string() },
        "transition": transition.as_ref().map(Edge::from),
    }));
    *response.status_mut() = status;
    Ok(response)
}

/// The first words of the answer to a repeated order. The answer does not say that the circuit still follows the order,
/// because a later order may have replaced this order.
const REPEATED: &str = "the same order was carried out before, so that nothing was done now";

/// Describes the write that is still missing after an order was carried out (store, audit or durable tier). The text is
/// empty if no write is missing.
fn unfinished(kept: &Kept) -> String {
    match kept {
        Kept::Nowhere | Kept::Stored { .. } => String::new(),
        Kept::Here { why, .. } => format!("; it is not stored yet: {why}"),
        Kept::Unaudited { why, .. } => format!("; it is not in the audit: {why}"),
        Kept::Cached { why, .. } => format!("; it is in the cache only: {why}"),
    }
}
