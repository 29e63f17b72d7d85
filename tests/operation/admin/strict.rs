//! Inputs of the admin router that have a second meaning: null, lists, repeated headers, unknown paths.

use axum::Router;
use axum::body::Body;
use http::Request;
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_circuit_breaker::Registry;
use tower_circuit_breaker::admin::{self, Denied, User};

use super::rig::{Served, TOKEN, answer, app, authorized, circuit};

#[tokio::test]
async fn null_and_lists_are_refused_in_every_order() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    for (act, body) in [
        ("trip", r#"{"reason": "a", "hold_ms": null}"#),
        ("trip", r#"{"reason": "a", "seen": null}"#),
        ("trip", r#"{"reason": "a", "id": null}"#),
        ("trip", r#"["a", 1000, null, null]"#),
        ("trip", r#"["a", 1000, 7, "x"]"#),
        ("trip", " \n[\"a\", 1000, 7, \"x\"]"),
        ("disable", r#"{"reason": "a", "hold_ms": null, "indefinitely": true}"#),
        ("disable", r#"["a", 1000, false, 7, "x"]"#),
        ("reset", r#"{"reason": "a", "to": null}"#),
        ("reset", r#"{"reason": "a", "force": null}"#),
        ("reset", r#"{"reason": "a", "seen": null}"#),
        ("reset", r#"["a", "closed", true, 7, "x"]"#),
        ("resume", r#"{"reason": "a", "seen": null}"#),
        ("resume", r#"["a", 7, "x"]"#),
        ("resume", "null"),
        ("resume", r#""a""#),
    ] {
        let (status, problem) = served.post(&format!("/api/{act}?circuit=payments"), body).await;
        assert!(status == 422 || (act, status) == ("reset", 400), "{status} {act} {body}: {problem}");
    }
    assert!(payments.status().transitions.is_empty());
}

#[tokio::test]
async fn only_a_client_who_may_act_is_shown_the_acts() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let rule = |parts: &http::request::Parts| {
        let reader = parts.headers.get("x-user").is_some_and(|user| user == "reader");
        if reader && parts.method == Method::POST {
            Err(Denied::forbidden("only to read"))
        } else {
            Ok(User::new("bob").unwrap())
        }
    };
    let served = Served::start(app(admin::router(&registry).authorize(rule))).await;
    for (user, writes) in [("reader", false), ("operator", true)] {
        let request = served.bare(Method::GET, "/api/circuits").header("x-user", user);
        let (_, list) = answer(request.send().await.unwrap()).await;
        assert_eq!(list["writes"], json!(writes), "{user}");
    }
}

async fn send(app: &Router, request: http::request::Builder, body: &str) -> (http::response::Parts, Value) {
    let (parts, body) =
        app.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_repeated_header_that_decides_is_refused() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let app = app(authorized(&registry));
    let token = format!("Bearer {TOKEN}");
    for (name, value) in [
        ("origin", "http://ops.internal"),
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/json"),
        ("authorization", &token),
    ] {
        for (first, second) in [(value, "other"), ("other", value), (value, value)] {
            let mut request = Request::post("/circuits/api/trip?circuit=payments").header("host", "ops.internal");
            for (header, value) in [("authorization", &*token), ("content-type", "application/json")] {
                if header != name {
                    request = request.header(header, value);
                }
            }
            let request = request.header(name, first).header(name, second);
            let (parts, problem) = send(&app, request, r#"{"reason": "a"}"#).await;
            assert_eq!(
                (parts.status.as_u16(), &problem["kind"]),
                (400, &json!("repeated_header")),
                "{name}: {problem}"
            );
            assert!(problem["detail"].as_str().unwrap().contains(name) && !problem.to_string().contains(TOKEN));
            if name != "content-type" {
                let request = Request::get("/circuits/api/circuits").header("host", "ops.internal");
                let request = if name == "authorization" { request } else { request.header("authorization", &token) };
                let (parts, problem) = send(&app, request.header(name, first).header(name, second), "").await;
                assert_eq!(parts.status.as_u16(), 400, "{name}: {problem}");
            }
        }
    }
    assert!(payments.status().transitions.is_empty());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_behind_the_check_of_the_host() {
    let registry = Registry::new();
    let app = app(authorized(&registry).hosts(["ops.internal"]).unwrap());
    for (method, path, expected, kind) in [
        ("GET", "/circuits/api/nothing", 404, "no_such_path"),
        ("GET", "/circuits/nothing", 404, "no_such_path"),
        ("POST", "/circuits/api", 404, "no_such_path"),
        ("DELETE", "/circuits/api/circuits", 405, "method"),
        ("GET", "/circuits/api/trip", 405, "method"),
        ("PUT", "/circuits", 405, "method"),
    ] {
        for host in ["ops.internal", "evil.example"] {
            let request = Request::builder().method(method).uri(path).header("host", host);
            let request = request.header("authorization", format!("Bearer {TOKEN}"));
            let (parts, problem) = send(&app, request, "").await;
            let expected = if host == "ops.internal" { (expected, kind) } else { (403, "foreign_host") };
            assert_eq!(
                (parts.status.as_u16(), problem["kind"].as_str().unwrap_or_default()),
                expected,
                "{method} {path}"
            );
            assert_eq!(parts.headers["content-type"], "application/problem+json");
            assert_eq!(parts.headers["x-content-type-options"], "nosniff", "{method} {path}");
            assert!(parts.headers.contains_key("content-security-policy"), "{method} {path}");
            assert!(expected.0 != 405 || parts.headers.contains_key("allow"), "{method} {path}");
        }
    }
}
