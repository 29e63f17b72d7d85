//! The router: what it shows, what it does, and what it refuses.

mod acts;
mod events;
pub(crate) mod fleet;
mod refusals;
pub(crate) mod rig;
mod security;
mod shutdown;
mod site;
mod strict;

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::{By, Registry};

use rig::{Served, app, authorized, circuit, fail};

#[tokio::test]
async fn a_half_open_circuit_shows_why_it_opened() {
    let registry = Registry::new();
    let circuit = circuit(&registry, "payments");
    fail(&circuit);
    circuit.reset(&By::new("alice", "a test").unwrap(), To::HalfOpen);
    let served = Served::start(app(authorized(&registry))).await;
    let (_, list) = served.get("/api/circuits").await;
    let shown = &list["circuits"][0];
    let because = "failures in a row weighed 5.0, the limit is 5.0, last a failure of kind error";
    assert_eq!(
        (&shown["opened_because"], &shown["last"]["because"]),
        (&json!(because), &json!("reset by alice: a test"))
    );
    assert!(shown["opened_for_ms"].is_u64(), "{shown}");
    circuit.reset(&By::new("alice", "a test").unwrap(), To::Closed);
    let (_, list) = served.get("/api/circuits").await;
    assert_eq!(list["circuits"][0]["opened_because"], json!(null));
}

#[tokio::test]
async fn the_list_shows_state_rates_thresholds_and_last_reason_of_every_circuit() {
    let registry = Registry::new();
    circuit(&registry, "orders");
    fail(&circuit(&registry, "payments"));
    let served = Served::start(app(authorized(&registry))).await;
    let (status, list) = served.get("/api/circuits").await;
    assert_eq!((status, &list["user"], &list["writes"]), (200, &json!("alice"), &json!(true)));
    let [orders, payments] = [0, 1].map(|at| &list["circuits"][at]);
    assert_eq!(
        (&orders["name"], &orders["standing"], &orders["tripped"]),
        (&json!("orders"), &json!("closed"), &json!(false))
    );
    assert_eq!(orders["last"], json!(null));
    assert_eq!(
        (&payments["name"], &payments["standing"], &payments["tripped"]),
        (&json!("payments"), &json!("open"), &json!(true))
    );
    let wait = payments["retry_after_ms"].as_u64().unwrap();
    assert!((1..=60_000).contains(&wait), "the next probe is in {wait} ms");
    assert_eq!(payments["limits"]["consecutive_failures"], json!(5));
    assert_eq!(
        payments["last"]["because"],
        json!("failures in a row weighed 5.0, the limit is 5.0, last a failure of kind error")
    );
    assert_eq!(payments["last"]["numbers"], json!({ "score": 5.0, "limit": 5.0 }));
}

#[tokio::test]
async fn a_circuit_shows_its_settings_and_its_transitions_with_their_numbers() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    fail(&payments);
    payments.trip(&By::new("bob", "maintenance").unwrap(), Some(Duration::from_secs(60)));
    let served = Served::start(app(authorized(&registry))).await;
    let (status, one) = served.get("/api/status?circuit=payments").await;
    assert_eq!((status, &one["circuit"]["standing"]), (200, &json!("forced_open")));
    let held = one["circuit"]["held_for_ms"].as_u64().unwrap();
    assert!((1..=60_000).contains(&held), "held for {held} ms");
    assert!(one["explain"].as_str().unwrap().contains("60 s"), "{}", one["explain"]);
    let (status, past) = served.get("/api/transitions?circuit=payments").await;
    let [by_hand, opened] = [0, 1].map(|at| &past["transitions"][at]);
    assert_eq!((status, &by_hand["user"], &by_hand["to"]), (200, &json!("bob"), &json!("forced_open")));
    assert_eq!(by_hand["numbers"], json!({ "act": "trip", "user": "bob", "reason": "maintenance" }));
    assert_eq!((&opened["reason"], &opened["calls"]), (&json!("consecutive_failures"), &json!(5)));
    assert_eq!((&opened["failure"], &opened["lasts_ms"]), (&json!("error"), &json!(60_000)));
}

#[tokio::test]
async fn the_audit_can_be_queried_by_service_user_time_and_number() {
    let registry = Registry::new();
    fail(&circuit(&registry, "orders"));
    let payments = circuit(&registry, "payments");
    for user in ["alice", "bob"] {
        payments.trip(&By::new(user, "maintenance").unwrap(), None);
    }
    let served = Served::start(app(authorized(&registry))).await;
    for (query, rows) in [
        ("", 3),
        ("?service=payments", 2),
        ("?user=bob", 1),
        ("?service=orders&user=bob", 0),
        ("?limit=1", 1),
        ("?since=0", 3),
        ("?since=99999999999999", 0),
    ] {
        let (status, audit) = served.get(&format!("/api/audit{query}")).await;
        assert_eq!((status, audit["rows"].as_array().unwrap().len()), (200, rows), "{query}: {audit}");
    }
    for (query, refused) in [("?limit=0", 422), ("?limit=1001", 422), ("?limit=x", 400), ("?name=payments", 400)] {
        let (status, problem) = served.get(&format!("/api/audit{query}")).await;
        assert_eq!(status, refused, "{query}: {problem}");
    }
}

#[tokio::test]
async fn heads_have_no_body_and_wrong_methods_get_the_allowed_methods() {
    let registry = Registry::new();
    let served = Served::start(app(authorized(&registry))).await;
    for path in ["", "/api/circuits", "/api/events"] {
        let head = served.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
        assert!(head.bytes().await.unwrap().is_empty());
    }
    for (method, path, allowed) in [
        (Method::POST, "", "GET,HEAD"),
        (Method::DELETE, "/api/circuits", "GET,HEAD"),
        (Method::OPTIONS, "/api/trip", "POST"),
        (Method::GET, "/api/trip?circuit=a", "POST"),
    ] {
        let answer = served.request(method.clone(), path).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()),
            (405, allowed),
            "{method} {path}"
        );
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "nobody else's page is let in");
    }
}

#[tokio::test]
async fn the_nested_page_is_served_with_and_without_a_final_slash() {
    let registry = Registry::new();
    let app = axum::Router::new().nest_service("/circuits", authorized(&registry).build::<()>());
    let served = Served::start(app).await;
    for path in ["", "/", "/api/circuits"] {
        assert_eq!(served.request(Method::GET, path).send().await.unwrap().status(), 200, "{path:?}");
    }
}
