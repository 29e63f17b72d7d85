//! Requests to the router, without the token and with it.

use axum::body::{Body, to_bytes};
use http::{Method, Request, header};
use tower::ServiceExt;
use tower_circuit_breaker::{By, Circuit, Mode, Registry};

use super::{Dice, SECRET, attack, holds, reached};
use crate::admin::rig::{TOKEN, app, authorized, circuit, fail};

/// The paths that read.
const READS: [&str; 8] = [
    "",
    "/",
    "/api/circuits",
    "/api/status?circuit=payments",
    "/api/transitions?circuit=payments",
    "/api/audit",
    "/api/audit?limit=1",
    "/api/events",
];
/// Each act with a body that the router accepts.
const ACTS: [(&str, &str); 4] = [
    ("/api/trip?circuit=payments", r#"{"reason": "a", "hold_ms": 60000, "id": "x"}"#),
    ("/api/reset?circuit=payments", r#"{"reason": "a", "to": "closed", "force": true}"#),
    ("/api/disable?circuit=payments", r#"{"reason": "a", "indefinitely": true}"#),
    ("/api/resume?circuit=payments", r#"{"reason": "a"}"#),
];
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH];
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

/// Makes a request of a client that keeps to the rules, and changes half of the requests. `act` is the place of the act in
/// [`ACTS`], and `None` a request that reads.
fn request(dice: &mut Dice, act: Option<usize>, token: bool) -> Option<Request<Body>> {
    let (path, body, mut method) = match act {
        Some(act) => (ACTS[act].0, ACTS[act].1, Method::POST),
        None => (dice.pick(&READS), "", Method::GET),
    };
    let (mut path, mut body) = (path.to_owned(), body.as_bytes().to_vec());
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if token {
        headers.push(("authorization", format!("Bearer {TOKEN}")));
    }
    if dice.once_in(2) {
        if dice.once_in(3) {
            let (text, joint) = (dice.text(), if path.contains('?') { '&' } else { '?' });
            let paths =
                [&*format!("{path}{joint}x={text}"), &format!("/api/status?circuit={text}"), &format!("/{text}")];
            path = dice.pick(&paths).to_owned();
        }
        if dice.once_in(3) {
            method = METHODS[dice.below(METHODS.len())].clone();
        }
        if dice.once_in(3) {
            body = dice.mutated(&body);
        }
        if dice.once_in(3) {
            headers.remove(0);
        }
        if dice.once_in(3) {
            headers.push(("sec-fetch-site", "cross-site".to_owned()));
        }
        headers.extend((0..dice.below(4)).map(|_| header(dice)));
    }
    let mut request = Request::builder().method(method).uri(format!("http://localhost/circuits{path}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Body::from(body)).ok()
}

fn header(dice: &mut Dice) -> (&'static str, String) {
    let name = HEADERS[dice.below(HEADERS.len())];
    let value = match name {
        "authorization" => format!("{}{}", dice.pick(&["Bearer ", "Basic ", "bearer", ""]), dice.text()),
        _ => dice.text(),
    };
    (name, value)
}

/// Prepares the circuit for the act, so that there is something to reset or to resume.
fn prepare(circuit: &Circuit, act: Option<usize>) {
    match act.map(|act| ACTS[act].0) {
        Some(path) if path.contains("reset") => fail(circuit),
        Some(path) if path.contains("resume") => drop(circuit.disable(&By::new("bob", "before").unwrap(), None)),
        _ => {}
    }
}

/// Rules: only a POST with the token that comes from no other site changes a circuit; without the token no name is shown; no
/// answer is larger than the page; and no answer has the token.
#[test]
fn hostile_requests_to_the_router_break_no_rule() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut acts = [0; ACTS.len()];
    attack("requests", 1, |dice| {
        let registry = Registry::new();
        let circuits = [circuit(&registry, "payments"), circuit(&registry, SECRET)];
        let (act, token) = ((!dice.once_in(3)).then(|| dice.below(ACTS.len())), dice.once_in(2));
        prepare(&circuits[0], act);
        let before = circuits.each_ref().map(changes);
        let Some(request) = request(dice, act, token) else { return Ok(()) };
        let what = format!("{} {}", request.method(), request.uri());
        let reads = *request.method() != Method::POST;
        let is_foreign = request.headers().get_all("sec-fetch-site").iter().any(|site| site == "cross-site");
        let response = runtime.block_on(app(authorized(&registry)).oneshot(request)).unwrap();
        let status = response.status().as_u16();
        let is_stream = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let body = if is_stream {
            Vec::new()
        } else {
            runtime.block_on(to_bytes(response.into_body(), MOST)).map_err(|error| format!("{what}: {error}"))?.to_vec()
        };
        let text = String::from_utf8_lossy(&body);
        holds(status < 500, || format!("{what}: {status} {text}"))?;
        holds(!text.contains(TOKEN), || format!("{what} shows the token"))?;
        holds(token || !text.contains(SECRET), || format!("{what} without a token shows a name: {text}"))?;
        holds(token || !is_stream, || format!("{what} without a token follows the events"))?;
        let is_changed = circuits.each_ref().map(changes) != before;
        holds(token || !is_changed, || format!("{what} without a token has written"))?;
        holds(!reads || !is_changed, || format!("{what} is no POST and has written"))?;
        holds(!is_foreign || !is_changed, || format!("{what} comes from another site and has written"))?;
        holds(!is_changed || status == 200, || format!("{what} has written, and is answered with {status}"))?;
        if let (Some(act), true) = (act, is_changed) {
            acts[act] += 1;
        }
        Ok(())
    });
    reached(!acts.contains(&0), &format!("made with the token: {acts:?} of trip, reset, disable and resume"));
}

/// The mode of a circuit and the number of its transitions, one of which changes with each act.
fn changes(circuit: &Circuit) -> (Mode, usize) {
    let status = circuit.status();
    (status.mode, status.transitions.len())
}

/// The largest answer, which is the page.
const MOST: usize = 256 << 10;
