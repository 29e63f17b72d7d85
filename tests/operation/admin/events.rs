//! Server-sent events: what is told, to how many, and what a slow client is told instead.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::{By, Registry};

use super::rig::{Served, TOKEN, answer, app, authorized, circuit, fail};

/// The next event but for beats: its name and data.
pub(super) async fn next(response: &mut Response, text: &mut String) -> (String, Value) {
    loop {
        while let Some((event, rest)) = text.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned()))
        {
            *text = rest;
            let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            if name != "beat" {
                return (name.to_owned(), serde_json::from_str(data).unwrap());
            }
        }
        let chunk = response.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn a_transition_is_sent_as_an_event_with_numbers_and_new_state() {
    let registry = Registry::new();
    let served = Served::start(app(authorized(&registry))).await;
    let mut events = served.request(Method::GET, "/api/events").send().await.unwrap();
    assert_eq!(
        (events.status().as_u16(), &events.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let mut text = String::new();
    let payments = circuit(&registry, "payments");
    let (name, data) = next(&mut events, &mut text).await;
    assert_eq!((name.as_str(), &data["circuit"]), ("introduced", &json!("payments")));
    fail(&payments);
    let (name, data) = next(&mut events, &mut text).await;
    assert_eq!(
        (name.as_str(), &data["circuit"], &data["status"]["standing"]),
        ("transition", &json!("payments"), &json!("open"))
    );
    assert_eq!(data["transition"]["numbers"], json!({ "score": 5.0, "limit": 5.0 }));
}

#[tokio::test]
async fn the_client_over_the_cap_is_refused_until_another_leaves() {
    let registry = Registry::new();
    let served = Served::start(app(authorized(&registry).event_clients(2))).await;
    let follow = || async { served.request(Method::GET, "/api/events").send().await.unwrap() };
    let (first, second) = (follow().await, follow().await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let third = follow().await;
    assert_eq!(third.headers()["retry-after"], "5");
    let (status, problem) = answer(third).await;
    assert_eq!((status, &problem["kind"]), (503, &json!("too_many_clients")));
    // The rest still answers.
    assert_eq!(served.get("/api/circuits").await.0, 200);
    drop(first);
    let freed = async {
        while follow().await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("the seat of the one that left is free");
}

#[tokio::test]
async fn a_slow_client_misses_events_and_gets_their_number() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let request = http::Request::get("/circuits/api/events").header("authorization", format!("Bearer {TOKEN}"));
    let response = app(authorized(&registry)).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut body = response.into_body();
    let by = By::new("bob", "back and forth").unwrap();
    // 1024 wait; it has read none of 1200.
    for _ in 0..600 {
        payments.trip(&by, None);
        payments.reset(&by, To::Closed);
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        told.push(String::from_utf8(frame.to_vec()).unwrap());
    }
    assert_eq!(told[0], "event: beat\ndata: {\"next_ms\":5000}\n\n");
    assert_eq!(told[1], "event: missed\ndata: {\"events\":176}\n\n");
    assert!(told[2].starts_with("event: transition\ndata: {"), "{}", told[2]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_beats_every_five_seconds_and_ends_after_five_minutes() {
    let registry = Registry::new();
    let request = http::Request::get("/circuits/api/events").header("authorization", format!("Bearer {TOKEN}"));
    let response = app(authorized(&registry)).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    // One at once, and one each 5 s; at 300 s either comes first.
    assert!((60..=61).contains(&text.matches("event: beat\n").count()), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_loses_its_seat_after_five_minutes() {
    let registry = Registry::new();
    let app = app(authorized(&registry).event_clients(1));
    let follow = || {
        let request = http::Request::get("/circuits/api/events").header("authorization", format!("Bearer {TOKEN}"));
        app.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    // A laptop that sleeps: its connection stands, and the server's buffers are full, so nobody asks for more of the body.
    let stuck = follow().await.unwrap();
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(follow().await.unwrap().status(), 503);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(follow().await.unwrap().status(), 200, "the next one is served");
    // Once it wakes up it is told nothing more, and asks anew.
    let told = stuck.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(told, "event: beat\ndata: {\"next_ms\":5000}\n\n");
}
