//! Requests to the router, without the token and with it.

use axum::body::{Body, to_bytes};
use http::{Method, Request};
use tower::ServiceExt;
use tower_circuit_breaker::Registry;

use super::{Dice, SECRET, attack, holds};
use crate::admin::rig::{TOKEN, app, authorized, circuit};

const PATHS: [&str; 14] = [
    "",
    "/",
    "/api/circuits",
    "/api/status?circuit=payments",
    "/api/transitions?circuit=payments",
    "/api/audit",
    "/api/audit?limit=1",
    "/api/trip?circuit=payments",
    "/api/reset?circuit=payments",
    "/api/disable?circuit=payments",
    "/api/resume?circuit=payments",
    "/api/shadow?circuit=payments",
    "/api/forget?circuit=payments",
    "/api/openapi.json",
];
const BODIES: [&str; 4] = [
    r#"{"reason": "a", "indefinitely": true}"#,
    r#"{"reason": "a", "for_ms": 1000, "id": "x"}"#,
    r#"{"reason": "a", "to": "half_open", "force": true}"#,
    "",
];
const HEADERS: [&str; 10] = [
    "authorization",
    "origin",
    "host",
    "sec-fetch-site",
    "content-type",
    "x-forwarded-for",
    "x-user",
    "cookie",
    "accept",
    "last-event-id",
];

fn request(dice: &mut Dice, token: bool) -> Option<Request<Body>> {
    let mut path = dice.pick(&PATHS).to_owned();
    if dice.once_in(3) {
        let text = dice.text();
        path = dice
            .pick(&[&*format!("{path}&x={text}"), &format!("/api/status?circuit={text}"), &format!("/{text}"), &path])
            .to_owned();
    }
    let methods =
        [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH];
    let method = methods[dice.below(methods.len())].clone();
    let mut request = Request::builder().method(method).uri(format!("http://localhost/circuits{path}"));
    for _ in 0..dice.below(5) {
        let name = dice.pick(&HEADERS);
        if token && name == "authorization" {
            continue;
        }
        let value = match name {
            "content-type" if !dice.once_in(4) => "application/json".to_owned(),
            "authorization" => format!("{}{}", dice.pick(&["Bearer ", "Basic ", "bearer", ""]), dice.text()),
            _ => dice.text(),
        };
        request = request.header(name, value);
    }
    if token {
        request = request.header("authorization", format!("Bearer {TOKEN}"));
    }
    let body = dice.pick(&BODIES);
    let body = if dice.once_in(2) { body.as_bytes().to_vec() } else { dice.mutated(body.as_bytes()) };
    request.body(Body::from(body)).ok()
}

/// Rules: without the token nothing changes and no name is shown; no answer is larger than the page, and none has the token or
/// the secret of a circuit's reason for others.
#[test]
fn hostile_requests_to_the_router_break_no_rule() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    attack("requests", 1, |dice| {
        let registry = Registry::new();
        let payments = circuit(&registry, "payments");
        let orders = circuit(&registry, SECRET);
        let token = dice.once_in(3);
        let Some(request) = request(dice, token) else { return Ok(()) };
        let what = format!("{} {}", request.method(), request.uri());
        let is_read = *request.method() == Method::GET || *request.method() == Method::HEAD;
        let is_stream = request.uri().path().ends_with("/events");
        let response = runtime.block_on(app(authorized(&registry)).oneshot(request)).unwrap();
        let status = response.status().as_u16();
        let body = if is_stream {
            Vec::new()
        } else {
            runtime.block_on(to_bytes(response.into_body(), MOST)).map_err(|error| format!("{what}: {error}"))?.to_vec()
        };
        let text = String::from_utf8_lossy(&body);
        holds(status < 500, || format!("{what}: {status} {text}"))?;
        holds(!text.contains(TOKEN), || format!("{what} shows the token"))?;
        if !token {
            let unchanged = payments.status().transitions.is_empty() && orders.status().transitions.is_empty();
            holds(unchanged, || format!("{what} without a token has written"))?;
            holds(!text.contains(SECRET), || format!("{what} without a token shows a name: {text}"))?;
        }
        if is_read {
            holds(payments.status().transitions.is_empty(), || format!("{what} is a read and has written"))?;
        }
        Ok(())
    });
}

/// The largest answer, which is the page.
const MOST: usize = 256 << 10;
